"""Triton: the three launches of the backward of dilated attention, without atomics.

With P = exp(score - *total* log-sum-exp) the gradient of a score is P (dO . v - delta), where
delta = dO . O; O is the branch's own output when the mixing weights are held fixed ("released"),
and the mixed output for the true gradient (GigaPath facts, point 7). `query_gradients` computes
delta and the gradient of q branch by branch, `key_gradients` those of k and v, `sum_branches` adds
the branches up, each position in one program, so that the same inputs give the same bits.

Shapes: as in the forward; per compact row, row_lses and deltas (B, H, R) hold the log-sum-exp in
base 2 and delta, and each branch's gradients of q, k and v are (B, H, R, D).
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

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def query_gradients(
    q, k, v, outs, grad_out, lse, grad_lse, grad_q, row_lses, deltas, layout,
    q_strides, k_strides, v_strides, g_strides, scale,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, CAUSAL: tl.constexpr, OWN_OUT: tl.constexpr,
    LSE_GRAD: tl.constexpr, PAPER_ORDER: tl.constexpr, MASKED: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Gradient of one block of queries from one branch; keeps delta and lse for the keys."""
    head, entry, first, step, first_slot, kept, _, row, gaps = find_work(
        layout, BLOCK_Q, NUM_BRANCHES, NUM_HEADS, ALL_HEADS, PAPER_ORDER, MASKED
    )
    if first_slot >= kept:
        return
    q = shift(q, q_strides, entry, first, head)
    k = shift(k, k_strides, entry, first, head)
    v = shift(v, v_strides, entry, first, head)
    grad_out = shift(grad_out, g_strides, entry, first, head)
    key_mask = layout.key_mask + (entry * layout.mask_batch + first * layout.mask_step)
    mask_step = step * layout.mask_step
    group = entry * NUM_HEADS + head
    lse += group * layout.longest + first
    grad_lse += group * layout.longest + first

    features = tl.arange(0, PADDED)
    slots = first_slot + tl.arange(0, BLOCK_Q)
    inside = slots < kept
    real = real_slots(slots, kept, key_mask, mask_step, MASKED)
    read = real[:, None] & (features < WIDTH)[None, :]
    at = slots[:, None] * step
    q_block = tl.load(q + at * q_strides[1] + features[None, :], mask=read, other=0.0)
    g_block = tl.load(grad_out + at * g_strides[1] + features[None, :], mask=read, other=0.0)
    compact = (row + slots)[:, None]
    if OWN_OUT:
        outs_at = compact * WIDTH
    else:
        outs_at = ((entry * layout.longest + first + at) * NUM_HEADS + head) * WIDTH
    out_block = tl.load(outs + outs_at + features[None, :], mask=read, other=0.0)
    delta = tl.sum(g_block.to(tl.float32) * out_block.to(tl.float32), 1)
    if LSE_GRAD:
        delta -= tl.load(grad_lse + slots * step, mask=real, other=0.0)
    row_lse = tl.load(lse + slots * step, mask=real, other=float("inf")) * LOG2_E
    if MASKED:  # exp2(-inf) = 0: a row without any key has no weights
        row_lse = tl.where(row_lse == float("-inf"), float("inf"), row_lse)
    tl.store(row_lses + row + slots, row_lse, mask=inside)
    tl.store(deltas + row + slots, delta, mask=inside)

    end = tl.minimum(first_slot + BLOCK_Q, kept) if CAUSAL else kept
    whole = (first_slot if CAUSAL else kept) // BLOCK_K * BLOCK_K
    if MASKED:
        whole = tl.where(gaps, 0, whole)
    acc = tl.zeros([BLOCK_Q, PADDED], tl.float32)
    acc = _add_keys(
        acc, q_block, g_block, row_lse, delta, k, v, key_mask, step * k_strides[1],
        step * v_strides[1], mask_step, slots, 0, whole, kept, scale * LOG2_E,
        WIDTH, PADDED, False, False, False, PRECISION, BLOCK_K,
    )  # fmt: skip
    acc = _add_keys(
        acc, q_block, g_block, row_lse, delta, k, v, key_mask, step * k_strides[1],
        step * v_strides[1], mask_step, slots, whole, end, kept, scale * LOG2_E,
        WIDTH, PADDED, True, CAUSAL, MASKED, PRECISION, BLOCK_K,
    )  # fmt: skip
    tl.store(
        grad_q + compact * WIDTH + features[None, :],
        (acc * scale).to(grad_q.dtype.element_ty),
        mask=inside[:, None] & (features < WIDTH)[None, :],
    )


