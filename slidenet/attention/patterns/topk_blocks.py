"""Learned sparsity: every query chooses the blocks of keys it attends to by their content."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from slidenet.attention.patterns.block_sparse import Blocks, BlockSparsePattern, split_into_groups
from slidenet.attention.protocol import check_inputs, lse_dtype, zero_masked
from slidenet.core.checks import check_whole, plain_numbers
from slidenet.core.errors import AttentionError

GATE_ELEMENTS = 1 << 22
"""Gate scores held at once; the gate is the only part that is not linear in length."""


EXAMPLE_FEATURES = 16


def example_content(length: int, num_heads: int) -> tuple[Tensor, Tensor]:
    """Queries and keys (1, L, H, 16) of one seeded random content."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, length, num_heads, EXAMPLE_FEATURES, generator=generator)
    return q, k


@dataclass(frozen=True)
class TopKBlocksAttention(BlockSparsePattern):
    """Mixture of Block Attention: each query attends to its own block and the best others.

    MoBA (Lu et al. 2025, section 2.2): keys are cut into blocks, a query's gate score for a block
    is its product with the mean of the block's keys, and the query attends to the `top_k` blocks of
    highest score, its own always among them. As in the paper the choice itself is hard and carries
    no gradient; queries and keys learn to be found through the attention inside the chosen blocks.
    When causal, only blocks that end before the query's own can be chosen, and the own block is
    causal inside.

    Attention costs at most L top_k block_size pairs, linear; the gate adds L^2 / block_size
    products of query and mean, as in the paper.

    Args:
        block_size: Keys per block.
        top_k: Blocks per query, its own among them.

    Raises:
        AttentionError: If a size is below 1.
    """

    block_size: int = 64
    top_k: int = 4
    name: ClassVar[str] = "topk_blocks"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(error=AttentionError, block_size=self.block_size, top_k=self.top_k)

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """The pattern for one seeded random content, to be looked at; (H, L, L).

        What is attended depends on q and k: `mask_for` gives it for the ones at hand.
        """
        return self.mask_for(*example_content(length, num_heads), causal=causal)[0]

    def mask_for(
        self, q: Tensor, k: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """The pattern these queries and keys choose.

        Args:
            q: Queries (B, L, H, D).
            k: Keys (B, L, H, D).
            mask: Bool (B, L), True = real.
            causal: Keep only keys at or before the query.

        Returns:
            Bool (B, H, L, L); what is masked is chosen by nobody.
        """
        check_inputs(q, k, k, mask)
        batch, length, heads, _ = q.shape
        position = torch.arange(length, device=q.device)
        block = position // self.block_size
        allowed = (block[:, None] == block).expand(batch, heads, length, length).clone()
        q_BHLD, k_BHLD = (zero_masked(x, mask).transpose(1, 2) for x in (q, k))
        for b in range(batch):
            real = None if mask is None else mask[b]
            chosen = self.chosen_blocks(q_BHLD[b : b + 1], k_BHLD[b : b + 1], real, causal=causal)
            allowed[b] |= (chosen[0][..., None] == block).any(dim=-2)
        if mask is not None:
            allowed &= mask[:, None, :, None] & mask[:, None, None, :]
        return allowed & (position[:, None] >= position) if causal else allowed

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Pairs when every block a query can choose is full.

        Exact for causal attention and for lengths divisible by `block_size`. Otherwise the last
        block is shorter and the number depends on who chooses it: this is the most it can be, by
        the shorter block's missing keys for each query of another block.
        """
        size, top_k = self.block_size, self.top_k
        position = torch.arange(length)
        block = position // size
        num_blocks = math.ceil(length / size)
        if causal:
            pairs = position % size + 1 + block.clamp(max=top_k - 1) * size
        else:
            own = (length - block * size).clamp(max=size)
            others = min(top_k, num_blocks) - 1
            short = num_blocks * size - length
            # A query outside the last block must choose it only when it chooses every block.
            full = others * size - (short if others == num_blocks - 1 else 0)
            pairs = own + torch.where(block == num_blocks - 1, others * size, full)
        return num_heads * int(pairs.sum())

    def num_gate_scores(self, length: int, num_heads: int) -> int:
        """Products of a query and the mean of a block, L^2 / block_size per head.

        Causal attention computes as many and drops half; none where there is nothing to choose.
        """
        blocks = math.ceil(length / self.block_size)
        return num_heads * length * blocks if min(self.top_k, blocks) > 1 else 0

    def chosen_blocks(self, q: Tensor, k: Tensor, real: Tensor | None, *, causal: bool) -> Tensor:
        """The blocks each query chooses beside its own.

        Args:
            q: Queries (B, H, n, D), zero where not real.
            k: Keys (B, H, n, D), zero where not real.
            real: Bool (n,), or None when all are.
            causal: Offer only blocks before the query's own.

        Returns:
            int64 (B, H, n, top_k - 1) block numbers, -1 = none.
        """
        length, size = q.shape[2], self.block_size
        others = min(self.top_k, math.ceil(length / size)) - 1
        if others < 1:
            return torch.full((*q.shape[:3], 0), -1, device=q.device)
        is_real = torch.ones(length, dtype=torch.bool, device=k.device) if real is None else real
        padding = -length % size
        counts = torch.nn.functional.pad(is_real, (0, padding)).view(-1, size).sum(dim=1)
        k = torch.nn.functional.pad(k.to(lse_dtype(k.dtype)), (0, 0, 0, padding))
        sums = k.view(*k.shape[:2], -1, size, k.shape[-1]).sum(dim=3)
        means, offered = sums / counts.clamp(min=1)[:, None], counts > 0  # (B, H, blocks, D)
        block = torch.arange(means.shape[2], device=q.device)
        chosen = []
        step = max(1, GATE_ELEMENTS // (q.shape[0] * q.shape[1] * len(block)))
        for start in range(0, length, step):
            scores = q[:, :, start : start + step].to(means.dtype) @ means.transpose(-1, -2)
            own = torch.arange(start, start + scores.shape[2], device=q.device)[:, None] // size
            open_ = offered & ((block < own) if causal else (block != own))
            best = scores.masked_fill(~open_, -torch.inf).topk(others, dim=-1)
            chosen.append(best.indices.masked_fill(best.values == -torch.inf, -1))
        return torch.cat(chosen, dim=2)

    def layout_packed(
        self, q: Tensor, k: Tensor, lengths: Sequence[int], *, causal: bool
    ) -> list[Blocks]:
        """See `PackedLayout`: every slide chooses among its own blocks, all are routed at once."""
        size, device = self.block_size, q.device
        chosen, places, first, start = [], [], 0, 0
        for length in lengths:
            part = slice(start, start + length)
            one = self.chosen_blocks(q[None, :, part], k[None, :, part], None, causal=causal)[0]
            one = torch.where(one < 0, one, one + first)
            # Slides begin with a block of their own, so that a number says which one is meant.
            rest = -length % size
            chosen.append(pad(one, (0, self.top_k - 1 - one.shape[2], 0, rest), value=-1))
            places.append(pad(torch.arange(start, part.stop, device=device), (0, rest), value=-1))
            first, start = first + (length + rest) // size, part.stop
        place = torch.cat([*places, torch.full((1,), -1, device=device)])
        own = place[:-1].view(1, -1, size)
        routed = [route_queries(one, size) for one in torch.cat(chosen, dim=1).unbind(dim=-1)]
        return [Blocks(own, own), *(Blocks(place[x.queries], place[x.keys]) for x in routed)]

    def layout_for(
        self, q: Tensor, k: Tensor, real: Tensor | None, *, causal: bool
    ) -> list[Blocks]:
        """Each block meets itself, and the queries that chose it."""
        own = split_into_groups(q.shape[2], self.block_size)
        chosen = self.chosen_blocks(q, k, real, causal=causal).flatten(0, 1)
        routed = [route_queries(one, self.block_size) for one in chosen.unbind(dim=-1)]
        return [Blocks(own, own), *routed]


def route_queries(chosen: Tensor, block_size: int) -> Blocks:
    """Gathers the queries that chose the same block into groups that meet it.

    MoBA's own way of computing it: queries are sorted by block, cut into groups of a fixed size,
    and a block gets as many groups as it needs.

    Args:
        chosen: Block each query chose, int64 (R, n), -1 = none.
        block_size: Keys per block.

    Returns:
        Blocks with one layout per row; groups that stay empty hold -1.
    """
    rows, length = chosen.shape
    num_blocks = math.ceil(length / block_size)
    side = max(1, block_size // 2)
    block, query = chosen.masked_fill(chosen < 0, num_blocks).sort(dim=1, stable=True)
    counts = chosen.new_zeros(rows, num_blocks + 1).scatter_add_(1, block, torch.ones_like(block))
    groups = (counts + side - 1) // side
    groups[:, num_blocks] = 0  # those who chose nothing go nowhere
    end_group = groups.cumsum(dim=1)
    num_groups = int(end_group[:, -1].max())
    first_query = counts.cumsum(dim=1) - counts
    rank = torch.arange(length, device=chosen.device) - first_query.gather(1, block)
    slot = (end_group - groups).gather(1, block) * side + rank
    slot = slot.masked_fill(block == num_blocks, num_groups * side)  # a spare slot, cut off
    queries = chosen.new_full((rows, num_groups * side + 1), -1).scatter_(1, slot, query)
    group = torch.arange(num_groups, device=chosen.device).expand(rows, -1).contiguous()
    of_block = torch.searchsorted(end_group, group, right=True)
    keys = of_block[..., None] * block_size + torch.arange(block_size, device=chosen.device)
    keys = keys.masked_fill((keys >= length) | (of_block >= num_blocks)[..., None], -1)
    return Blocks(queries[:, :-1].view(rows, num_groups, side), keys)
