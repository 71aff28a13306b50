"""Attention over blocks of (query, key) pairs, the engine of the block-sparse patterns.

A pattern is laid out as `Blocks`: groups of query positions that meet groups of key positions.
Every attended pair lies in exactly one block; a query may lie in blocks of several `Blocks`. The
results are merged through their log-sum-exps while they are computed, and the backward gives every
block the *merged* output and log-sum-exp, which yields the true gradient of the one softmax over
all keys. It keeps only q, k, v, out and lse; everything else lives for one bounded piece of a
layout at a time.

Shapes: B batch, L positions, H heads, D features per head; R rows (samples x heads) that share a
layout, n positions of a sample without its padding, P = 1 (one layout for all rows) or R, G groups,
Q queries and K keys per group.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from slidenet.attention.kernels.backends import choose_kernel
from slidenet.attention.kernels.base import LSE_FEATURES, Operands
from slidenet.attention.operators import (
    KeepsNothing,
    OperatorCall,
    Result,
    SavedForBackward,
    one_operator,
)
from slidenet.attention.protocol import (
    AttentionPattern,
    check_inputs,
    lse_dtype,
    real_lengths,
    zero_masked,
)

PIECE_ELEMENTS = 1 << 21
"""Gathered features and mask entries per kernel call: 8 MiB of float32, whatever the length.

