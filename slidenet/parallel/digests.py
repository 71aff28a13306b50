"""A number for the bytes of a tensor, worked out where the tensor lies, in one pass over it.

Ranks compare such numbers instead of slides. Bytes are read as int32, each multiplied by an odd
number of its own place and summed, all of it wrapping: a change of any one value changes its
product, and so the sum. Changes of several values cancel out by chance only (about one in 2^32).
It is no protection against somebody who wants them to.
"""

from functools import lru_cache
from math import prod

import torch
from torch import Tensor

BLOCK = {"cpu": 1 << 18, "cuda": 1 << 22}
"""Int32 at a time: on CPUs what stays in the cache, on GPUs what keeps them busy."""

STEP = 0x1E3779B97F4A7C15
"""An odd number of 61 bits; blocks are weighted by its multiples."""


@torch.no_grad()
def digest(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """A checksum of the values of `x` and their order; of bytes, so that -0.0 is not 0.0.

    Args:
        x: (B, L, ...), of any dtype.
        mask: Bool (B, L), True = counts; what others hold does not matter, NaN included.

    Returns:
        int64 (), on the device of `x`. It depends on the type of the device.
    """
    rows = _as_int32(x.detach().reshape(x.shape[0] * x.shape[1], prod(x.shape[2:])))
    width = rows.shape[1]
    size = BLOCK.get(x.device.type, BLOCK["cpu"])
    weights = _weights(x.device, max(size, width))
    step = max(size // max(width, 1), 1)
    # One place more, as sums go over pairs: adding up int64 is 30 times as fast as int32.
    product = torch.zeros(step * width + 1, dtype=torch.int32, device=x.device)
    counts = None if mask is None else mask.reshape(-1, 1)
    sums = []
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        places = block.numel()
        out = product[:places].view(block.shape)
        torch.mul(block, weights[:places].view(block.shape), out=out)
        if counts is not None:
            out.mul_(counts[start : start + step])
        if places % 2:
            product[places] = 0
        sums.append(product[: places + places % 2].view(torch.int64).sum())
    if not sums:
        return torch.zeros((), dtype=torch.int64, device=x.device)
    factors = torch.arange(1, 2 * len(sums), 2, device=x.device) * STEP
    return (torch.stack(sums) * factors).sum()


def _as_int32(rows: Tensor) -> Tensor:
    """The same bytes as int32, or single values as int32 where they do not come out even."""
    width = rows.shape[1] * rows.element_size()
    if width % 4 == 0:
        return rows.contiguous().view(torch.int32)
    if rows.element_size() == 2:
        return rows.contiguous().view(torch.int16).to(torch.int32)
    return rows.contiguous().view(torch.uint8).to(torch.int32)


@lru_cache(maxsize=8)
def _weights(device: torch.device, count: int) -> Tensor:
    """Odd int32 without order, the same on all ranks."""
    with torch.inference_mode(mode=False):
        generator = torch.Generator().manual_seed(0x51DE)
        drawn = torch.randint(-(2**31), 2**31, (count,), generator=generator, dtype=torch.int32)
        return (drawn | 1).to(device)
