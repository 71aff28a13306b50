"""Estimates of `slidenet plan` against counted tensors, exact counts and plain sense."""

import pytest
import torch
from rank_launch import run_ranks
from rank_memory import peak_bytes

from slidenet.core.errors import ConfigError, ParallelError
from slidenet.parallel.sizing import Workload, parameter_count, rank_cost, smallest_ranks
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetConfig, LongNetViT

GIGAPATH = LongNetConfig()
MODEST = LongNetConfig(
    feature_dim=64, embed_dim=96, depth=3, num_heads=8, ffn_dim=192,
    segment_lengths=(64, 256, 4096), dilation_rates=(1, 2, 4), grid_size=64,
)  # fmt: skip


@pytest.mark.parametrize("name", list(LONGNET_CONFIGS))
def test_parameters_are_counted_exactly(name):
    with torch.device("meta"):
        model = LongNetViT(LONGNET_CONFIGS[name])
    assert parameter_count(LONGNET_CONFIGS[name]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("num_ranks", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_memory_is_within_a_quarter_of_what_is_alive(num_ranks):
    measured = run_ranks(peak_bytes, num_ranks, MODEST, 2000)
    for (training, checkpointed), peak in measured[0].items():
        work = Workload(
            2000, precision="float32", training=training, checkpoint_activations=checkpointed,
            whole_inputs=True, chunk_tokens=256,
        )  # fmt: skip
        estimate = rank_cost(MODEST, work, num_ranks).activations
        assert 0.8 < estimate / peak < 1.25, (training, checkpointed, estimate, peak)


def test_operations_of_the_published_shape():
    """2 x multiplications of all linear layers, and 4 D per attended pair and head."""
    tokens = 10_001
    linear = 2 * tokens * (1536 * 768 + 12 * (4 * 768**2 + 2 * 768 * 3072))
    dense = rank_cost(GIGAPATH, Workload(10_000, "dense"))
    assert dense.forward_flops == linear + 12 * 4 * 48 * 16 * tokens**2
    shared = rank_cost(GIGAPATH, Workload(10_000, "dense"), 4)
    assert shared.forward_flops * 4 == dense.forward_flops


def test_a_million_tiles():
    dilated, ring = (Workload(1_000_000, scheme, training=True) for scheme in ("dilated", "ring"))
    ranks = smallest_ranks(GIGAPATH, dilated, 72e9)
    assert ranks is not None
    assert rank_cost(GIGAPATH, dilated, ranks).memory <= 72e9
    assert rank_cost(GIGAPATH, dilated, ranks - 1).memory > 72e9
    ours, theirs = (rank_cost(GIGAPATH, work, 8) for work in (dilated, ring))
    assert ours.exchanged < theirs.exchanged / 8
    assert ours.step_flops < theirs.step_flops / 50


def test_memory_falls_with_ranks():
    for training in (False, True):
        work = Workload(65_536, training=training)
        found = [rank_cost(GIGAPATH, work, ranks).memory for ranks in (1, 2, 4, 8)]
        assert found == sorted(found, reverse=True)


def test_what_can_never_fit():
    assert smallest_ranks(GIGAPATH, Workload(1000, training=True), 1e9) is None  # weights alone
    whole = Workload(1_000_000, whole_inputs=True)
    assert smallest_ranks(GIGAPATH, whole, 5e9) is None  # 6 GB of features on every rank


def test_refusals():
    with pytest.raises(ConfigError, match="num_tiles is 0"):
        Workload(0)
    with pytest.raises(ParallelError, match="5 sequence ranks for 4 tokens"):
        rank_cost(GIGAPATH, Workload(3), 5)
    with pytest.raises(ConfigError, match="'dense' attention"):
        rank_cost(LongNetConfig(attention="dense"), Workload(3))
