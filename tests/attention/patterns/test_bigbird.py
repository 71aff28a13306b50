"""Near, global and drawn blocks."""

import pytest
import torch

from slidenet.attention import BigBirdAttention


def test_random_blocks_are_neither_near_nor_global_nor_repeated():
    pattern = BigBirdAttention(block_size=2, window_blocks=3, global_blocks=2, random_blocks=4)
    drawn = pattern.drawn_blocks(41, 5)
    assert drawn.shape == (5, 21, 4)
    assert (drawn[:, :2] == -1).all(), "global blocks see everything already"
    for head in drawn.tolist():
        for block, chosen in enumerate(head[2:], start=2):
            assert len(set(chosen)) == 4
            assert all(2 <= x < 21 and abs(x - block) > 1 for x in chosen)


def test_every_allowed_block_is_drawn_equally_often():
    pattern = BigBirdAttention(block_size=1, window_blocks=3, global_blocks=1, random_blocks=3)
    drawn = pattern.drawn_blocks(12, 20_000)[:, 5]
    counts = torch.bincount(drawn.flatten(), minlength=12)
    allowed = torch.tensor([2, 3, 7, 8, 9, 10, 11, 1])
    assert counts.sum() == counts[allowed].sum() == 60_000
    assert counts[allowed].tolist() == pytest.approx([7500] * 8, rel=0.05)


def test_short_sequences_draw_what_there_is():
    pattern = BigBirdAttention(block_size=4, window_blocks=1, global_blocks=1, random_blocks=9)
    drawn = pattern.drawn_blocks(14, 1)[0]
    assert [sorted(set(row) - {-1}) for row in drawn.tolist()] == [[], [2, 3], [1, 3], [1, 2]]
    assert pattern.mask(14, 1).all()


def test_heads_and_seeds_draw_differently():
    one, two = (BigBirdAttention(block_size=4, seed=seed).mask(200, 2) for seed in (0, 1))
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one, two)
    assert torch.equal(one, BigBirdAttention(block_size=4, seed=0).mask(200, 2))


def test_pairs_by_hand():
    # 10 blocks of 4: the first is global; the 9 others see it and are seen by it; among them a
    # window of 3 has 9 + 8 + 8 pairs of blocks, and each draws 2 more.
    pattern = BigBirdAttention(block_size=4, random_blocks=2)
    assert pattern.num_pairs(40, 3) == 3 * 16 * (19 + 25 + 18)


def test_a_causal_window_lies_before_the_query_and_is_not_drawn_again():
    pattern = BigBirdAttention(block_size=1, window_blocks=3, global_blocks=0, random_blocks=2)
    quiet = BigBirdAttention(block_size=1, window_blocks=3, global_blocks=0, random_blocks=0)
    mask = quiet.mask(9, 1, causal=True)[0]
    assert mask[6].nonzero().flatten().tolist() == [4, 5, 6]
    for block, chosen in enumerate(pattern.drawn_blocks(9, 4, causal=True)[3].tolist()):
        assert not set(chosen) & set(range(block - 2, block + 1))
    old = BigBirdAttention(block_size=1, random_blocks=0, global_blocks=0, window_rule="half")
    assert old.mask(9, 1, causal=True)[0, 6].nonzero().flatten().tolist() == [5, 6]
