"""Random numbers on several ranks: dropout differs from rank to rank, stochastic depth does not.

Both are drawn from one seed per forward, which sequence rank 0 draws from PyTorch's default
generator and sends to the others. All ranks draw one, so default generators that are alike stay
alike: what is computed on every rank (a head, its dropout) needs nothing more.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SEEDS = 2**62
"""Seeds are below this."""

STEP = 0x9E3779B97F4A7C15
"""The golden ratio of 2^64 (Knuth 1998, section 6.4): spreads neighbouring numbers far apart."""


def draw_seed() -> int:
    """One seed from the default generator of this rank."""
    return int(torch.randint(SEEDS, ()))


@contextmanager
def unchanged_on_error() -> Iterator[None]:
    """Draws within the block are taken back where it fails: ranks that refuse stay in step."""
    state = torch.get_rng_state()
    try:
        yield
    except Exception:
        torch.set_rng_state(state)
        raise


def derived_seed(seed: int, number: int) -> int:
    """Another seed for each number."""
    return (seed + (number + 1) * STEP) % SEEDS


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draws from `seed` within the block, on CPU and `device`; then goes on as if nothing was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
