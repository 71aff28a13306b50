"""Which keys a set of queries sees, for any pattern at any length, without its L x L mask.

A set of queries is a column of a bool tensor (L, n). `Links.spread` gives the keys that at least
one query of a set sees: for sets of one query these are rows of the mask, and applied again and
again it tells what a query learns from over several layers. Every pattern is followed by its own
means: the segments of dilated attention, the blocks of the block-sparse patterns, the mask of a
plug-in, or, where that is too long, the gradient of its call.

Shapes: n sets, L positions, H heads; P = 1 where all heads see the same keys, else H.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from slidenet.attention.dilated.attention import DilatedAttention
from slidenet.attention.dilated.config import head_offsets
from slidenet.attention.patterns.block_sparse import Blocks, BlockSparsePattern, FixedBlockPattern
from slidenet.attention.patterns.dense import DenseAttention
from slidenet.attention.patterns.topk_blocks import EXAMPLE_FEATURES, example_content
from slidenet.attention.protocol import AttentionPattern

MASK_LENGTH = 4096
"""Longest sequence of which the mask of a plug-in is built."""

SET_ELEMENTS = 1 << 25
"""Sets x positions (x heads) held at once."""


class Links(ABC):
    """Who sees whom in one layer of a pattern.

    Attributes:
        length: Positions, L.
        num_heads: Heads, H.
        causal: Whether only keys at or before the query are attended.
        num_parts: P, 1 where all heads see the same keys, else H.
        entries: Pairs of queries and keys that `spread` looks at, attended or not.
    """

    num_parts = 1
    entries = 0

    def __init__(self, length: int, num_heads: int, causal: bool) -> None:
        self.length, self.num_heads, self.causal = length, num_heads, causal

    def spread(self, sets: Tensor, *, united: bool = False) -> Tensor:
        """Keys that at least one query of a set sees.

        Args:
            sets: Bool (L, n), one set of queries per column.
            united: Whether the heads are united.

        Returns:
            Bool (P, L, n), or (1, L, n) where united.
        """
        parts = 1 if united else self.num_parts
        step = max(1, SET_ELEMENTS // max(parts * self.length, 1))
        if sets.shape[1] <= step:
            return self._spread(sets, united)
        return torch.cat([self._spread(part, united) for part in torch.split(sets, step, 1)], dim=2)

    def rows(self, queries: Tensor, *, united: bool = False) -> Tensor:
        """Rows of the mask as columns, bool (P, L, n), of queries at int64 positions (n,)."""
        sets = torch.zeros(self.length, len(queries), dtype=torch.bool)
        sets[queries, torch.arange(len(queries))] = True
        return self.spread(sets, united=united)

    @abstractmethod
    def attending(self) -> Tensor:
        """Queries that see a key, bool (P, L)."""

    def attended(self) -> Tensor:
        """Keys that a query sees, bool (P, L)."""
        return self.spread(torch.ones(self.length, 1, dtype=torch.bool))[..., 0]

    @abstractmethod
    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        """`spread` of as many sets as fit into memory."""


class DenseLinks(Links):
    """Everyone sees everyone, or everyone before."""

    def attending(self) -> Tensor:
        """All."""
        return torch.ones(1, self.length, dtype=torch.bool)

    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        if not self.causal:
            return sets.any(dim=0, keepdim=True).expand(sets.shape)[None]
        return at_or_before(sets, 0)[None]


class DilatedLinks(Links):
    """Within a segment, positions that a head keeps see each other: no pair is looked at."""

    def __init__(
        self, pattern: DilatedAttention, length: int, num_heads: int, causal: bool
    ) -> None:
        super().__init__(length, num_heads, causal)
        self.pattern, self.num_parts = pattern, num_heads

    def branches(self) -> Iterator[tuple[int, int, dict[int, list[int]]]]:
        """Segment length (at most L), rate, and the heads that keep each offset, by branch."""
        for w, r in self.pattern.branches:
            heads: dict[int, list[int]] = {}
            for head, offset in enumerate(head_offsets(self.num_heads, r, self.pattern.head_order)):
                heads.setdefault(offset, []).append(head)
            yield min(w, self.length), r, heads

    def attending(self) -> Tensor:
        """Queries at the offset of the head in some branch; each sees at least itself."""
        kept = torch.zeros(self.num_heads, self.length, dtype=torch.bool)
        for w, r, heads in self.branches():
            residue = torch.arange(self.length) % w % r
            for offset, some in heads.items():
                kept[some] |= residue == offset
        return kept

    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        count = sets.shape[1]
        seen = torch.zeros(1 if united else self.num_heads, *sets.shape, dtype=torch.bool)
        for w, r, heads in self.branches():
            segments = pad(sets, (0, 0, 0, -self.length % w)).view(-1, w, count)
            of_branch = torch.zeros_like(segments)
            for offset, some in heads.items():
                if not united:
                    of_branch = torch.zeros_like(segments)
                kept = segments[:, offset::r]
                if self.causal:
                    of_branch[:, offset::r] = at_or_before(kept, 1)
                else:
                    of_branch[:, offset::r] = kept.any(dim=1, keepdim=True)
                if not united:
                    seen[some] |= of_branch.view(-1, count)[: self.length]
            if united:
                seen[0] |= of_branch.view(-1, count)[: self.length]
        return seen


class BlockLinks(Links):
    """Groups of queries that meet groups of keys, as the pattern lays them out."""

    def __init__(
        self, pattern: BlockSparsePattern, length: int, num_heads: int, causal: bool
    ) -> None:
        super().__init__(length, num_heads, causal)
        if isinstance(pattern, FixedBlockPattern):
            self.layout = list(pattern.layout(length, num_heads, causal=causal))
        else:
            q, k = (x.transpose(1, 2) for x in example_content(length, num_heads))
            self.layout = list(pattern.layout_for(q, k, None, causal=causal))
        several = any(
            x.shape[0] > 1 for blocks in self.layout for x in (blocks.queries, blocks.keys)
        )
        self.num_parts = num_heads if several else 1
        self.entries = sum(
            max(len(x.queries), len(x.keys)) * math.prod(x.queries.shape[1:]) * x.keys.shape[2]
            for x in self.layout
        )

    def attending(self) -> Tensor:
        """Queries that lie in a group with a key they may see."""
        found = torch.zeros(self.num_parts, self.length + 1, dtype=torch.bool)
        for piece in self._pieces(1):
            allowed = piece.attended(None, self.causal)
            sees = torch.ones_like(piece.queries, dtype=torch.bool)
            if allowed is not None:
                sees = allowed.any(dim=-1)
            queries = (piece.queries % (self.length + 1)).expand(sees.shape)
            for part, where in enumerate(found):
                at = part % len(sees)
                where[queries[at][sees[at]]] = True
        return found[:, : self.length]

    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        spare = self.length  # one more position stands for nobody and nothing
        given = pad(sets, (0, 0, 0, 1))
        seen = torch.zeros(1 if united else self.num_parts, *given.shape)
        for piece in self._pieces(sets.shape[1]):
            queries, keys = piece.queries % (spare + 1), piece.keys % (spare + 1)
            asked = given[queries]  # (P, G, Q, n)
            groups = asked.flatten(2).any(dim=2).any(dim=0).nonzero()[:, 0]
            if not len(groups):
                continue
            active = asked[:, groups].float()
            allowed = piece.attended(None, self.causal)
            if allowed is None:
                hits = active.amax(dim=2, keepdim=True).expand(-1, -1, keys.shape[2], -1)
            else:
                hits = allowed[:, groups].transpose(2, 3).float() @ active  # (P, G, K, n)
            for part in range(max(len(seen), len(hits), len(keys))):
                found = keys[part % len(keys)][groups].flatten()
                seen[part % len(seen)].index_add_(0, found, hits[part % len(hits)].flatten(0, 1))
        return seen[:, :spare] > 0

    def pairs(self) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """Every attended pair once, some groups at a time.

        Yields:
            The heads (of P), queries (G, Q, 1), keys (G, 1, K), and which of their pairs are
            attended, bool (G, Q, K); where not, positions may be -1.
        """
        for piece in self._pieces(1):
            queries, keys = piece.queries[..., :, None], piece.keys[..., None, :]
            allowed = piece.attended(None, self.causal)
            found = queries >= 0
            found = found.expand(-1, -1, -1, keys.shape[-1]) if allowed is None else found & allowed
            layouts = max(len(queries), len(keys), len(found))
            for part in range(layouts):
                heads = slice(None) if layouts == 1 else slice(part, part + 1)
                q, k, pairs = (x[part % len(x)] for x in (queries, keys, found))
                yield heads, q, k, pairs

    def _pieces(self, num_sets: int) -> Iterator[Blocks]:
        for blocks in self.layout:
            yield from blocks.pieces(features=num_sets, rows=1)


class MaskLinks(Links):
    """The mask of a plug-in, for short sequences."""

    def __init__(
        self, pattern: AttentionPattern, length: int, num_heads: int, causal: bool
    ) -> None:
        super().__init__(length, num_heads, causal)
        self.mask = pattern.mask(length, num_heads, causal=causal)
        self.num_parts = len(self.mask)

    def attending(self) -> Tensor:
        """Rows of the mask with an entry."""
        return self.mask.any(dim=2)

    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        mask = self.mask.any(dim=0, keepdim=True) if united else self.mask
        return mask.transpose(1, 2).float() @ sets.float() > 0


class GradientLinks(Links):
    """Any pattern that can be trained: a query sees a key whose value changes its output.

    The value of a key has a gradient from the outputs of a set where some query of it attends to
    the key: weights of a softmax are above zero. Each feature carries a set of its own.
    """

    def __init__(
        self, pattern: AttentionPattern, length: int, num_heads: int, causal: bool
    ) -> None:
        super().__init__(length, num_heads, causal)
        self.num_parts = num_heads
        # A gradient for every few sets costs several products per pair.
        self.entries = 16 * pattern.num_pairs(length, num_heads, causal=causal)
        q, k = example_content(length, num_heads)
        self.values = torch.zeros_like(q, requires_grad=True)
        with torch.enable_grad():
            self.out, self.lse = pattern(q, k, self.values, causal=causal)

    def attending(self) -> Tensor:
        """Queries whose log-sum-exp is finite."""
        return self.lse[0].detach() > -torch.inf

    def _spread(self, sets: Tensor, united: bool) -> Tensor:
        found = []
        for some in torch.split(sets, EXAMPLE_FEATURES, 1):
            asked = pad(some.float(), (0, EXAMPLE_FEATURES - some.shape[1]))
            weights = asked[None, :, None].expand(self.out.shape).contiguous()
            (grad,) = torch.autograd.grad(self.out, self.values, weights, retain_graph=True)
            found.append((grad[0] > 0).transpose(0, 1)[..., : some.shape[1]])
        seen = torch.cat(found, dim=2)
        return seen.any(dim=0, keepdim=True) if united else seen


def at_or_before(sets: Tensor, dim: int) -> Tensor:
    """Positions at or before one that is True, along `dim`."""
    return sets.flip(dim).to(torch.uint8).cummax(dim=dim).values.flip(dim).bool()


def links_of(
    pattern: AttentionPattern, length: int, num_heads: int, *, causal: bool = False
) -> Links:
    """The links of a pattern for `length` positions and `num_heads` heads."""
    if isinstance(pattern, DenseAttention):
        return DenseLinks(length, num_heads, causal)
    if isinstance(pattern, DilatedAttention):
        return DilatedLinks(pattern, length, num_heads, causal)
    if isinstance(pattern, BlockSparsePattern):
        return BlockLinks(pattern, length, num_heads, causal)
    if length <= MASK_LENGTH:
        return MaskLinks(pattern, length, num_heads, causal)
    return GradientLinks(pattern, length, num_heads, causal)
