"""Triton: where the kept positions of dilated attention lie, shared by forward and backward.

A branch (w, r) of a sequence of n positions has ceil(n / w') segments of w' = min(w, n) positions;
head h keeps, in each, the positions offset(h) + r * slot. Nothing is gathered: a block of slots is
a strided block of rows of q, k or v. What a branch computes per kept position goes to *compact*
rows: the rows of all segments of a branch one after another, the branches one after another. All
entries of a batch use the row numbers of the longest one, so that they can be written at once.

`layout` is a `calls.Layout`. Triton reads `tl.constexpr` annotations at run time; the
other arguments are its own scalars, pointers and blocks, for which there are no static types.
"""
# mypy: disable-error-code="untyped-decorator,no-untyped-def"

import triton
import triton.language as tl


@triton.jit
def branch_extent(branches, branch: tl.constexpr, length):
    """Segment length, rate, slots per segment, segments and compact rows of one branch."""
    window = tl.minimum(tl.load(branches + 2 * branch), length)
    rate = tl.load(branches + 2 * branch + 1)
    slots = tl.cdiv(window, rate)
    segments = tl.cdiv(length, window)
    last = length - (segments - 1) * window
    rows = (segments - 1) * slots + tl.cdiv(last, rate)
    return window, rate, slots, segments, rows


@triton.jit
def head_offset(head, rate, ALL_HEADS: tl.constexpr, PAPER_ORDER: tl.constexpr):
    """The offset a head keeps within a stride of `rate` positions."""
    if PAPER_ORDER:
        return head % rate
    return head // tl.cdiv(ALL_HEADS, rate)


@triton.jit
def entry_length(layout, entry, MASKED: tl.constexpr):
    """Length of one batch entry, and whether positions before its end are not real."""
    if MASKED:
        return tl.load(layout.lengths + 2 * entry), tl.load(layout.lengths + 2 * entry + 1) != 0
    return layout.longest, False


@triton.jit
def find_work(
    layout, BLOCK: tl.constexpr, NUM_BRANCHES: tl.constexpr, NUM_HEADS: tl.constexpr,
    ALL_HEADS: tl.constexpr, PAPER_ORDER: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The slots this program works on: a block of one segment of one branch, head and entry.

    Returns:
        Head, entry (int64); first position of the segment that the head keeps, positions from one
        slot to the next (int64); first slot of the block, real slots of the segment, zero slots
        behind them; first compact row of the segment; whether the entry has gaps.
    """
    head, entry = tl.program_id(1), tl.program_id(2)
    window, rate, segment, first_slot, first_row = 1, 1, 0, 0, 0
    blocks_before, rows_before = 0, 0
    for branch in tl.static_range(NUM_BRANCHES):
        w, r, slots, segments, rows = branch_extent(layout.branches, branch, layout.longest)
        per_segment = tl.cdiv(slots, BLOCK)
        local = tl.program_id(0) - blocks_before
        inside = (local >= 0) & (local < segments * per_segment)
        window = tl.where(inside, w, window)
        rate = tl.where(inside, r, rate)
        segment = tl.where(inside, local // per_segment, segment)
        first_slot = tl.where(inside, (local % per_segment) * BLOCK, first_slot)
        first_row = tl.where(inside, rows_before, first_row)
        blocks_before += segments * per_segment
        rows_before += rows
    length, gaps = entry_length(layout, entry, MASKED)
    window = tl.minimum(window, length)
    slots = tl.cdiv(window, rate)
    start = segment * window
    offset = head_offset(layout.first_head + head, rate, ALL_HEADS, PAPER_ORDER)
    real = tl.minimum(window, length - start) - offset
    kept = tl.cdiv(tl.maximum(real, 0), rate)
    entry64, head64 = entry.to(tl.int64), head.to(tl.int64)
    row = (entry64 * NUM_HEADS + head64) * layout.num_rows + (first_row + segment * slots)
    first, step = tl.cast(start + offset, tl.int64), tl.cast(rate, tl.int64)
    return head64, entry64, first, step, first_slot, kept, slots - kept, row, gaps


@triton.jit
def find_rows(
    layout, positions, branch: tl.constexpr, length, head, first_row,
    ALL_HEADS: tl.constexpr, PAPER_ORDER: tl.constexpr,
):  # fmt: skip
    """Compact rows of a block of positions in one branch, and which of them the head keeps.

    Returns:
        Rows, kept (bool), first compact row of the next branch.
    """
    _, _, _, _, rows_longest = branch_extent(layout.branches, branch, layout.longest)
    window, rate, slots, _, _ = branch_extent(layout.branches, branch, length)
    segment = positions // window
    slot = positions - segment * window
    offset = head_offset(layout.first_head + head, rate, ALL_HEADS, PAPER_ORDER)
    kept = (positions < length) & (slot % rate == offset)
    return first_row + segment * slots + slot // rate, kept, first_row + rows_longest


@triton.jit
def shift(x, strides, entry, first, head):
    """Where head and entry of x (B, L, H, D) begin at position `first`."""
    return x + (entry * strides[0] + first * strides[1] + head * strides[2])


@triton.jit
def real_slots(slots, kept, key_mask, mask_step, MASKED: tl.constexpr):
    """Which slots hold real positions."""
    real = slots < kept
    if MASKED:
        real &= tl.load(key_mask + slots * mask_step, mask=real, other=0) != 0
    return real


@triton.jit
def load_slots(x, step, start, read, BLOCK: tl.constexpr, PADDED: tl.constexpr):
    """Features (BLOCK, PADDED) of the slots from `start` on, zero where not read."""
    begin = tl.cast(start, tl.int64)
    within, features = tl.arange(0, BLOCK), tl.arange(0, PADDED)
    rows = x + begin * step + within[:, None] * step
    return tl.load(rows + features[None, :], mask=read, other=0.0)


@triton.jit
def key_scores(
    q_block, k_block, query_slots, slots, real,
    EDGE: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores q k^T of two blocks; with EDGE -inf at keys that are not real or come later."""
    scores = tl.dot(q_block, tl.trans(k_block), input_precision=PRECISION)
    if EDGE:
        allowed = real[None, :]
        if CAUSAL:
            allowed = allowed & (slots[None, :] <= query_slots[:, None])
        scores = tl.where(allowed, scores, float("-inf"))
    return scores
