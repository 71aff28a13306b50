"""Triton: where the kept positions of dilated attention lie, shared by forward and backward.

A branch (w, r) of a sequence of n positions has ceil(n / w') segments of w' = min(w, n) positions;
head h keeps, in each, the positions offset(h) + r * slot. Nothing is gathered: a block of slots is
a strided block of rows of q, k or v. What a branch computes per kept position goes to *compact*
rows: the rows of all segments of a branch one after another, the branches one after another. All
entries of a batch use the row numbers of the longest one, so that they can be written at once.

Triton reads `tl.constexpr` annotations at run time; the other arguments are its own scalars,
pointers and blocks, for which there are no static types.
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
def find_block(block, branches, length, BLOCK: tl.constexpr, NUM_BRANCHES: tl.constexpr):
    """Which segment and slots program `block` works on.

    Returns:
        Segment length, rate, segment, first slot, first compact row of the branch.
    """
    window, rate, segment, first_slot, first_row = 1, 1, 0, 0, 0
    blocks_before, rows_before = 0, 0
    for branch in tl.static_range(NUM_BRANCHES):
        w, r, slots, segments, rows = branch_extent(branches, branch, length)
        per_segment = tl.cdiv(slots, BLOCK)
        local = block - blocks_before
        inside = (local >= 0) & (local < segments * per_segment)
        window = tl.where(inside, w, window)
        rate = tl.where(inside, r, rate)
        segment = tl.where(inside, local // per_segment, segment)
        first_slot = tl.where(inside, (local % per_segment) * BLOCK, first_slot)
        first_row = tl.where(inside, rows_before, first_row)
        blocks_before += segments * per_segment
        rows_before += rows
    return window, rate, segment, first_slot, first_row


@triton.jit
def find_segment(
    window, rate, segment, first_row, head, length,
    ALL_HEADS: tl.constexpr, PAPER_ORDER: tl.constexpr,
):  # fmt: skip
    """What a head keeps of one segment of an entry of `length` positions.

    Returns:
        First position kept, real slots, zero slots behind them, first compact row.
    """
    window = tl.minimum(window, length)
    slots = tl.cdiv(window, rate)
    start = segment * window
    offset = head_offset(head, rate, ALL_HEADS, PAPER_ORDER)
    real = tl.minimum(window, length - start) - offset
    kept = tl.cdiv(tl.maximum(real, 0), rate)
    return start + offset, kept, slots - kept, first_row + segment * slots


@triton.jit
def find_rows(
    positions, branches, branch: tl.constexpr, length, longest, head, first_row,
    ALL_HEADS: tl.constexpr, PAPER_ORDER: tl.constexpr,
):  # fmt: skip
    """Compact rows of a block of positions in one branch, and which of them the head keeps.

    Returns:
        Rows, kept (bool), first compact row of the next branch.
    """
    _, _, _, _, rows_longest = branch_extent(branches, branch, longest)
    window, rate, slots, _, _ = branch_extent(branches, branch, length)
    segment = positions // window
    slot = positions - segment * window
    offset = head_offset(head, rate, ALL_HEADS, PAPER_ORDER)
    kept = (positions < length) & (slot % rate == offset)
    return first_row + segment * slots + slot // rate, kept, first_row + rows_longest


@triton.jit
def find_entry(lengths, entry, longest, MASKED: tl.constexpr):
    """Length of one batch entry, and whether positions before its end are not real."""
    if MASKED:
        return tl.load(lengths + 2 * entry), tl.load(lengths + 2 * entry + 1) != 0
    return longest, False
