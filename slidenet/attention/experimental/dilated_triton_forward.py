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

from slidenet.attention.experimental.dilated_triton_layout import (
    find_block,
    find_entry,
    find_rows,
    find_segment,
)

LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def attend_branches(
    q, k, v, parts, part_lse, branches, lengths, key_mask,
    q_batch, q_step, q_head, k_batch, k_step, k_head, v_batch, v_step, v_head,
    mask_batch, mask_step, longest, first_head, num_rows, scale_log2,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, CAUSAL: tl.constexpr, ZERO_SLOTS: tl.constexpr,
    PAPER_ORDER: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Attention of one block of queries with the keys its branch, segment and head keep."""
    head, entry = tl.program_id(1), tl.program_id(2)
    window, rate, segment, first_slot, first_row = find_block(
        tl.program_id(0), branches, longest, BLOCK_Q, NUM_BRANCHES
    )
    length, gaps = find_entry(lengths, entry, longest, MASKED)
    first, kept, zero_slots, row = find_segment(
        window, rate, segment, first_row, first_head + head, length, ALL_HEADS, PAPER_ORDER
    )
    if first_slot >= kept:
        return
    entry64, first64, head64 = entry.to(tl.int64), first.to(tl.int64), head.to(tl.int64)
    q += entry64 * q_batch + first64 * q_step + head64 * q_head
    k += entry64 * k_batch + first64 * k_step + head64 * k_head
    v += entry64 * v_batch + first64 * v_step + head64 * v_head
    key_mask += entry64 * mask_batch + first64 * mask_step

    rate64 = rate.to(tl.int64)
    features = tl.arange(0, PADDED)
    slots = first_slot + tl.arange(0, BLOCK_Q)
    real = slots < kept
    if MASKED:
        real &= tl.load(key_mask + slots * (rate64 * mask_step), mask=real, other=0) != 0
    q_block = tl.load(
        q + slots[:, None] * (rate64 * q_step) + features[None, :],
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
        acc, top, total, q_block, k, v, key_mask, rate64 * k_step, rate64 * v_step,
        rate64 * mask_step, slots, 0, whole, kept, scale_log2,
        WIDTH, PADDED, False, False, False, PRECISION, BLOCK_K,
    )  # fmt: skip
    acc, top, total = _attend_keys(
        acc, top, total, q_block, k, v, key_mask, rate64 * k_step, rate64 * v_step,
        rate64 * mask_step, slots, whole, end, kept, scale_log2,
        WIDTH, PADDED, True, CAUSAL, MASKED, PRECISION, BLOCK_K,
    )  # fmt: skip

    acc = acc / tl.where(total > 0.0, total, 1.0)[:, None]
    lse = (top + tl.log2(total)) * LN_2
    if MASKED:  # a query that is not real has neither output nor log-sum-exp
        acc = tl.where(real[:, None], acc, 0.0)
        lse = tl.where(real & (total > 0.0), lse, float("-inf"))
    out_row = (entry64 * NUM_HEADS + head64) * num_rows + row
    inside = slots < kept
    tl.store(part_lse + out_row + slots, lse, mask=inside)
    tl.store(
        parts + out_row * WIDTH + slots[:, None] * WIDTH + features[None, :],
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
    features = tl.arange(0, PADDED)
    within = tl.arange(0, BLOCK_K)
    for start in range(first, end, BLOCK_K):
        slots = start + within
        real = slots < kept
        if MASKED:
            real &= tl.load(key_mask + slots * mask_step, mask=real, other=0) != 0
        read = (features < WIDTH)[None, :]
        if EDGE:
            read = read & real[:, None]
        begin = tl.cast(start, tl.int64)
        k_block = tl.load(
            k + begin * k_step + within[:, None] * k_step + features[None, :], mask=read, other=0.0
        )
        scores = tl.dot(q_block, tl.trans(k_block), input_precision=PRECISION)
        if EDGE:
            allowed = real[None, :]
            if CAUSAL:
                allowed = allowed & (slots[None, :] <= query_slots[:, None])
            scores = tl.where(allowed, scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, 1) * scale_log2)
        finite = tl.where(new_top == float("-inf"), 0.0, new_top) if MASKED else new_top
        weights = tl.exp2(scores * scale_log2 - finite[:, None])
        shrink = tl.exp2(top - finite)
        total = total * shrink + tl.sum(weights, 1)
        v_block = tl.load(
            v + begin * v_step + within[:, None] * v_step + features[None, :], mask=read, other=0.0
        )
        acc = acc * shrink[:, None]
        acc = tl.dot(weights.to(v_block.dtype), v_block, acc, input_precision=PRECISION)
        top = new_top
    return acc, top, total


@triton.jit
def merge_branches(
    parts, part_lse, out, lse, branches, lengths, longest, first_head, num_rows,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, PAPER_ORDER: tl.constexpr,
    MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Mixes the branches at one block of positions of one head."""
    head, entry = tl.program_id(1), tl.program_id(2)
    length, _ = find_entry(lengths, entry, longest, MASKED)
    entry64, head64 = entry.to(tl.int64), head.to(tl.int64)
    group = (entry64 * NUM_HEADS + head64) * num_rows
    features = tl.arange(0, PADDED)
    positions = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    acc = tl.zeros([BLOCK, PADDED], tl.float32)
    top = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    first_row = 0
    for branch in tl.static_range(NUM_BRANCHES):
        rows, kept, first_row = find_rows(
            positions, branches, branch, length, longest, first_head + head, first_row,
            ALL_HEADS, PAPER_ORDER,
        )  # fmt: skip
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
    inside = positions < longest
    tl.store(
        lse + (entry64 * NUM_HEADS + head64) * longest + positions,
        top + tl.log(total), mask=inside,
    )  # fmt: skip
    where = ((entry64 * longest + positions.to(tl.int64)) * NUM_HEADS + head64) * WIDTH
    tl.store(
        out + where[:, None] + features[None, :],
        acc.to(out.dtype.element_ty), mask=inside[:, None] & (features < WIDTH)[None, :],
    )  # fmt: skip