Much larger and the buffers leave the caches and are mapped anew by the allocator every time.
"""

PIECE_SIDE = 4096
"""Most queries, and most keys, of one group in one kernel call."""

Predicate = Callable[[Tensor, Tensor], Tensor]
"""Elementwise (query positions, key positions) -> bool, broadcasting."""


@dataclass(frozen=True)
class Blocks:
    """Groups of queries meeting groups of keys.

    Attributes:
        queries: int64 (P, G, Q) positions, -1 = nobody; no position twice among all groups.
        keys: int64 (P, G, K) positions, -1 = nothing; no position twice within a group.
        allowed: Which pairs of a block are attended; None = all of them.
    """

    queries: Tensor
    keys: Tensor
    allowed: Predicate | None = None

    def for_rows(self, rows: int, device: torch.device) -> "Blocks":
        """The same blocks on `device`, one layout for all rows or one per row."""
        parts = []
        for positions in (self.queries, self.keys):
            layouts = positions.shape[0]
            assert rows % layouts == 0, f"{layouts} layouts for {rows} rows"
            if 1 < layouts < rows:
                positions = positions.repeat(rows // layouts, 1, 1)
            parts.append(positions.to(device))
        return Blocks(parts[0], parts[1], self.allowed)

    def pieces(self, *, features: int, rows: int) -> Iterator["Blocks"]:
        """Split until each fits into one kernel call of bounded memory."""
        queries, keys = self.queries, self.keys
        if queries.numel() == 0 or keys.numel() == 0:
            return
        side_q, side_k = min(queries.shape[-1], PIECE_SIDE), min(keys.shape[-1], PIECE_SIDE)
        layouts = max(queries.shape[0], keys.shape[0])
        per_group = rows * (side_q + 2 * side_k) * features + layouts * side_q * side_k
        step = max(1, PIECE_ELEMENTS // max(per_group, 1))
        for queries_some, keys_some in zip(
            torch.split(queries, step, 1), torch.split(keys, step, 1), strict=True
        ):
            for queries_part in torch.split(queries_some, side_q, 2):
                for keys_part in torch.split(keys_some, side_k, 2):
                    yield Blocks(queries_part, keys_part, self.allowed)

    def attended(self, real: Tensor | None, causal: bool) -> Tensor | None:
        """Attended pairs, bool broadcastable to (P, G, Q, K), or None where all are.

        Args:
            real: Bool (n,), or None when all positions are.
            causal: Whether only keys at or before the query are attended.
        """
        queries, keys = self.queries[..., :, None], self.keys[..., None, :]
        allowed = None
        if real is not None:
            allowed = pad(real, (0, 1))[self.keys][..., None, :]
        elif bool((self.keys < 0).any()):
            allowed = keys >= 0
        if self.allowed is not None:
            chosen = self.allowed(queries, keys)
            allowed = chosen if allowed is None else chosen & allowed
        if causal and bool(self.keys.max() > self.queries.clamp_min(0).min()):
            allowed = keys <= queries if allowed is None else allowed & (keys <= queries)
        if allowed is None:
            return None
        return allowed.expand(*allowed.shape[:2], queries.shape[-2], keys.shape[-1])


class BlockSparsePattern(KeepsNothing, AttentionPattern):
    """A pattern that is laid out for the content at hand; see `FixedBlockPattern` for the usual.

    A subclass gives `mask`, `num_pairs` and `layout_for`.
    """

    @abstractmethod
    def layout_for(
        self, q: Tensor, k: Tensor, real: Tensor | None, *, causal: bool
    ) -> Sequence[Blocks]:
        """The blocks of samples of one length and one key mask.

        Args:
            q: Queries (B, H, n, D), zero where not real.
            k: Keys (B, H, n, D), zero where not real.
            real: Bool (n,), or None when all positions are.
            causal: Whether only keys at or before the query are attended; blocks may hold others,
                which are dropped.
        """

    @one_operator
    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionPattern.__call__`.

        A sample's own length (its last real position + 1) is what it is laid out for, so that
        padding on the right changes nothing, not even for patterns that depend on the length.
        """
        check_inputs(q, k, v, mask)
        if mask is None or bool(mask.all()):
            return self._attend_alike(q, k, v, None, causal)
        q, k, v = (zero_masked(x, mask) for x in (q, k, v))
        outs, lses = [], []
        for sample, length in enumerate(real_lengths(mask).tolist()):
            real = mask[sample, :length]
            q_1nHD, k_1nHD, v_1nHD = (x[sample : sample + 1, :length] for x in (q, k, v))
            gaps = None if bool(real.all()) else real
            out, lse = self._attend_alike(q_1nHD, k_1nHD, v_1nHD, gaps, causal)
            outs.append(pad(out, (0, 0, 0, 0, 0, q.shape[1] - length)))
            lses.append(pad(lse, (0, q.shape[1] - length), value=-torch.inf))
        return torch.cat(outs), torch.cat(lses)

    def backward_from(
        self, call: OperatorCall, grad_out: Tensor | None, grad_lse: Tensor | None, result: Result
    ) -> tuple[Tensor, ...]:
        """See `OperatorPattern.backward_from`."""
        q, k, v, mask, causal = call
        out, lse, _ = result
        grads = tuple(torch.zeros_like(x) for x in (q, k, v))
        if q.numel() == 0:
            return grads
        if mask is None or bool(mask.all()):
            samples, lengths = [slice(None)], [q.shape[1]]
        else:
            q, k, v = (zero_masked(x, mask) for x in (q, k, v))
            samples = [slice(b, b + 1) for b in range(len(mask))]
            lengths = real_lengths(mask).tolist()
        for sample, length in zip(samples, lengths, strict=True):
            if not length:
                continue
            real = None if mask is None else mask[sample, :length][0]
            real = None if real is None or bool(real.all()) else real
            some_q, some_k, some_v, some_out = (
                x[sample, :length].transpose(1, 2) for x in (q, k, v, out)
            )
            batch, heads, _, _ = some_q.shape
            layout = self.layout_for(some_q, some_k, real, causal=causal)
            rows = [x.flatten(0, 1) for x in (some_q, some_k, some_v, some_out)]
            ctx = SavedForBackward(
                *rows,
                lse[sample, :, :length].flatten(0, 1),
                layout=[blocks.for_rows(batch * heads, q.device) for blocks in layout],
                real=real,
                causal=causal,
            )
            given = (
                grad_out if grad_out is None else grad_out[sample, :length].transpose(1, 2),
                grad_lse if grad_lse is None else grad_lse[sample, :, :length],
            )
            of_rows = [x if x is None else x.flatten(0, 1) for x in given]
            found = [x for x in _AttendBlocks.backward(ctx, *of_rows) if x is not None]
            for grad, one in zip(grads, found, strict=True):
                grad[sample, :length] = one.view(batch, heads, length, -1).transpose(1, 2)
        return grads

    def _attend_alike(
        self, q: Tensor, k: Tensor, v: Tensor, real: Tensor | None, causal: bool
    ) -> tuple[Tensor, Tensor]:
        """Samples of one length and one key mask: (B, n, H, D) -> (B, n, H, D), (B, H, n)."""
        batch, length, heads, width = q.shape
        if batch == 0 or length == 0:
            lse = q.new_full((batch, heads, length), -torch.inf, dtype=lse_dtype(q.dtype))
            return q * k * v, lse  # empty, and still part of the graph
        q_BHnD, k_BHnD, v_BHnD = (x.transpose(1, 2) for x in (q, k, v))
        layout = self.layout_for(q_BHnD.detach(), k_BHnD.detach(), real, causal=causal)
        out, lse = _AttendBlocks.apply(
            *(x.flatten(0, 1) for x in (q_BHnD, k_BHnD, v_BHnD)),
            [blocks.for_rows(batch * heads, q.device) for blocks in layout],
            real,
            causal,
        )
        out = out.view(batch, heads, length, width).transpose(1, 2)
        return out, lse.view(batch, heads, length)


