"""Triton: the two launches of the forward of dilated attention.

`attend_branches` does the attention of every branch, batch entry, head, segment and block of
queries, one program each (online softmax as in FlashAttention-2, Dao 2023, algorithm 1). The zero
slots of released padding are the state it starts from: n keys of score 0 and value 0 are a running
maximum 0, a running sum n and an accumulator 0. `merge_branches` mixes the branches at each
position by their log-sum-exps.

Shapes: q, k, v, out (B, L, H, D); lse (B, H, L); compact rows R: parts (B, H, R, D) and
part_lse (B, H, R).
"""
# mypy: disable-error-code="untyped-decorator,no-untyped-def"

import triton
import triton.language as tl

from slidenet.attention.dilated.triton.layout import (
    entry_length,
    find_rows,
    find_work,
    key_scores,
    load_slots,
    real_slots,
    shift,
)

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def attend_branches(
    q, k, v, parts, part_lse, layout, q_strides, k_strides, v_strides, scale_log2,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, CAUSAL: tl.constexpr, ZERO_SLOTS: tl.constexpr,
    PAPER_ORDER: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Attention of one block of queries with the keys its branch, segment and head keep."""
    head, entry, first, step, first_slot, kept, zero_slots, row, gaps = find_work(
        layout, BLOCK_Q, NUM_BRANCHES, NUM_HEADS, ALL_HEADS, PAPER_ORDER, MASKED
    )
    if first_slot >= kept:
        return
    q = shift(q, q_strides, entry, first, head)
    k = shift(k, k_strides, entry, first, head)
    v = shift(v, v_strides, entry, first, head)
    key_mask = layout.key_mask + (entry * layout.mask_batch + first * layout.mask_step)
    mask_step = step * layout.mask_step

    features = tl.arange(0, PADDED)
    slots = first_slot + tl.arange(0, BLOCK_Q)
    real = real_slots(slots, kept, key_mask, mask_step, MASKED)
    q_block = tl.load(
        q + slots[:, None] * (step * q_strides[1]) + features[None, :],
        mask=real[:, None] & (features < WIDTH)[None, :], other=0.0,
    )  # fmt: skip

    acc = tl.zeros([BLOCK_Q, PADDED], tl.float32)
    top = tl.full([BLOCK_Q], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    if ZERO_SLOTS:
        top = tl.where(zero_slots > 0, tl.zeros([BLOCK_Q], tl.float32), top)
        total += zero_slots.to(tl.float32)

    end = tl.minimum(first_slot + BLOCK_Q, kept) if CAUSAL else kept
    whole = (first_slot if CAUSAL else kept) // BLOCK_K * BLOCK_K
    if MASKED:
        whole = tl.where(gaps, 0, whole)
    acc, top, total = _attend_keys(
        acc, top, total, q_block, k, v, key_mask, step * k_strides[1], step * v_strides[1],
        mask_step, slots, 0, whole, kept, scale_log2,
        WIDTH, PADDED, False, False, False, PRECISION, BLOCK_K,
    )  # fmt: skip
    acc, top, total = _attend_keys(
        acc, top, total, q_block, k, v, key_mask, step * k_strides[1], step * v_strides[1],
        mask_step, slots, whole, end, kept, scale_log2,
        WIDTH, PADDED, True, CAUSAL, MASKED, PRECISION, BLOCK_K,
    )  # fmt: skip

    acc = acc / tl.where(total > 0.0, total, 1.0)[:, None]
    lse = (top + tl.log2(total)) * LN_2
    if MASKED:  # a query that is not real has neither output nor log-sum-exp
        acc = tl.where(real[:, None], acc, 0.0)
        lse = tl.where(real & (total > 0.0), lse, float("-inf"))
    inside = slots < kept
    tl.store(part_lse + row + slots, lse, mask=inside)
    tl.store(
        parts + row * WIDTH + slots[:, None] * WIDTH + features[None, :],
        acc.to(parts.dtype.element_ty), mask=inside[:, None] & (features < WIDTH)[None, :],
    )  # fmt: skip


@triton.jit
def _attend_keys(
    acc, top, total, q_block, k, v, key_mask, k_step, v_step, mask_step, query_slots,
    first, end, kept, scale_log2,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, EDGE: tl.constexpr, CAUSAL: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Online softmax over the key slots first ... end; whole blocks of real keys unless EDGE."""
    for start in range(first, end, BLOCK_K):
        slots = start + tl.arange(0, BLOCK_K)
        real = real_slots(slots, kept, key_mask, mask_step, MASKED)
        read = (tl.arange(0, PADDED) < WIDTH)[None, :]
        if EDGE:
            read = read & real[:, None]
        k_block = load_slots(k, k_step, start, read, BLOCK_K, PADDED)
        scores = key_scores(q_block, k_block, query_slots, slots, real, EDGE, CAUSAL, PRECISION)
        new_top = tl.maximum(top, tl.max(scores, 1) * scale_log2)
        finite = tl.where(new_top == float("-inf"), 0.0, new_top) if MASKED else new_top
        weights = tl.exp2(scores * scale_log2 - finite[:, None])
        shrink = tl.exp2(top - finite)
        total = total * shrink + tl.sum(weights, 1)
        v_block = load_slots(v, v_step, start, read, BLOCK_K, PADDED)
        acc = acc * shrink[:, None]
        acc = tl.dot(weights.to(v_block.dtype), v_block, acc, input_precision=PRECISION)
        top = new_top
    return acc, top, total


@triton.jit
def merge_branches(
    parts, part_lse, out, lse, layout,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, PAPER_ORDER: tl.constexpr,
    MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mixes the branches at one block of positions of one head."""
    head, entry = tl.program_id(1), tl.program_id(2)
    length, _ = entry_length(layout, entry, MASKED)
    entry64, head64 = entry.to(tl.int64), head.to(tl.int64)
    group = (entry64 * NUM_HEADS + head64) * layout.num_rows
    features = tl.arange(0, PADDED)
    positions = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK, PADDED], tl.float32)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    first_row = 0
    for branch in tl.static_range(NUM_BRANCHES):
        rows, kept, first_row = find_rows(
            layout, positions, branch, length, head, first_row, ALL_HEADS, PAPER_ORDER
        )
        branch_lse = tl.load(part_lse + group + rows, mask=kept, other=float("-inf"))
        new_top = tl.maximum(top, branch_lse)
        finite = tl.where(new_top == float("-inf"), 0.0, new_top)
        shrink, weight = tl.exp(top - finite), tl.exp(branch_lse - finite)
        part = tl.load(
            parts + group * WIDTH + rows[:, None].to(tl.int64) * WIDTH + features[None, :],
            mask=kept[:, None] & (features < WIDTH)[None, :], other=0.0,
        )  # fmt: skip
        acc = acc * shrink[:, None] + weight[:, None] * part.to(tl.float32)
        total = total * shrink + weight
        top = new_top
    acc = acc / tl.where(total > 0.0, total, 1.0)[:, None]
    inside = positions < layout.longest
    tl.store(
        lse + (entry64 * NUM_HEADS + head64) * layout.longest + positions,
        top + tl.log(total), mask=inside,
    )  # fmt: skip
    where = ((entry64 * layout.longest + positions.to(tl.int64)) * NUM_HEADS + head64) * WIDTH
    tl.store(
        out + where[:, None] + features[None, :],
        acc.to(out.dtype.element_ty), mask=inside[:, None] & (features < WIDTH)[None, :],
    )  # fmt: skip
