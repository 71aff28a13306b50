"""Estimates of `slidenet plan` against counted tensors, exact counts and plain sense."""

from dataclasses import replace

import pytest
import torch
from rank_launch import run_ranks
from rank_memory import LiveBytes, peak_bytes

from slidenet.attention import (
    DenseAttention,
    LongformerAttention,
    TopKBlocksAttention,
    make_attention,
)
from slidenet.core.errors import ConfigError, ParallelError
from slidenet.parallel.block_memory import layout_bytes
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "num_ranks",
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
)
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


@pytest.mark.parametrize("name", ["strided", "topk_blocks"])
def test_memory_of_block_sparse_attention_is_what_is_alive(name):
    config = replace(MODEST, depth=2, attention=name)
    features, grid_xy = torch.randn(1, 2000, 64), torch.randint(64, (1, 2000, 2))
    for training in (False, True):
        model = LongNetViT(config, chunk_tokens=256).train(training)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with torch.set_grad_enabled(training), LiveBytes() as live:
            out = model(features, grid_xy, pooling="mean")
            if training:
                out.sum().backward()
        work = Workload(
            2000, "alone", make_attention(name), precision="float32", training=training,
            chunk_tokens=256,
        )  # fmt: skip
        estimate = rank_cost(config, work).activations
        assert 0.8 < estimate / live.peak < 1.25, (training, estimate, live.peak)


def test_layouts_are_those_the_patterns_make():
    window = 16 * (128 + 128 + 512)  # groups of queries, and keys 256 to both sides of them
    assert layout_bytes(LongformerAttention(), 2001, 4) == 8 * (window + 2000 + 1 + 2001)
    assert layout_bytes(DenseAttention(), 2001, 4) == 0
    torch.manual_seed(0)
    pattern = TopKBlocksAttention(block_size=16, top_k=3)
    q, k = torch.randn(2, 1, 4, 1001, 8)
    own, *routed = pattern.layout_for(q, k, None, causal=False)
    found = own.queries.numel() + sum(x.queries.numel() + x.keys.numel() for x in routed)
    assert layout_bytes(pattern, 1001, 4) == pytest.approx(8 * found, rel=0.1)


def test_refusals():
    with pytest.raises(ConfigError, match="num_tiles is 0"):
        Workload(0)
    with pytest.raises(ParallelError, match="5 sequence ranks for 4 tokens"):
        rank_cost(GIGAPATH, Workload(3), 5)
    with pytest.raises(ConfigError, match="'dense' attention"):
        rank_cost(LongNetConfig(attention="dense"), Workload(3))
    with pytest.raises(ConfigError, match="'alone' with no attention"):
        Workload(3, "alone")
    with pytest.raises(ConfigError, match="'ring' with longformer attention"):
        Workload(3, "ring", LongformerAttention())
    alone = Workload(3, "alone", LongformerAttention())
    with pytest.raises(ParallelError, match="longformer attention on 2 ranks; expected one rank"):
        rank_cost(GIGAPATH, alone, 2)
    assert smallest_ranks(GIGAPATH, replace(alone, training=True), 1e9) is None
