"""The picture of dilated attention, its zero slots, its rectangles and its cost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slidenet.attention import DilatedAttention
from slidenet.attention.accounting import attention_cost
from slidenet.attention.dilated.config import DilatedCall, branch_mask, head_offsets, zero_slots
from slidenet.attention.dilated.rectangles import plan_branch, plan_rectangles
from slidenet.attention.patterns.dense import DenseAttention

GIGAPATH = DilatedAttention((1024, 5792, 32768, 185363, 1048576), (1, 2, 4, 8, 16))


@pytest.mark.parametrize(
    ("num_heads", "rate", "order", "offsets"),
    [
        (8, 4, "released", (0, 0, 1, 1, 2, 2, 3, 3)),
        (8, 4, "paper", (0, 1, 2, 3, 0, 1, 2, 3)),
        (6, 4, "released", (0, 0, 1, 1, 2, 2)),  # offset 3 stays unused
        (6, 4, "paper", (0, 1, 2, 3, 0, 1)),
        (4, 8, "released", (0, 1, 2, 3)),
        (3, 1, "released", (0, 0, 0)),
    ],
)
def test_head_offsets(num_heads, rate, order, offsets):
    assert head_offsets(num_heads, rate, order) == offsets


def test_a_branch_by_hand():
    mask = branch_mask(7, 2, 4, 2)
    pairs = {(0, 0), (0, 2), (2, 0), (2, 2), (4, 4), (4, 6), (6, 4), (6, 6)}
    assert {tuple(p) for p in mask[0].nonzero().tolist()} == pairs
    assert {tuple(p) for p in mask[1].nonzero().tolist()} == {
        (1, 1),
        (1, 3),
        (3, 1),
        (3, 3),
        (5, 5),
    }
    causal = branch_mask(7, 2, 4, 2, causal=True)
    assert {tuple(p) for p in causal[0].nonzero().tolist()} == {(i, j) for i, j in pairs if j <= i}


def test_zero_slots_by_hand():
    # Seven positions in segments of five: the last has two; each segment fills up to six.
    slots = zero_slots(7, 2, 5, 2)
    assert slots[0].tolist() == [0] * 5 + [2, 2]  # offset 0 keeps 3 of 3, then 1 of 3
    assert slots[1].tolist() == [1] * 5 + [2, 2]  # offset 1 keeps 2 of 3, then 1 of 3
    assert zero_slots(3, 2, 5, 2)[1].tolist() == [1, 1, 1]  # w = 3 fills up to 4


@settings(deadline=None, max_examples=150, derandomize=True)
@given(data=st.data())
def test_rectangles_cover_the_picture(data):
    rate = data.draw(st.integers(1, 7))
    w = data.draw(st.integers(rate, 30))
    length, heads = data.draw(st.integers(0, 60)), data.draw(st.integers(1, 9))
    order = data.draw(st.sampled_from(["released", "paper"]))
    offsets = head_offsets(heads, rate, order)
    index = torch.arange(length * heads).reshape(1, length, heads)
    drawn = torch.zeros(heads, length, length, dtype=torch.long)
    zeros = torch.zeros(heads, length, dtype=torch.long)
    for rectangle in plan_branch(length, offsets, w, rate, zero_slots=True):
        count = 0
        for views in rectangle.views(index):
            for slots in views.flatten(0, 1):
                position, head = slots // heads, int(slots[0]) % heads
                assert (slots % heads == head).all()
                drawn[head, position[:, None], position] += 1
                zeros[head, position] = rectangle.zero_slots
                count += len(slots)
        assert count == rectangle.num_queries
    mask = branch_mask(length, heads, w, rate, order)
    assert torch.equal(drawn, mask.long())  # every pair exactly once
    if length:
        assert torch.equal(zeros, zero_slots(length, heads, w, rate, order) * mask.any(-1))


def test_whole_sequences_take_one_call_per_branch():
    call = DilatedCall(GIGAPATH)
    assert len(plan_rectangles(call, 1024, 16)) == 5
    assert len(plan_rectangles(call, 1025, 16)) == 10
    calls = sum(
        len(list(r.views(torch.zeros(1, 1024, 16)))) for r in plan_rectangles(call, 1024, 16)
    )
    assert calls == 5


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    length=st.integers(0, 40),
    heads=st.integers(1, 7),
    order=st.sampled_from(["released", "paper"]),
    causal=st.booleans(),
)
def test_pairs_are_counted_exactly(length, heads, order, causal):
    pattern = DilatedAttention((5, 12), (1, 3), order)
    drawn = sum(
        int(branch_mask(length, heads, w, r, order, causal=causal).sum())
        for w, r in ((5, 1), (12, 3))
    )
    assert pattern.num_pairs(length, heads, causal=causal) == drawn


def test_cost_of_the_released_layer():
    cost = attention_cost(GIGAPATH, 65536, 16, 48)
    assert cost.forward_flops == 4 * 48 * cost.num_pairs
    assert cost.backward_flops == 10 * 48 * cost.num_pairs
    assert cost.density == cost.num_pairs / (16 * 65536**2)
    # 64 segments of 1024; 11 of 5792 and one of 1824; 2 of 32768; one of the whole, twice.
    pairs = 16 * (64 * 1024**2 + 11 * 2896**2 + 912**2 + 2 * 8192**2 + 8192**2 + 4096**2)
    assert cost.num_pairs == pairs
    dense = attention_cost(DenseAttention(), 65536, 16, 48)
    assert dense.density == 1.0
    assert round(dense.num_pairs / cost.num_pairs, 1) == 11.4
    assert attention_cost(GIGAPATH, 0, 16, 48).density == 0.0
