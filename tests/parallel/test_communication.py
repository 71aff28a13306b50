"""Bytes on the wire equal the formula; a lost rank ends the others with an error."""

import itertools

import numpy as np
import pytest
import torch
from rank_attention import GIGAPATH, Case
from rank_launch import run_ranks
from rank_traffic import lose_a_rank, received_bytes

from slidenet.attention import DilatedConfig
from slidenet.parallel import (
    chunks_of,
    dilated_bytes,
    even_chunks,
    gathered_branches_bytes,
    ring_bytes,
    ulysses_bytes,
)
from slidenet.parallel.communication import count_entries, intersection, size_of_union
from slidenet.parallel.dilated.plan import SharedLayer

SMALL = DilatedConfig((3, 10, 37, 500), (1, 2, 3, 5))


def test_bytes_on_the_wire_equal_the_formula():
    cases = [
        Case(127, SMALL),
        Case(127, SMALL, causal=True, heads=7),
        Case(127, SMALL, sizes=(100, 1, 26), dtype=torch.bfloat16, batch=2),
        Case(4099, DilatedConfig(**GIGAPATH, head_order="paper"), heads=16),
    ]
    parts = run_ranks(received_bytes, 3, cases)
    for i, case in enumerate(cases):
        chunks = chunks_of(case.sizes) if case.sizes else even_chunks(case.length, 3)
        wanted = dilated_bytes(
            chunks, case.heads, case.head_dim, case.config,
            itemsize=case.dtype.itemsize, causal=case.causal,
        )  # fmt: skip
        sent = [
            2 * case.head_dim * case.dtype.itemsize
            * sum(count_entries(SharedLayer(chunks, case.heads, case.config, case.causal), to, p)
                  for to in range(3))
            for p in range(3)
        ]  # fmt: skip
        for rank, part in enumerate(parts):
            # The backward brings a rank the gradients of what it sent.
            assert part[i] == [wanted.received[rank] * case.batch, sent[rank] * case.batch]


@pytest.mark.parametrize("causal", [False, True])
def test_counting_equals_listing(causal):
    draw = np.random.default_rng(0)
    for _ in range(40):
        length = int(draw.integers(4, 400))
        cuts = sorted(draw.integers(0, length + 1, 3))
        chunks = chunks_of([int(n) or 1 for n in np.diff([0, *cuts, length])])
        rates = [int(r) for r in draw.integers(1, 9, 3)]
        config = DilatedConfig(
            tuple(r + int(x) for r, x in zip(rates, draw.integers(0, 300, 3), strict=True)),
            tuple(rates),
            head_order="released" if draw.random() < 0.5 else "paper",
        )
        heads = int(draw.integers(1, 12))
        layer = SharedLayer(chunks, heads, config, causal)
        for a, b in itertools.product(range(4), repeat=2):
            listed = layer.needed_entries(a, b)
            assert (np.diff(listed) > 0).all(), "an entry twice"
            assert count_entries(layer, a, b) == len(listed)


def test_progressions():
    assert list(intersection(range(1, 100, 6), range(3, 90, 4))) == list(range(7, 90, 12))
    assert not len(intersection(range(0, 100, 4), range(1, 100, 2)))
    parts = [range(0, 50, 3), range(10, 70, 5), range(7, 60, 4)]
    assert size_of_union(parts) == len(set().union(*parts))


def test_a_million_tiles_on_eight_ranks():
    """The figures of docs/multi-gpu.md, in bfloat16."""
    chunks, config = even_chunks(2**20, 8), DilatedConfig(**GIGAPATH)
    ours = dilated_bytes(chunks, 16, 48, config)
    assert round(ours.mean / 1e6, 1) == 240.9
    assert round(ours.most / 1e6, 1) == 272.5
    assert round(gathered_branches_bytes(chunks, 768, config).mean / 1e6, 1) == 528.5
    assert round(ulysses_bytes(chunks, 768).mean / 1e6, 1) == 704.6
    assert round(ring_bytes(chunks, 768).mean / 1e6, 1) == 2818.6


def test_a_killed_rank_ends_the_others():
    first, second, third = run_ranks(lose_a_rank, 3, "dies", may_fail=True)
    assert third is None
    for seconds, text in (first, second):
        assert seconds < 60
        assert "lost another rank during the exchange of" in text
        assert "start all ranks again from the last checkpoint" in text


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_others_within_the_timeout():
    found = run_ranks(lose_a_rank, 3, "hangs", may_fail=True, rank_timeout_s=4)
    for seconds, text in found[:2]:
        assert seconds < 30
        assert "a longer timeout" in text
