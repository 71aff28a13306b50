"""Packed slides as padded batches, for what attends to a whole batch and leaves its padding alone.

Slides of similar length share a batch: at most `MOST_PADDED` times as many places as positions, and
as few batches as that allows, since each is gathered and launched anew.

Shapes: N packed positions, H heads, D features per head.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_PADDED = 3
"""Places of a batch per position in it; slides whose lengths are spread 1:10 fit one batch."""

BatchedCall = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class PaddedBatch(NamedTuple):
    """Slides of similar length.

    Attributes:
        read: int64 (B, L), which packed position each place holds; padding holds some of its slide.
        mask: Bool (B, L), True = no padding; None where there is none.
    """

    read: Tensor
    mask: Tensor | None


def attend_in_batches(
    q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], attend: BatchedCall
) -> tuple[Tensor, Tensor]:
    """Attention over packed q, k, v (N, H, D), slide after slide, in padded batches.

    Args:
        q: Queries (N, H, D).
        k: Keys (N, H, D).
        v: Values (N, H, D).
        lengths: Positions of each slide, N in all.
        attend: Takes q, k, v (B, L, H, D) and a mask (B, L) or None, gives the output and the
            log-sum-exp (B, H, L).

    Returns:
        Output (N, H, D) and log-sum-exp (N, H).
    """
    batches, places = padded_batches(lengths, q.device)
    outs, lses = [], []
    for read, mask in batches:
        q_BLHD, k_BLHD, v_BLHD = (
            x.index_select(0, read.flatten()).view(*read.shape, *x.shape[1:]) for x in (q, k, v)
        )
        out, lse = attend(q_BLHD, k_BLHD, v_BLHD, mask)
        outs.append(out.flatten(0, 1))
        lses.append(lse.transpose(1, 2).flatten(0, 1))
    if not outs:  # no position at all
        out, lse = attend(q[None], k[None], v[None], None)
        return out[0], lse[0].T
    return torch.cat(outs).index_select(0, places), torch.cat(lses).index_select(0, places)


@lru_cache(maxsize=4)  # the blocks of a network ask one after another
def padded_batches(
    lengths: tuple[int, ...], device: torch.device
) -> tuple[tuple[PaddedBatch, ...], Tensor]:
    """The batches, and for each packed position its place among those of all batches (N,)."""
    sizes = np.array(lengths, dtype=np.int64)
    firsts = sizes.cumsum() - sizes
    batches, place = [], np.empty(sizes.sum(), dtype=np.int64)
    start = 0
    for slides in _of_similar_length(sizes):
        own = sizes[slides, None]
        slot = np.arange(own.max())
        # Slides repeat in their padding: the gradient of one position would collect all of it.
        read = firsts[slides, None] + slot % own
        real = np.broadcast_to(slot < own, read.shape)
        place[read[real]] = start + np.flatnonzero(real)
        start += read.size
        mask = None if real.all() else _kept(real.copy(), device)
        batches.append(PaddedBatch(_kept(read, device), mask))
    return tuple(batches), _kept(place, device)


def _kept(x: NDArray[Any], device: torch.device) -> Tensor:
    """As a tensor that serves gradients too, though it may be made where none are wanted."""
    with torch.inference_mode(False):
        return torch.from_numpy(x).to(device)


def _of_similar_length(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Slides that have positions, in groups of one batch each, the longest first."""
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    groups = []
    while len(order):
        padded = sizes[order[0]] * np.arange(1, len(order) + 1)
        fits = padded <= MOST_PADDED * sizes[order].cumsum()
        # Shorter slides only lower the share that is real, so the first misfit ends the batch.
        end = len(order) if fits.all() else int(fits.argmin())
        groups.append(np.sort(order[:end]))
        order = order[end:]
    return groups
