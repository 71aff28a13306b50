"""What a batch costs in memory, estimated before it is made, and what torch says without any.

The estimate is measured, not derived: a forward pass over two small bags shows what a network keeps
for the backward pass per tile. To that come gradients and copies of the largest of these tensors.
For eight networks on bags of 15,000 to 200,000 tiles the peak was 0.7 to 1.3 times the estimate.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch.utilities.seed import isolate_rng

from slidenet.core.errors import ConfigError
from slidenet.core.text import count_of
from slidenet.training.module import SlideClassifier

_PROBES = (1024, 2048)
_COPIES = 2
_SURELY = 0.9
"""Of the estimate: where not even this is free, a batch is refused."""

_WORTH_ASKING = 16_384
"""Tiles of a batch below which any machine will do."""

_ALLOCATION_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


@dataclass(frozen=True)
class BatchCost:
    """What a batch needs, in bytes.

    Attributes:
        per_tile: For each tile, padding counted.
        fixed: For each bag.
    """

    per_tile: float
    fixed: float

    def of(self, num_bags: int, num_tiles: int) -> float:
        """Bytes of a batch of so many bags of so many tiles."""
        return num_bags * (self.fixed + self.per_tile * num_tiles)


def measure_cost(module: SlideClassifier) -> BatchCost:
    """What training of a classifier costs per tile; draws no random number and changes no weight.

    Args:
        module: On the CPU.
    """
    device = next(module.parameters()).device
    small, large = (_kept_bytes(module, count, device) for count in _PROBES)
    per_tile = (large[0] - small[0]) / (_PROBES[1] - _PROBES[0])
    fixed = max(small[0] - per_tile * _PROBES[0], 0.0)
    return BatchCost(per_tile + _COPIES * large[1] / _PROBES[1], fixed)


def check_memory(
    module: SlideClassifier, num_bags: int, num_tiles: int, device: torch.device
) -> None:
    """Refuses a batch that training has no room for.

    Args:
        module: Whose network is trained; on the CPU.
        num_bags: Of the most costly batch.
        num_tiles: Of each of its bags, padding counted.
        device: It is trained on.

    Raises:
        ConfigError: With what it needs, what is free, and what to set.
    """
    if num_bags * num_tiles < _WORTH_ASKING:
        return
    free = free_memory(device)
    if free is None:
        return
    cost = measure_cost(module)
    needed = cost.of(num_bags, num_tiles)
    if _SURELY * needed <= free:
        return
    fitting = int((free - num_bags * cost.fixed) / cost.per_tile)
    remedy = f"give --data.max-tiles {_two_digits(fitting // num_bags)} (of each training bag)"
    if num_bags > 1 and fitting >= num_tiles:
        remedy += f", or --data.token-budget {_two_digits(fitting)} (fewer bags in a batch)"
    raise ConfigError(
        f"a batch of {count_of('bag', num_bags)} of {num_tiles} tiles, padding counted, takes about"
        f" {_gib(needed)} to train {module.hparams['network']}, and {_gib(free)} are free",
        expected="batches that fit",
        remedy=remedy,
    )


def check_whole_bag(num_tiles: int, feature_dim: int, itemsize: int, *, whose: str) -> None:
    """Refuses a bag all tiles of which are to be predicted from, and have no room.

    Counted is what any network needs on the machine that reads: the features as they are stored,
    in float32, and once more as the network sees them.

    Args:
        num_tiles: Of the longest bag.
        feature_dim: D.
        itemsize: Bytes of a stored number.
        whose: The bag, for the message.

    Raises:
        ConfigError: With what it needs and what is free.
    """
    if num_tiles < _WORTH_ASKING:
        return
    free = free_memory(torch.device("cpu"))
    needed = num_tiles * feature_dim * (itemsize + 2 * 4)
    if free is None or _SURELY * needed <= free:
        return
    raise ConfigError(
        f"{whose} has {num_tiles} tiles of {feature_dim} features: to validate or predict with all "
        f"of them takes {_gib(needed)} at the least, and {_gib(free)} are free",
        expected="room for the longest bag (in training --data.max-tiles draws from it)",
        remedy="use a machine with more memory, make bags of regions (--data.bag region), or leave "
        "the slide out",
    )


@contextmanager
def allocation_explained(what: str, *, training: bool) -> Iterator[None]:
    """What torch and numpy raise where memory ends, as one line with what to set.

    Args:
        what: What was done.
        training: Whether fewer tiles may be drawn of a bag.

    Raises:
        ConfigError: Instead of theirs.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not _is_allocation(error):
            raise
        smaller = "--data.token-budget with a smaller number (fewer bags in a batch)"
        raise ConfigError(
            f"memory ran out while {what} ({str(error).strip().splitlines()[0][:200]})",
            expected="batches that fit",
            remedy=f"give --data.max-tiles (fewer tiles of each training bag), or {smaller}"
            if training
            else f"give {smaller}, or use a machine with more memory: all tiles of a bag are used",
        ) from error


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be allocated; None where the system does not say.

    On the CPU the least of what the system has available, what the control group of a container
    allows, and what the limit of the process (`ulimit -v`) leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    limits = [limit for limit in (_available(), _cgroup_left(), _address_space_left()) if limit]
    return min(limits, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # no Linux
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _cgroup_left() -> int | None:
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        root = Path("/sys/fs/cgroup")
        try:
            text, current = (root / limit).read_text().strip(), int((root / used).read_text())
            statistics = (root / used).with_name("memory.stat").read_text().split()
        except (OSError, ValueError):
            continue
        if text.isdigit() and int(text) < 1 << 60:
            # Pages of files that were read can be dropped.
            dropped = int(statistics[statistics.index(cache) + 1]) if cache in statistics else 0
            return max(int(text) - current + dropped, 1)
    return None


def _address_space_left() -> int | None:
    try:
        import resource  # no such thing on Windows
    except ImportError:
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return None
    return max(limit - pages * resource.getpagesize(), 1)


def _kept_bytes(module: SlideClassifier, num_tiles: int, device: torch.device) -> tuple[int, int]:
    """Bytes kept for the backward pass over one bag, without weights, and of the largest tensor."""
    side = math.isqrt(num_tiles - 1) + 1
    index = torch.arange(num_tiles, device=device)
    cells = torch.stack([index % side, index // side], dim=1)[None]
    mask = torch.ones(1, num_tiles, dtype=torch.bool, device=device)
    dim = module.network.feature_dim
    features = torch.linspace(-1, 1, num_tiles * dim, device=device).view(1, num_tiles, dim)
    weights = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    kept: dict[int, int] = {features.untyped_storage().data_ptr(): features.nbytes}
    alive = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # or its place could be taken by the next one
        return tensor

    was_training = module.training
    module.train()
    with (
        isolate_rng(),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        module.network(features, cells, mask)
    module.train(was_training)
    return sum(kept.values()), max(kept.values())


def _is_allocation(error: RuntimeError) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _ALLOCATION_WORDS)


def _two_digits(number: int) -> int:
    """A number rounded down to what the estimate is good for, at least 1."""
    scale: int = 10 ** max(0, len(str(max(number, 1))) - 2)
    return max(number // scale * scale, 1)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