class FixedBlockPattern(BlockSparsePattern):
    """A pattern that length and heads decide alone. A subclass gives `mask` and `layout`."""

    @abstractmethod
    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """The blocks of `length` positions, as in `BlockSparsePattern.layout_for`."""

    def layout_for(
        self, q: Tensor, k: Tensor, real: Tensor | None, *, causal: bool
    ) -> Sequence[Blocks]:
        """See `BlockSparsePattern.layout_for`."""
        return self.layout(q.shape[2], q.shape[1], causal=causal)

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Counted over the blocks, in time linear in them."""
        total = 0
        for blocks in self.layout(length, num_heads, causal=causal):
            for piece in blocks.pieces(features=0, rows=1):
                allowed = piece.attended(None, causal)
                attending = (piece.queries >= 0)[..., None]
                if allowed is None:
                    pairs, layouts = attending.sum() * piece.keys.shape[-1], attending.shape[0]
                else:
                    pairs = (allowed & attending).sum()
                    layouts = max(attending.shape[0], allowed.shape[0])
                total += int(pairs) * (num_heads // layouts)
        return total


def split_into_groups(length: int, size: int) -> Tensor:
    """Positions 0 .. length - 1 in consecutive groups, (1, G, size), -1 past the end."""
    positions = torch.arange(math.ceil(length / size) * size).view(1, -1, size)
    return positions.masked_fill(positions >= length, -1)


class _AttendBlocks(torch.autograd.Function):
    """q, k, v (R, n, D) -> out (R, n, D), lse (R, n)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        layout: Sequence[Blocks],
        real: Tensor | None,
        causal: bool,
    ) -> tuple[Tensor, Tensor]:
        # Position n is a spare row of zeros that stands for nobody and nothing.
        spare_q, spare_k, spare_v = (pad(x, (0, 0, 0, 1)) for x in (q, k, v))
        dtype = lse_dtype(q.dtype)
        out = torch.zeros(spare_q.shape, dtype=dtype, device=q.device)
        lse = torch.full(out.shape[:2], -torch.inf, dtype=dtype, device=q.device)
        for blocks in layout:
            for piece in blocks.pieces(features=q.shape[-1], rows=q.shape[0]):
                operands = Operands(
                    _take(spare_q, piece.queries),
                    _take(spare_k, piece.keys),
                    _take(spare_v, piece.keys),
                    piece.attended(real, causal),
                )
                kernel = choose_kernel(operands.q, masked=operands.allowed is not None)
                part_out, part_lse = kernel.forward(operands)
                old_lse = _take(lse, piece.queries)
                new_lse = torch.logaddexp(old_lse, part_lse)
                finite = new_lse.masked_fill(new_lse == -torch.inf, 0.0)
                new_out = _take(out, piece.queries).mul_(torch.exp(old_lse - finite)[..., None])
                new_out.addcmul_(part_out.to(dtype), torch.exp(part_lse - finite)[..., None])
                _put(out, piece.queries, new_out)
                _put(lse, piece.queries, new_lse)
        out, lse = out[:, :-1].to(q.dtype).contiguous(), lse[:, :-1].contiguous()
        if real is not None:
            out = out.masked_fill_(~real[:, None], 0.0)
            lse = lse.masked_fill_(~real, -torch.inf)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.layout, ctx.real, ctx.causal = layout, real, causal
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return (None,) * 6
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        if ctx.real is not None:
            grad_out = grad_out.masked_fill(~ctx.real[:, None], 0.0)
        spare_q, spare_k, spare_v, spare_out, spare_grad = (
            pad(x, (0, 0, 0, 1)) for x in (q, k, v, out, grad_out)
        )
        empty, features = lse == -torch.inf, q.shape[-1]
        spare_lse = pad(lse.masked_fill(empty, 0.0), (0, 1))
        spare_grad_lse = None
        if grad_lse is not None:
            spare_grad_lse = pad(grad_lse.masked_fill(empty, 0.0), (0, 1))
            features += LSE_FEATURES
        grads = [torch.zeros(spare_q.shape, dtype=lse.dtype, device=q.device) for _ in range(3)]
        for blocks in ctx.layout:
            for piece in blocks.pieces(features=features, rows=q.shape[0]):
                queries, keys = piece.queries, piece.keys
                operands = Operands(
                    _take(spare_q, queries),
                    _take(spare_k, keys),
                    _take(spare_v, keys),
                    piece.attended(ctx.real, ctx.causal),
                )
                kernel = choose_kernel(operands.q, masked=operands.allowed is not None)
                parts = kernel.backward(
                    operands,
                    _take(spare_out, queries),
                    _take(spare_lse, queries),
                    _take(spare_grad, queries),
                    None if spare_grad_lse is None else _take(spare_grad_lse, queries),
                )
                for grad, part, positions in zip(grads, parts, (queries, keys, keys), strict=True):
                    _add(grad, positions, part)
        return *(grad[:, :-1].to(q.dtype) for grad in grads), None, None, None