@triton.jit
def _add_keys(
    acc, q_block, g_block, row_lse, delta, k, v, key_mask, k_step, v_step, mask_step, query_slots,
    first, end, kept, scale_log2,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, EDGE: tl.constexpr, CAUSAL: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Adds what the key slots first ... end give to the gradient of q (without the scale)."""
    for start in range(first, end, BLOCK_K):
        slots = start + tl.arange(0, BLOCK_K)
        real = real_slots(slots, kept, key_mask, mask_step, MASKED)
        read = (tl.arange(0, PADDED) < WIDTH)[None, :]
        if EDGE:
            read = read & real[:, None]
        k_block = load_slots(k, k_step, start, read, BLOCK_K, PADDED)
        v_block = load_slots(v, v_step, start, read, BLOCK_K, PADDED)
        scores = key_scores(q_block, k_block, query_slots, slots, real, EDGE, CAUSAL, PRECISION)
        weights = tl.exp2(scores * scale_log2 - row_lse[:, None])
        grad_weights = tl.dot(g_block, tl.trans(v_block), input_precision=PRECISION)
        grad_scores = weights * (grad_weights - delta[:, None])
        acc = tl.dot(grad_scores.to(k_block.dtype), k_block, acc, input_precision=PRECISION)
    return acc


@triton.jit
def key_gradients(
    q, k, v, grad_out, grad_k, grad_v, row_lses, deltas, layout,
    q_strides, k_strides, v_strides, g_strides, scale,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, CAUSAL: tl.constexpr,
    PAPER_ORDER: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Gradients of one block of keys and values from one branch."""
    head, entry, first, step, first_slot, kept, _, row, gaps = find_work(
        layout, BLOCK_K, NUM_BRANCHES, NUM_HEADS, ALL_HEADS, PAPER_ORDER, MASKED
    )
    if first_slot >= kept:
        return
    q = shift(q, q_strides, entry, first, head)
    k = shift(k, k_strides, entry, first, head)
    v = shift(v, v_strides, entry, first, head)
    grad_out = shift(grad_out, g_strides, entry, first, head)
    key_mask = layout.key_mask + (entry * layout.mask_batch + first * layout.mask_step)
    mask_step = step * layout.mask_step

    features = tl.arange(0, PADDED)
    slots = first_slot + tl.arange(0, BLOCK_K)
    inside = slots < kept
    real = real_slots(slots, kept, key_mask, mask_step, MASKED)
    read = real[:, None] & (features < WIDTH)[None, :]
    at = slots[:, None] * step
    k_block = tl.load(k + at * k_strides[1] + features[None, :], mask=read, other=0.0)
    v_block = tl.load(v + at * v_strides[1] + features[None, :], mask=read, other=0.0)

    acc_k = tl.zeros([BLOCK_K, PADDED], tl.float32)
    acc_v = tl.zeros([BLOCK_K, PADDED], tl.float32)
    # When causal, no query before the keys sees them, and all others are taken one masked way.
    begin = first_slot // BLOCK_Q * BLOCK_Q if CAUSAL else 0
    whole = begin if CAUSAL else kept // BLOCK_Q * BLOCK_Q
    if MASKED:
        whole = tl.where(gaps, begin, whole)
    acc_k, acc_v = _add_queries(
        acc_k, acc_v, k_block, v_block, q, grad_out, row_lses + row, deltas + row, key_mask,
        step * q_strides[1], step * g_strides[1], mask_step, slots,
        begin, whole, kept, scale * LOG2_E,
        WIDTH, PADDED, False, False, False, PRECISION, BLOCK_Q,
    )  # fmt: skip
    acc_k, acc_v = _add_queries(
        acc_k, acc_v, k_block, v_block, q, grad_out, row_lses + row, deltas + row, key_mask,
        step * q_strides[1], step * g_strides[1], mask_step, slots,
        whole, kept, kept, scale * LOG2_E,
        WIDTH, PADDED, True, CAUSAL, MASKED, PRECISION, BLOCK_Q,
    )  # fmt: skip
    if MASKED:  # keys that are not real have no gradient
        acc_k = tl.where(real[:, None], acc_k, 0.0)
        acc_v = tl.where(real[:, None], acc_v, 0.0)
    write = inside[:, None] & (features < WIDTH)[None, :]
    where = (row + slots)[:, None] * WIDTH + features[None, :]
    tl.store(grad_k + where, (acc_k * scale).to(grad_k.dtype.element_ty), mask=write)
    tl.store(grad_v + where, acc_v.to(grad_v.dtype.element_ty), mask=write)


@triton.jit
def _add_queries(
    grad_k, grad_v, k_block, v_block, q, grad_out, row_lses, deltas, key_mask,
    q_step, g_step, mask_step, key_slots, first, end, kept, scale_log2,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, EDGE: tl.constexpr, CAUSAL: tl.constexpr,
    MASKED: tl.constexpr, PRECISION: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Adds what the query slots first ... end give to the gradients of a block of keys."""
    for start in range(first, end, BLOCK_Q):
        slots = start + tl.arange(0, BLOCK_Q)
        inside = slots < kept
        real = real_slots(slots, kept, key_mask, mask_step, MASKED)
        read = (tl.arange(0, PADDED) < WIDTH)[None, :]
        if EDGE:
            read = read & real[:, None]
            row_lse = tl.load(row_lses + slots, mask=inside, other=float("inf"))
            delta = tl.load(deltas + slots, mask=inside, other=0.0)
        else:
            row_lse = tl.load(row_lses + slots)
            delta = tl.load(deltas + slots)
        q_block = load_slots(q, q_step, start, read, BLOCK_Q, PADDED)
        g_block = load_slots(grad_out, g_step, start, read, BLOCK_Q, PADDED)
        scores = tl.dot(k_block, tl.trans(q_block), input_precision=PRECISION)
        if CAUSAL:
            scores = tl.where(key_slots[:, None] <= slots[None, :], scores, float("-inf"))
        weights = tl.exp2(scores * scale_log2 - row_lse[None, :])
        grad_v = tl.dot(weights.to(g_block.dtype), g_block, grad_v, input_precision=PRECISION)
        grad_weights = tl.dot(v_block, tl.trans(g_block), input_precision=PRECISION)
        grad_scores = weights * (grad_weights - delta[None, :])
        grad_k = tl.dot(grad_scores.to(q_block.dtype), q_block, grad_k, input_precision=PRECISION)
    return grad_k, grad_v


@triton.jit
def sum_branches(
    q_parts, k_parts, v_parts, grad_q, grad_k, grad_v, layout,
    NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr, ALL_HEADS: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, PAPER_ORDER: tl.constexpr,
    MASKED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Adds the gradients of q, k and v of all branches at one block of positions of one head."""
    head, entry = tl.program_id(1), tl.program_id(2)
    length, _ = entry_length(layout, entry, MASKED)
    entry64, head64 = entry.to(tl.int64), head.to(tl.int64)
    group = (entry64 * NUM_HEADS + head64) * layout.num_rows * WIDTH
    features = tl.arange(0, PADDED)
    positions = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    sum_q = tl.zeros([BLOCK, PADDED], tl.float32)
    sum_k = tl.zeros([BLOCK, PADDED], tl.float32)
    sum_v = tl.zeros([BLOCK, PADDED], tl.float32)
    first_row = 0
    for branch in tl.static_range(NUM_BRANCHES):
        rows, kept, first_row = find_rows(
            layout, positions, branch, length, head, first_row, ALL_HEADS, PAPER_ORDER
        )
        read = kept[:, None] & (features < WIDTH)[None, :]
        where = group + rows[:, None].to(tl.int64) * WIDTH + features[None, :]
        sum_q += tl.load(q_parts + where, mask=read, other=0.0).to(tl.float32)
        sum_k += tl.load(k_parts + where, mask=read, other=0.0).to(tl.float32)
        sum_v += tl.load(v_parts + where, mask=read, other=0.0).to(tl.float32)
    write = (positions < layout.longest)[:, None] & (features < WIDTH)[None, :]
    where = ((entry64 * layout.longest + positions.to(tl.int64)) * NUM_HEADS + head64) * WIDTH
    where = where[:, None] + features[None, :]
    dtype = grad_q.dtype.element_ty
    tl.store(grad_q + where, sum_q.to(dtype), mask=write)
    tl.store(grad_k + where, sum_k.to(dtype), mask=write)
    tl.store(grad_v + where, sum_v.to(dtype), mask=write)
