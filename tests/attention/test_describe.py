"""Numbers of a pattern against brute force: products of bool matrices, counting in the mask."""

import statistics

import pytest
import torch

from slidenet.attention import (
    BigBirdAttention,
    Blocks,
    DenseAttention,
    DilatedAttention,
    FixedBlockPattern,
    LongformerAttention,
    SlidingWindowAttention,
    StridedAttention,
    TopKBlocksAttention,
    make_attention,
    squares,
)
from slidenet.attention.coverage import coverage, fetched_keys, local_share
from slidenet.attention.describe import describe
from slidenet.attention.links import links_of
from slidenet.attention.reach import reach
from slidenet.attention.squares import matrices
from slidenet.core.errors import AttentionError

PATTERNS = [
    DenseAttention(),
    SlidingWindowAttention(window=4, dilation=3),
    StridedAttention(window=3),
    StridedAttention(window=4, sampling="random", seed=3),
    LongformerAttention(window=3, global_tokens=(6, 0, 900)),
    BigBirdAttention(block_size=3, window_blocks=1, global_blocks=1, random_blocks=2, seed=9),
    TopKBlocksAttention(block_size=4, top_k=2),
    DilatedAttention((8, 16, 64), (1, 2, 4)),
    DilatedAttention((7, 16, 60), (3, 2, 4), head_order="paper"),
]
either_direction = pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=repr)


@each_pattern
@either_direction
def test_reach_is_a_power_of_the_mask(pattern, causal):
    """(I + M)^n of the united heads, as a product of whole numbers above zero."""
    length, layers = 40, 3
    found = reach(links_of(pattern, length, 3, causal=causal), layers)
    one = pattern.mask(length, 3, causal=causal).any(dim=0) | torch.eye(length, dtype=torch.bool)
    possible = torch.ones(length, length, dtype=torch.bool)
    possible = possible.tril() if causal else possible
    known, layer, complete = torch.eye(length, dtype=torch.bool), 0, None
    for layer in range(1, length + 1):
        known = known.double() @ one.double() > 0
        if complete is None and bool((known == possible).all()):
            complete = layer
        if layer <= layers:
            counts = known.sum(dim=1).tolist()
            got = [x[layer - 1] for x in (found.least, found.median, found.greatest)]
            assert got == [min(counts), statistics.median_low(counts), max(counts)]
            assert found.unconnected[layer - 1] == int((possible & ~known).sum())
    assert found.every_token_layer == complete
    assert found.never_connected == int((possible & ~known).sum())
    assert (found.num_tokens, found.possible) == (length, int(possible.sum()))


@each_pattern
@either_direction
def test_coverage_is_counted_in_the_mask(pattern, causal):
    length = 50
    links = links_of(pattern, length, 3, causal=causal)
    found = coverage(links)
    mask = pattern.mask(length, 3, causal=causal).expand(3, length, length)
    united = mask.any(dim=0)
    assert found.queries_left_out == int((~united.any(dim=1)).sum())
    assert found.keys_left_out == int((~united.any(dim=0)).sum())
    left_out = (~united.any(dim=1)).nonzero()[:, 0].tolist()
    assert list(found.first_left_out) == left_out[:8]
    assert found.queries_by_head == tuple(mask.any(dim=2).sum(dim=1).tolist())
    assert found.pairs_by_head == tuple(mask.sum(dim=(1, 2)).tolist())
    assert found.united_pairs == int(united.sum())
    share = int(united.sum()) / (length * (length + 1) / 2 if causal else length**2)
    assert found.united_share == pytest.approx(share)

    rank = torch.tensor([0] * 20 + [1] * 17 + [2] * 13)
    own = mask & (rank[:, None] == rank)
    assert local_share(links, (0, 20, 37, 50)) == (int(own.sum()) / int(mask.sum()), length)
    fetched = fetched_keys(links, (0, 20, 37, 50))
    for p in range(3):
        wanted = mask[:, rank == p].any(dim=1) & (rank != p)
        assert torch.equal(fetched[p], wanted.float())
    drawn = matrices(links, bounds=(0, 20, 37, 50))
    assert torch.equal(drawn.heads.expand(3, -1, -1) > 0, mask)
    torch.testing.assert_close(drawn.local, own.float().mean(dim=0))
    torch.testing.assert_close(drawn.local + drawn.fetched, mask.float().mean(dim=0))


@pytest.mark.parametrize("pattern", PATTERNS[4:8], ids=repr)
def test_long_sequences_are_drawn_as_means_of_squares(pattern, monkeypatch):
    links = links_of(pattern, 64, 3, causal=True)
    drawn = matrices(links, cells=16, bounds=(0, 30, 64))
    mask = pattern.mask(64, 3, causal=True).float()
    torch.testing.assert_close(drawn.heads, mask.view(-1, 16, 4, 16, 4).mean(dim=(2, 4)))
    assert (drawn.queries_per_row, drawn.side) == (4, 4)
    uneven = matrices(links, cells=9)
    assert (uneven.side, uneven.heads.shape[1:]) == (8, (9, 9))
    torch.testing.assert_close(uneven.heads[-1, 0, 0], mask[-1, :7, :7].mean())
    if isinstance(pattern, DilatedAttention):  # exact at any length
        return
    monkeypatch.setattr(squares, "COUNTED_ENTRIES", 1)
    sampled = matrices(links, cells=16, bounds=(0, 30, 64))
    assert sampled.queries_per_row == 1
    assert abs(float(sampled.mean.mean() - drawn.mean.mean())) < 0.1
    assert abs(float(sampled.local.mean() - drawn.local.mean())) < 0.1