def _take(x: Tensor, positions: Tensor) -> Tensor:
    """Rows of x (R, n + 1, ...) at positions (1 or R, G, T): (R, G, T, ...); -1 is the spare."""
    shape = (x.shape[0], *positions.shape[1:], *x.shape[2:])
    if positions.shape[0] == 1:
        return x.index_select(1, (positions % x.shape[1]).flatten()).view(shape)
    return x.flatten(0, 1).index_select(0, _flat_rows(x, positions)).view(shape)


def _put(x: Tensor, positions: Tensor, values: Tensor) -> None:
    """Writes what `_take` read."""
    if positions.shape[0] == 1:
        x.index_copy_(1, (positions % x.shape[1]).flatten(), values.flatten(1, 2))
    else:
        x.flatten(0, 1).index_copy_(0, _flat_rows(x, positions), values.flatten(0, 2))


def _add(x: Tensor, positions: Tensor, values: Tensor) -> None:
    """Adds to what `_take` read; a position may occur many times."""
    values = values.to(x.dtype)
    if positions.shape[0] == 1:
        x.index_add_(1, (positions % x.shape[1]).flatten(), values.flatten(1, 2))
    else:
        x.flatten(0, 1).index_add_(0, _flat_rows(x, positions), values.flatten(0, 2))


def _flat_rows(x: Tensor, positions: Tensor) -> Tensor:
    """Row numbers of positions (R, G, T) in x seen as (R * (n + 1), ...)."""
    size = x.shape[1]
    start = torch.arange(0, x.shape[0] * size, size, device=x.device)[:, None, None]
    return (positions % size + start).flatten()
