"""One layout of blocks for a packed batch: the slides' own layouts, moved and joined.

Blocks of one shape lie side by side. Those of nearly one shape do too, the smaller filled up with
nobody and nothing, as long as that costs less than a kernel call of their own.

Shapes: N positions of all slides, H heads, D features per head; P, G, Q, K as in `block_sparse`.
"""

from collections.abc import Hashable, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import pad

from slidenet.attention.patterns.block_sparse import (
    Blocks,
    BlockSparsePattern,
    FixedBlockPattern,
    Predicate,
    _AttendBlocks,
)
from slidenet.attention.protocol import lse_dtype

PAIRS_PER_CALL = 1 << 15
"""Pairs that take about as long as a piece of blocks of its own."""

PAIRS_PER_ROW = 8
"""Pairs that take about as long as gathering, merging and scattering one query or key."""


@runtime_checkable
class PackedLayout(Protocol):
    """A pattern that lays a packed batch out itself."""

    def layout_packed(
        self, q: Tensor, k: Tensor, lengths: Sequence[int], *, causal: bool
    ) -> list[Blocks]:
        """The blocks of all slides; q and k are (H, N, D)."""


def attend_packed_blocks(
    pattern: BlockSparsePattern,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: tuple[int, ...],
    *,
    causal: bool,
) -> tuple[Tensor, Tensor]:
    """See `slidenet.attention.packed.attend_packed`."""
    if q.numel() == 0:
        return q * k * v, q.new_full(q.shape[:2], -torch.inf, dtype=lse_dtype(q.dtype))
    rows = [x.transpose(0, 1) for x in (q, k, v)]
    content = rows[0].detach(), rows[1].detach()
    if isinstance(pattern, PackedLayout):
        layout = pattern.layout_packed(*content, lengths, causal=causal)
    elif isinstance(pattern, FixedBlockPattern):
        plan = _kept_layout if isinstance(pattern, Hashable) else _fixed_layout
        layout = plan(pattern, lengths, q.shape[1], causal, q.device)
    else:
        slides = zip(*(torch.split(x, list(lengths), dim=1) for x in content), strict=True)
        each = [pattern.layout_for(q[None], k[None], None, causal=causal) for q, k in slides]
        layout = joined(each, lengths, q.shape[1])
    blocks = [one.for_rows(q.shape[1], q.device) for one in layout]
    out, lse = _AttendBlocks.apply(*rows, blocks, None, causal)
    return out.transpose(0, 1), lse.T


def _fixed_layout(
    pattern: FixedBlockPattern,
    lengths: tuple[int, ...],
    num_heads: int,
    causal: bool,
    device: torch.device,
) -> list[Blocks]:
    own = {n: pattern.layout(n, num_heads, causal=causal) if n else [] for n in set(lengths)}
    layout = joined([own[n] for n in lengths], lengths, num_heads)
    return [one.for_rows(num_heads, device) for one in layout]


_kept_layout = lru_cache(maxsize=2)(_fixed_layout)  # the blocks of a network ask one after another


class PackedPredicate:
    """Predicates of the slides of a packed batch, each over the positions within its slide.

    Predicates that are dataclasses of one kind are evaluated at once, their numbers as tensors.

    Args:
        predicates: Of each slide.
        lengths: Of the slides.
    """

    def __init__(self, predicates: Sequence[Any], lengths: Sequence[int]) -> None:
        self.kind = type(predicates[0])
        self.numbers = {
            field.name: torch.tensor([getattr(one, field.name) for one in predicates])
            for field in fields(self.kind)
        }
        self.starts = torch.tensor([0, *accumulate(lengths)])[:-1]
        self.slide = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """See `Predicate`; what -1 gives does not matter."""
        if self.slide.device != queries.device:
            self.slide, self.starts = self.slide.to(queries.device), self.starts.to(queries.device)
            self.numbers = {name: x.to(queries.device) for name, x in self.numbers.items()}
        slide = self.slide[queries]
        start = self.starts[slide]
        predicate: Predicate = self.kind(**{name: x[slide] for name, x in self.numbers.items()})
        return predicate(queries - start, keys - start)


class MovedPredicate:
    """A predicate over positions that all lie `start` further on."""

    def __init__(self, predicate: Predicate, start: int) -> None:
        self.predicate, self.start = predicate, start

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """See `Predicate`."""
        return self.predicate(queries - self.start, keys - self.start)


def joined(
    layouts: Sequence[Sequence[Blocks]], lengths: Sequence[int], num_heads: int
) -> list[Blocks]:
    """The layouts of slides as one of the packed batch.

    Args:
        layouts: Of each slide, over its own positions.
        lengths: Of the slides.
        num_heads: H.
    """
    starts = list(accumulate(lengths, initial=0))
    kinds: dict[tuple[int, int, int, type], list[tuple[int, Blocks]]] = {}
    alone = []
    for slide, (start, layout) in enumerate(zip(starts[:-1], layouts, strict=True)):
        for number, blocks in enumerate(layout):
            if blocks.queries.numel() == 0 or blocks.keys.numel() == 0:
                continue
            queries, keys = (
                torch.where(x < 0, x, x + start) for x in (blocks.queries, blocks.keys)
            )
            if blocks.allowed is not None and not is_dataclass(blocks.allowed):
                alone.append(Blocks(queries, keys, MovedPredicate(blocks.allowed, start)))
                continue
            # Blocks of one slide may share queries, and must not meet in one piece.
            kind = (number, len(queries), len(keys), type(blocks.allowed))
            moved = Blocks(queries, keys, blocks.allowed)
            kinds.setdefault(kind, []).append((slide, moved))
    together = []
    for some in kinds.values():
        allowed: Predicate | None = None
        any_of_them = some[0][1].allowed
        if any_of_them is not None:
            of_slide = {slide: blocks.allowed for slide, blocks in some}
            each = [of_slide.get(slide, any_of_them) for slide in range(len(lengths))]
            allowed = PackedPredicate(each, lengths)
        for group in by_shape([blocks for _, blocks in some], num_heads):
            together.append(side_by_side(group, allowed))
    return together + alone


def by_shape(blocks: Sequence[Blocks], num_heads: int) -> list[list[Blocks]]:
    """Blocks that are worth filling up to one shape, largest first.

    Args:
        blocks: Any with as many layouts.
        num_heads: Rows that each group stands for.
    """

    def cost(queries: int, keys: int) -> int:
        return num_heads * (queries * keys + PAIRS_PER_ROW * (queries + keys))

    def shape(one: Blocks) -> tuple[int, int]:
        return one.queries.shape[2], one.keys.shape[2]

    groups: list[list[Blocks]] = []
    for one in sorted(blocks, key=lambda one: shape(one)[::-1], reverse=True):
        if groups:
            last = groups[-1]
            largest = tuple(max(sides) for sides in zip(*map(shape, [*last, one]), strict=True))
            fills_up = sum(
                x.queries.shape[1] * (cost(*largest) - cost(*shape(x))) for x in [*last, one]
            )
            if fills_up <= PAIRS_PER_CALL:
                last.append(one)
                continue
        groups.append([one])
    return groups


def side_by_side(blocks: Sequence[Blocks], allowed: Predicate | None) -> Blocks:
    """Groups of several blocks as one, filled up with nobody and nothing."""

    def side(positions: Sequence[Tensor]) -> Tensor:
        width = max(x.shape[2] for x in positions)
        return torch.cat([pad(x, (0, width - x.shape[2]), value=-1) for x in positions], dim=1)

    return Blocks(side([x.queries for x in blocks]), side([x.keys for x in blocks]), allowed)