def test_a_sample_of_long_sequences(monkeypatch):
    links = links_of(SlidingWindowAttention(window=9), 200, 2)
    every, covered = reach(links, 3), coverage(links)
    monkeypatch.setattr("slidenet.attention.reach.EVERY_TOKEN", 100)
    monkeypatch.setattr("slidenet.attention.coverage.COUNTED_ENTRIES", 100)
    monkeypatch.setattr("slidenet.attention.squares.COUNTED_ENTRIES", 100)
    sample, seen = reach(links, 3), coverage(links)
    assert (sample.num_tokens, seen.num_queries) == (64, 64)
    # The first and the last token are among them, and are the last to know of each other.
    assert (sample.least, sample.greatest) == (every.least, every.greatest)
    assert sample.every_token_layer == every.every_token_layer == 50
    assert seen.pairs_by_head is None
    assert seen.united_share == pytest.approx(covered.united_share, rel=0.02)


def test_a_search_that_ends_first_says_so(monkeypatch):
    monkeypatch.setattr("slidenet.attention.reach.SEARCH_WORK", 5 * 60 * 60)
    found = reach(links_of(SlidingWindowAttention(window=3), 60, 1), 2)
    assert (found.searched_layers, len(found.least)) == (5, 2)
    assert (found.every_token_layer, found.never_connected) == (None, None)


def test_one_branch_after_the_other():
    found = describe(DilatedAttention((16, 64), (1, 4)), 64, 4, 8)
    assert [b.pairs for b in found.branches] == [4 * 64 * 16, 4 * 16 * 16]
    assert found.cost.num_pairs == sum(b.pairs for b in found.branches)
    assert found.dense_pairs == 4 * 64 * 64
    assert found.settings["segment_lengths"] == (16, 64)
    assert found.growth.lengths[-1] == 1_000_000
    assert found.growth.dense_pairs[0] == 4 * 1000**2


def test_heads_that_leave_tokens_unseen():
    """One head keeps one token in four: the other three get nothing from attention, ever."""
    found = describe(DilatedAttention((16,), (4,)), 16, 1, 8)
    assert found.coverage.queries_left_out == found.coverage.keys_left_out == 12
    assert [b.unseen_offsets for b in found.branches] == [3]
    assert found.coverage.first_left_out[:4] == (1, 2, 3, 5)
    assert found.reach.never_connected == 16 * 16 - 4 * 4 - 12
    assert found.reach.every_token_layer is None


def test_stride_and_window_that_the_length_decides():
    found = describe(StridedAttention(), 100, 1, 8)
    assert found.chosen == {"stride": 10, "window": 19}
    assert describe(StridedAttention(stride=7, window=3), 100, 1, 8).chosen == {}


def test_cost_alone():
    found = describe(make_attention("dense"), 1_000_000, 16, 48, layers=0)
    assert (found.reach, found.coverage) == (None, None)
    assert found.cost.density == 1


class Blockwise(FixedBlockPattern):
    """A plug-in whose pairs are counted block by block."""

    def mask(self, length, num_heads, *, causal=False):
        raise NotImplementedError

    def layout(self, length, num_heads, *, causal=False):
        groups = torch.arange(length + -length % 100).view(1, -1, 100)
        groups = groups.masked_fill(groups >= length, -1)
        return [Blocks(groups, groups)]


def test_content_and_growth_that_takes_too_long_to_count(monkeypatch):
    assert describe(TopKBlocksAttention(), 60, 1, 8).by_content
    monkeypatch.setattr("slidenet.attention.describe.GROWTH_ENTRIES", 10**6)
    found = describe(Blockwise(), 60, 1, 8)
    assert not found.by_content
    assert (found.pattern, found.settings) == ("Blockwise", {})
    assert found.growth.lengths == (1_000, 3_000, 10_000)
    assert found.growth.pairs == (100_000, 300_000, 1_000_000)


def test_refusals(monkeypatch):
    pattern = StridedAttention()
    with pytest.raises(AttentionError, match="length is 0"):
        describe(pattern, 0, 1, 8)
    with pytest.raises(AttentionError, match=r"at most 2,000,000 tokens"):
        describe(pattern, 10_000_000, 1, 8)
    with pytest.raises(AttentionError, match="layers is -1"):
        describe(pattern, 10, 1, 8, layers=-1)
    monkeypatch.setattr("slidenet.attention.describe.MOST_ENTRIES", 1000)
    with pytest.raises(AttentionError, match=r"strided of 100 tokens .* --layers 0"):
        describe(pattern, 100, 1, 8)


def test_growth_of_blocks_drawn_for_every_head_stops_in_time():
    pattern = BigBirdAttention(block_size=1, window_blocks=1, global_blocks=0, random_blocks=300)
    assert describe(pattern, 10, 2, 8, layers=0).growth.lengths == ()
    assert describe(BigBirdAttention(), 10, 2, 8, layers=0).growth.lengths[-1] == 1_000_000


def test_pairs_of_equal_heads_are_exact_however_long(monkeypatch):
    monkeypatch.setattr("slidenet.attention.coverage.COUNTED_ENTRIES", 100)
    monkeypatch.setattr("slidenet.attention.squares.COUNTED_ENTRIES", 100)
    found = describe(SlidingWindowAttention(window=9), 200, 2, 8, layers=1)
    assert found.coverage.united_pairs == found.cost.num_pairs // 2
    assert found.coverage.pairs_by_head == (found.cost.num_pairs // 2,) * 2
    assert found.coverage.num_queries == 200
