"""Rollout without a matrix, against the matrices themselves."""

import numpy as np
import pytest
import torch

from slidenet.attention import DenseAttention, DilatedAttention, SlidingWindowAttention
from slidenet.attention.dilated.config import branch_mask, zero_slots
from slidenet.explanation.methods import explain_target
from slidenet.explanation.rollout import (
    RESIDUAL,
    attention_product,
    rollout,
    rollout_of_model,
    rollout_of_pattern,
    value_changes,
)
from slidenet.explanation.subject import Subject
from slidenet.mil import make_bag_model
from slidenet.tasks import ExplainedTarget

TILES, FEATURES, HEADS = 29, 6, 4
DILATED = DilatedAttention((8, 12, 32), (1, 2, 4))
SHAPE = {
    "embed_dim": 16,
    "depth": 3,
    "num_heads": HEADS,
    "ffn_dim": 24,
    "segment_lengths": (8, 12, 32),
    "dilation_rates": (1, 2, 4),
    "grid_size": 16,
}


def dense_attention(pattern, q, k):
    """The attention of every head as matrices (H, N, N) in float64, from scores and masks."""
    scores = torch.einsum("nhd,mhd->hnm", q[0].double(), k[0].double()) * q.shape[-1] ** -0.5
    length, heads = q.shape[1], q.shape[2]
    if not isinstance(pattern, DilatedAttention):
        return scores.masked_fill(~pattern.mask(length, heads), -torch.inf).softmax(dim=-1)
    exponentials, total = [], 0.0
    for w, r in pattern.branches:
        seen = branch_mask(length, heads, w, r, pattern.head_order)
        empty = zero_slots(length, heads, w, r, pattern.head_order) * seen.any(dim=-1)
        exponentials.append(scores.exp() * seen)
        total = total + exponentials[-1].sum(dim=-1) + empty
    matrix = sum(exponentials) / torch.as_tensor(total)[..., None]
    return matrix.nan_to_num(nan=0.0)


def normalised(matrix, weights):
    """Mean over heads of attention (H, N, N) times weights (N, H), rows of one.

    A row of nothing is a row of the identity.
    """
    mean = (matrix * weights.T[:, None].double()).mean(dim=0)
    sums = mean.sum(dim=-1, keepdim=True)
    return torch.where(sums > 0, mean / sums, torch.eye(len(mean), dtype=mean.dtype))


