"""Attention over a packed batch: slides of different lengths after one another, each on its own.

Shapes: N positions of all slides, H heads, D features per head.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from slidenet.attention.graph_break import outside_compiled_graphs
from slidenet.attention.patterns.block_sparse import BlockSparsePattern
from slidenet.attention.patterns.packed_blocks import attend_packed_blocks
from slidenet.attention.protocol import AttentionPattern, check_inputs
from slidenet.core.errors import AttentionError


@runtime_checkable
class PackedPattern(Protocol):
    """A pattern that attends to all slides of a packed batch at once."""

    def attend_packed(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], *, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As the function `attend_packed`, with lengths already checked."""


@outside_compiled_graphs
def attend_packed(
    pattern: AttentionPattern,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Sequence[int],
    *,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """What `pattern` gives for each slide alone, to rounding, without a loop where it can.

    Args:
        pattern: Any pattern; those that are no `PackedPattern` are called slide after slide.
        q: Queries (N, H, D), slide after slide.
        k: Keys (N, H, D).
        v: Values (N, H, D).
        lengths: Positions of each slide, N in all.
        causal: Keep only keys at or before the query.

    Returns:
        Output (N, H, D) and log-sum-exp (N, H).

    Raises:
        AttentionError: For tensors or lengths that do not fit.
    """
    check_inputs(*(x[None] for x in (q, k, v)))
    sizes = tuple(int(n) for n in lengths)
    if sum(sizes) != len(q) or min(sizes, default=0) < 0:
        raise AttentionError(
            f"slides of {sum(sizes)} positions in all, packed into {len(q)}",
            expected="lengths of 0 or more that add up to the positions of q",
        )
    if isinstance(pattern, PackedPattern):
        return pattern.attend_packed(q, k, v, sizes, causal=causal)
    if isinstance(pattern, BlockSparsePattern):
        return attend_packed_blocks(pattern, q, k, v, sizes, causal=causal)
    # Slices would each have a gradient as large as the batch; parts of a split share one.
    slides = zip(*(torch.split(x, list(sizes)) for x in (q, k, v)), strict=True)
    parts = [pattern(*(x[None] for x in slide), causal=causal) for slide in slides]
    return torch.cat([out[0] for out, _ in parts]), torch.cat([lse[0].T for _, lse in parts])
