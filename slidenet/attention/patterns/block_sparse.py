"""The engine the block-sparse patterns share: attention over rectangles of (query, key) pairs.

A pattern is laid out as `Tiles`: groups of query positions that meet groups of key positions. Every
attended pair lies in exactly one tile; a query may lie in tiles of several `Tiles`. The results are
merged through their log-sum-exps while they are computed, and the backward gives every tile the
*merged* output and log-sum-exp, which yields the true gradient of the one softmax over all keys. It
keeps only q, k, v, out and lse; everything else lives for one bounded piece of tiles at a time.

Shapes: B batch, L positions, H heads, D features per head; R rows (samples x heads) that share a
layout, n positions of a sample without its padding, P = 1 (one layout for all rows) or R, G groups,
Q queries and K keys per group.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.kernels.backends import choose_kernel, fold_lse_gradient
from slidenet.attention.protocol import check_inputs, lse_dtype, zero_masked

PIECE_ELEMENTS = 1 << 21
"""Gathered features and mask entries per kernel call: 8 MiB of float32, whatever the length.

Much larger and the buffers leave the caches and are mapped anew by the allocator every time.
"""

PIECE_SIDE = 4096
"""Most queries, and most keys, of one group in one kernel call."""

Predicate = Callable[[Tensor, Tensor], Tensor]
"""Elementwise (query positions, key positions) -> bool, broadcasting."""


@dataclass(frozen=True)
class Tiles:
    """Groups of queries meeting groups of keys.

    Attributes:
        queries: int64 (P, G, Q) positions, -1 = nobody; no position twice among all groups.
        keys: int64 (P, G, K) positions, -1 = nothing; no position twice within a group.
        allowed: Which pairs of a tile are attended; None = all of them.
    """

    queries: Tensor
    keys: Tensor
    allowed: Predicate | None = None


Layout = Callable[[Tensor, Tensor, Tensor | None], Sequence[Tiles]]
"""(q (B, H, n, D), k (B, H, n, D), real (n,) bool or None) -> the tiles of these samples."""


def tiled_attention(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, *, mask: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    """Attention by tiles; arguments and results as in `AttentionPattern.__call__`.

    A sample's own length (its last real position + 1) is what it is laid out for, so that padding
    on the right changes nothing, not even for patterns that depend on the length.
    """
    check_inputs(q, k, v, mask)
    if mask is None or bool(mask.all()):
        return _attend_alike(q, k, v, layout, None, causal)
    q, k, v = (zero_masked(x, mask) for x in (q, k, v))
    lengths = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1)
    outs, lses = [], []
    for sample, length in enumerate(lengths.tolist()):
        real = mask[sample, :length]
        parts = [x[sample : sample + 1, :length] for x in (q, k, v)]
        holes = None if bool(real.all()) else real
        out, lse = _attend_alike(parts[0], parts[1], parts[2], layout, holes, causal)
        padding = q.shape[1] - length
        outs.append(torch.nn.functional.pad(out, (0, 0, 0, 0, 0, padding)))
        lses.append(torch.nn.functional.pad(lse, (0, padding), value=-torch.inf))
    return torch.cat(outs), torch.cat(lses)


def _attend_alike(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout, real: Tensor | None, causal: bool
) -> tuple[Tensor, Tensor]:
    """Samples of one length and one key mask: (B, n, H, D) -> (B, n, H, D), (B, H, n)."""
    batch, length, heads, width = q.shape
    if batch == 0 or length == 0:
        lse = torch.full((batch, heads, length), -torch.inf, dtype=lse_dtype(q.dtype))
        return q * k * v, lse.to(q.device)  # empty, and still part of the graph
    q_BHnD, k_BHnD, v_BHnD = (x.transpose(1, 2) for x in (q, k, v))
    tiles = [
        _for_rows(t, batch * heads, q.device)
        for t in layout(q_BHnD.detach(), k_BHnD.detach(), real)
    ]
    rows = [x.flatten(0, 1) for x in (q_BHnD, k_BHnD, v_BHnD)]
    out, lse = _TiledAttention.apply(*rows, tiles, real, causal)
    out = out.view(batch, heads, length, width).transpose(1, 2)
    return out, lse.view(batch, heads, length)


def count_pairs(tiles: Sequence[Tiles], num_heads: int, *, causal: bool) -> int:
    """Exact number of attended pairs of a layout over all heads, in time linear in its tiles."""
    total = 0
    for one in tiles:
        for piece in _pieces(one, features=0, rows=1):
            allowed = _allowed(piece, None, causal)
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


class _TiledAttention(torch.autograd.Function):
    """q, k, v (R, n, D) -> out (R, n, D), lse (R, n)."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        tiles: Sequence[Tiles],
        real: Tensor | None,
        causal: bool,
    ) -> tuple[Tensor, Tensor]:
        padded = [_with_spare_row(x) for x in (q, k, v)]
        dtype = lse_dtype(q.dtype)
        out = torch.zeros(padded[0].shape, dtype=dtype, device=q.device)
        lse = torch.full(out.shape[:2], -torch.inf, dtype=dtype, device=q.device)
        for piece in _all_pieces(tiles, q):
            _merge_piece(piece, padded, out, lse, _allowed(piece, real, causal))
        out, lse = out[:, :-1].to(q.dtype).contiguous(), lse[:, :-1].contiguous()
        if real is not None:
            out = out.masked_fill_(~real[:, None], 0.0)
            lse = lse.masked_fill_(~real, -torch.inf)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.tiles, ctx.real, ctx.causal = tiles, real, causal
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
        width, scale, like = q.shape[-1], q.shape[-1] ** -0.5, q
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        if ctx.real is not None:
            grad_out = grad_out.masked_fill(~ctx.real[:, None], 0.0)
        if grad_lse is not None:
            grad_lse = grad_lse.masked_fill(lse == -torch.inf, 0.0)
            q, k, v, out, grad_out = fold_lse_gradient(q, k, v, out, grad_out, grad_lse)
        padded = [_with_spare_row(x) for x in (q, k, v, out, grad_out)]
        lse = torch.nn.functional.pad(lse.masked_fill(lse == -torch.inf, 0.0), (0, 1))
        grads = [torch.zeros(padded[0].shape, dtype=lse.dtype, device=q.device) for _ in range(3)]
        for piece in _all_pieces(ctx.tiles, q):
            allowed = _allowed(piece, ctx.real, ctx.causal)
            _add_piece_gradient(piece, padded, lse, allowed, scale, grads)
        return *(grad[:, :-1, :width].to(like.dtype) for grad in grads), None, None, None