def changes_by_vectors(attention, values):
    """What each head of each token adds beyond the median tile, as vectors of the whole width."""
    centred = values - values[1:].median(dim=0).values
    sizes = torch.empty(values.shape[:2], dtype=torch.float64)
    for head in range(values.shape[1]):
        alone = torch.zeros_like(values)
        alone[:, head] = centred[:, head]
        scaled = alone.flatten(1) * attention.inner_norm.weight
        sizes[:, head] = (scaled @ attention.out_proj.weight.T).norm(dim=1)
    return sizes


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def bag():
    cells = torch.randperm(256, generator=torch.Generator().manual_seed(1))[:TILES]
    return drawn(TILES, FEATURES), torch.stack([cells % 16, cells // 16], dim=1)


@pytest.mark.filterwarnings("ignore::slidenet.attention.AttentionWarning")
@pytest.mark.parametrize(
    "pattern",
    [DILATED, DenseAttention(), SlidingWindowAttention(window=5), DilatedAttention((8,), (4,))],
    ids=["dilated", "dense", "window", "tokens_left_out"],
)
def test_a_row_times_attention_is_that_of_the_matrix(pattern):
    q, k = (2 * drawn(1, 30, HEADS, 4, seed=seed) for seed in (2, 3))
    row, weights = drawn(30, seed=4).abs(), drawn(30, HEADS, seed=6).abs() + 0.01
    if pattern.name == "dilated" and len(pattern.branches) == 1:
        # Two heads of rate four cover half of the tokens.
        q, k, weights = q[:, :, :2], k[:, :, :2], weights[:, :2]
    matrix = dense_attention(pattern, q, k)
    if pattern.name == "dilated":
        assert matrix.sum(dim=-1).min() < 0.9, "rows of released dilated attention fall short"
    product = attention_product(pattern, q, k, weights, row)
    expected = row.double() @ normalised(matrix, weights)
    torch.testing.assert_close(product.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(product.sum(), row.sum())


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["class_token", "mean", "attention"])
@pytest.mark.parametrize("layers", [None, (1, 3)])
def test_rollout_is_the_product_of_the_matrices(bag, pooling, layers):
    features, grid_xy = bag
    torch.manual_seed(0)
    network = make_bag_model(
        "longnet", feature_dim=FEATURES, num_outputs=1, pooling=pooling, layers=layers, **SHAPE
    ).eval()
    for block in network.encoder.blocks:  # sharper than at the start, so that layers differ
        block.attention.q_proj.weight.data *= 4
    shares, class_share = rollout_of_model(network, features, grid_xy)

    mask = torch.ones(1, TILES, dtype=torch.bool)
    states = network.encoder.states(features[None], grid_xy[None])
    readout = torch.zeros(1 + TILES, dtype=torch.float64)
    if pooling == "class_token":
        readout[0] = 1
    else:
        readout[1:] = network(features[None], grid_xy[None], mask).tile_attention[0, 0]
    expected = torch.zeros_like(readout)
    for top in layers or (3,):
        flow = torch.eye(1 + TILES, dtype=torch.float64)
        for state, block in zip(states[:top], network.encoder.blocks, strict=False):
            normed = block.attention_norm(state)
            attention = block.attention
            q, k, v = (
                attention.heads(p(normed))
                for p in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            matrix = normalised(dense_attention(DILATED, q, k), changes_by_vectors(attention, v[0]))
            flow = (RESIDUAL * torch.eye(1 + TILES) + (1 - RESIDUAL) * matrix) @ flow
        expected += readout @ flow / len(layers or (3,))
    torch.testing.assert_close(shares.double(), expected[1:], rtol=1e-5, atol=1e-7)
    assert class_share == pytest.approx(float(expected[0]), rel=1e-5)
    assert float(shares.sum()) + class_share == pytest.approx(1, abs=1e-5)


def test_states_that_are_not_read_play_no_part(bag):
    features, grid_xy = bag
    network = make_bag_model("longnet", feature_dim=FEATURES, num_outputs=1, **SHAPE).eval()
    readout = drawn(1 + TILES, seed=5).abs()
    embedded = rollout(network.encoder, features, grid_xy, {0: readout})
    torch.testing.assert_close(embedded, readout)
    kept = rollout(network.encoder, features, grid_xy, {3: readout}, residual=1.0)
    torch.testing.assert_close(kept, readout)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_a_model_that_attends_alike_to_values_alike_draws_a_flat_map(bag, pooling):
    """Dilated attention shows some tiles to more tokens than others; the map is about the rest."""
    features, grid_xy = bag
    torch.manual_seed(0)
    network = make_bag_model(
        "longnet", feature_dim=FEATURES, num_outputs=1, pooling=pooling, **SHAPE
    ).eval()
    target = ExplainedTarget("positive", (1.0,))
    subject = Subject(network, features, grid_xy, torch.zeros(1), torch.ones(1))
    told, details = explain_target("rollout", subject, target)
    assert np.ptp(told) > 0.01
    assert told.sum() == pytest.approx(1, abs=1e-5)
    assert (details["unseen_tiles"], details["counted_from"][:15]) == (0, "attention alike")
    for block in network.encoder.blocks:
        attention = block.attention
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.zero_()
        for projection in (attention.q_proj, attention.k_proj):
            projection.bias.zero_()
    shares, _ = rollout_of_model(network, features, grid_xy)
    torch.testing.assert_close(shares, rollout_of_pattern(network, TILES))
    assert float(shares.max()) > 1.1 * float(shares.min())
    subject = Subject(network, features, grid_xy, torch.zeros(1), torch.ones(1))
    flat, _ = explain_target("rollout", subject, target)
    np.testing.assert_allclose(flat, 1 / TILES, rtol=1e-4)


def test_tiles_that_nobody_sees_have_no_share(bag):
    features, grid_xy = bag
    near = SHAPE | {"segment_lengths": (8,), "dilation_rates": (1,)}
    network = make_bag_model(
        "longnet", feature_dim=FEATURES, num_outputs=1, pooling="class_token", **near
    ).eval()
    subject = Subject(network, features, grid_xy, torch.zeros(1), torch.ones(1))
    values, details = explain_target("rollout", subject, ExplainedTarget("positive", (1.0,)))
    assert details["unseen_tiles"] == TILES - 7
    assert values[:7].min() > 0
    assert not values[7:].any()


@torch.no_grad()
def test_attention_to_what_every_tile_has_moves_nothing():
    """One tile has a value of its own in one head: it alone is fetched, in that head alone."""
    network = make_bag_model("longnet", feature_dim=FEATURES, num_outputs=1, **SHAPE).eval()
    attention = network.encoder.blocks[0].attention
    values = drawn(1, HEADS, 4, seed=7).repeat(1 + TILES, 1, 1)
    values[5, 2] += 1.0
    changes = value_changes(attention, values)
    assert changes[5, 2] == 1
    changes[5, 2] = 0
    assert changes.max() < 0.01
    assert changes[1:5].min() > 0
    torch.testing.assert_close(
        value_changes(attention, torch.zeros_like(values)), torch.ones(1 + TILES, HEADS)
    )


@pytest.mark.parametrize("pooling", ["class_token", "mean", "attention"])
def test_a_slide_of_one_tile_has_its_whole_map(bag, pooling):
    features, grid_xy = bag[0][:1], bag[1][:1]
    network = make_bag_model(
        "longnet", feature_dim=FEATURES, num_outputs=1, pooling=pooling, **SHAPE
    ).eval()
    subject = Subject(network, features, grid_xy, torch.zeros(1), torch.ones(1))
    values, _ = explain_target("rollout", subject, ExplainedTarget("positive", (1.0,)))
    np.testing.assert_allclose(values, [1.0], rtol=1e-6)