def _merge_piece(
    piece: Tiles, padded: Sequence[Tensor], out: Tensor, lse: Tensor, allowed: Tensor | None
) -> None:
    """Attends within one piece and merges the result into `out` and `lse`, in place."""
    q = _take(padded[0], piece.queries)
    k, v = _take(padded[1], piece.keys), _take(padded[2], piece.keys)
    kernel = choose_kernel(q, masked=allowed is not None)
    part_out, part_lse = kernel.forward(q, k, v, allowed, False)
    old_lse = _take(lse, piece.queries)
    new_lse = torch.logaddexp(old_lse, part_lse)
    finite = new_lse.masked_fill(new_lse == -torch.inf, 0.0)
    new_out = _take(out, piece.queries).mul_(torch.exp(old_lse - finite)[..., None])
    new_out.addcmul_(part_out.to(out.dtype), torch.exp(part_lse - finite)[..., None])
    _put(out, piece.queries, new_out)
    _put(lse, piece.queries, new_lse)


def _add_piece_gradient(
    piece: Tiles,
    padded: Sequence[Tensor],
    lse: Tensor,
    allowed: Tensor | None,
    scale: float,
    grads: Sequence[Tensor],
) -> None:
    """Adds what one piece contributes to the gradients of q, k and v, in place."""
    q, out, grad_out = (_take(padded[x], piece.queries) for x in (0, 3, 4))
    k, v = _take(padded[1], piece.keys), _take(padded[2], piece.keys)
    kernel = choose_kernel(q, masked=allowed is not None)
    parts = kernel.backward(
        grad_out, q, k, v, out, _take(lse, piece.queries), allowed, False, scale=scale
    )
    for grad, part, positions in zip(
        grads, parts, (piece.queries, piece.keys, piece.keys), strict=True
    ):
        _add(grad, positions, part)


def _allowed(piece: Tiles, real: Tensor | None, causal: bool) -> Tensor | None:
    """Attended pairs of a piece, bool broadcastable to (P, G, Q, K), or None where all are."""
    queries, keys = piece.queries[..., :, None], piece.keys[..., None, :]
    allowed = None
    if real is not None:
        allowed = (torch.nn.functional.pad(real, (0, 1))[piece.keys])[..., None, :]
    elif bool((piece.keys < 0).any()):
        allowed = keys >= 0
    if piece.allowed is not None:
        chosen = piece.allowed(queries, keys)
        allowed = chosen if allowed is None else chosen & allowed
    if causal and bool(piece.keys.max() > piece.queries.clamp_min(0).min()):
        allowed = keys <= queries if allowed is None else allowed & (keys <= queries)
    if allowed is None:
        return None
    return allowed.expand(*allowed.shape[:2], queries.shape[-2], keys.shape[-1])


def _for_rows(tiles: Tiles, rows: int, device: torch.device) -> Tiles:
    """The same tiles on `device`, one layout for all rows or one per row."""
    parts = []
    for positions in (tiles.queries, tiles.keys):
        layouts = positions.shape[0]
        assert rows % layouts == 0, f"{layouts} layouts for {rows} rows"
        parts.append(positions.repeat(1 if layouts == 1 else rows // layouts, 1, 1).to(device))
    return Tiles(parts[0], parts[1], tiles.allowed)


def _all_pieces(tiles: Sequence[Tiles], q: Tensor) -> Iterator[Tiles]:
    for one in tiles:
        yield from _pieces(one, features=q.shape[-1], rows=q.shape[0])


def _pieces(tiles: Tiles, *, features: int, rows: int) -> Iterator[Tiles]:
    """Splits tiles until each fits into one kernel call of bounded memory."""
    queries, keys = tiles.queries, tiles.keys
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
                yield Tiles(queries_part, keys_part, tiles.allowed)


def _with_spare_row(x: Tensor) -> Tensor:
    """Adds to x (R, n, D) a row of zeros at position n, which stands for nobody and nothing."""
    return torch.nn.functional.pad(x, (0, 0, 0, 1))


def _flat_rows(x: Tensor, positions: Tensor) -> Tensor:
    """Row numbers of positions (R, G, T) in x seen as (R * (n + 1), ...)."""
    size = x.shape[1]
    start = torch.arange(0, x.shape[0] * size, size, device=x.device)[:, None, None]
    return (positions % size + start).flatten()


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
