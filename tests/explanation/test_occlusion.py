"""Occlusion against a loop that really removes the tiles."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from slidenet.core.errors import ExplanationError
from slidenet.explanation import occlusion
from slidenet.explanation.groups import windows
from slidenet.explanation.methods import EXPLAINERS, explain_target
from slidenet.explanation.occlusion import drops, has_closed_form, plain_tile
from slidenet.explanation.subject import Subject
from slidenet.mil import make_bag_model
from slidenet.tasks import ExplainedTarget

TILES, FEATURES, OUTPUTS = 30, 6, 3
SMALL = {"hidden_dim": 8, "attention_dim": 4}
LONGNET = {"embed_dim": 16, "depth": 1, "num_heads": 4, "ffn_dim": 24}
SATURATED = 200.0
TARGET = ExplainedTarget("second", (-0.5, 1.0, -0.5))


def make_subject(name, outputs=OUTPUTS, *, tiles=TILES, sharpness=1.0, **settings):
    torch.manual_seed(0)
    network = make_bag_model(name, feature_dim=FEATURES, num_outputs=outputs, **settings).eval()
    for key, parameter in network.named_parameters():
        if key.startswith("head."):
            torch.nn.init.normal_(parameter)
    if hasattr(network, "attention") and network.attention is not None:
        network.attention.score.weight.data *= sharpness
    cells = torch.arange(tiles)
    return Subject(
        network=network,
        features=torch.randn(tiles, FEATURES),
        grid_xy=torch.stack([cells % 6, cells // 6], dim=1),
        offset=torch.full((outputs,), 7.0),
        scale=torch.arange(1.0, outputs + 1),
    )


@torch.no_grad()
def removed(subject, target, group):
    stay = np.ones(len(subject), dtype=bool)
    stay[group] = False
    return float(subject.score(target) - subject.score(target, keep=stay))


@pytest.mark.parametrize(
    ("name", "outputs", "sharpness", "settings"),
    [
        ("abmil", 3, 1.0, SMALL),
        ("abmil", 3, SATURATED, SMALL),
        ("clam_sb", 3, SATURATED, SMALL),
        ("clam_mb", 3, SATURATED, SMALL),
        ("clam_mb", 1, SATURATED, SMALL),
        ("mean", 3, 1.0, {}),
        ("max", 3, 1.0, {}),
        ("dsmil", 3, 1.0, {"query_dim": 4}),
    ],
)
def test_occlusion_equals_removal(name, outputs, sharpness, settings):
    subject = make_subject(name, outputs, sharpness=sharpness, **settings)
    target = TARGET if outputs == 3 else ExplainedTarget("positive", (1.0,))
    if sharpness == SATURATED:
        x, mask = subject.features[None], torch.ones(1, TILES, dtype=torch.bool)
        attention = subject.network(x, subject.grid_xy[None], mask).tile_attention
        assert attention.max() > 0.99, "one tile holds the attention"
    groups = windows(subject.grid_xy.numpy()) + windows(subject.grid_xy.numpy(), 1)
    found = drops(subject, target, groups)
    expected = [removed(subject, target, group) for group in groups]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert has_closed_form(subject.network) == (name not in ("max", "dsmil"))
    assert next(subject.network.parameters()).dtype == torch.float32, "it is left as it was"


@pytest.mark.parametrize(
    ("name", "settings"),
    [("longnet", LONGNET), ("transmil", {"embed_dim": 8, "num_heads": 2, "num_landmarks": 4})],
)
def test_where_order_matters_a_plain_tile_takes_the_place(name, settings, monkeypatch):
    subject = make_subject(name, tiles=12, **settings)
    monkeypatch.setattr(occlusion, "MOST_NUMBERS", 5 * subject.features.numel())  # several batches
    plain = plain_tile(subject.features)
    nearest = (subject.features - subject.features.mean(dim=0)).norm(dim=1).argmin()
    torch.testing.assert_close(plain, subject.features[nearest])
    groups = windows(subject.grid_xy.numpy())
    found = drops(subject, TARGET, groups)
    with torch.no_grad():
        for group, drop in zip(groups, found, strict=True):
            features = subject.features.clone()
            features[group] = plain
            expected = subject.score(TARGET) - subject.score(TARGET, features=features)
            assert drop == pytest.approx(float(expected), abs=1e-5)


def test_drops_are_given_to_the_tiles_they_belong_to():
    subject = make_subject("abmil", **SMALL)
    values, details = explain_target("occlusion_regions", subject, TARGET)
    expected = drops(subject, TARGET, windows(subject.grid_xy.numpy()))
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert details == {
        "groups": TILES,
        "grouping": "3 x 3 tiles around each tile",
        "largest_group": 9,
        "effect": "removed",
        "closed_form": True,
    }
    values, details = explain_target("occlusion", subject, TARGET)
    assert values[4] == pytest.approx(removed(subject, TARGET, [4]), abs=1e-5)
    assert details["grouping"] == "each tile"
    values, details = explain_target("occlusion_clusters", subject, TARGET)
    assert len(np.unique(values)) == details["groups"] == 8


def test_tiles_that_share_a_cell_are_occluded_one_by_one():
    subject = make_subject("abmil", **SMALL)
    subject = replace(subject, grid_xy=subject.grid_xy // 2)  # tiles of half the size of a cell
    values, details = explain_target("occlusion", subject, TARGET)
    assert details["largest_group"] == 1
    assert values[4] == pytest.approx(removed(subject, TARGET, [4]), abs=1e-5)


def test_many_tiles_are_asked_about_in_blocks(monkeypatch):
    subject = make_subject("max")
    monkeypatch.setattr(occlusion, "MOST_TILES", 0)
    values, details = explain_target("occlusion", subject, TARGET)
    assert details["grouping"] == "blocks of 2 x 2 tiles, as there are so many"
    assert details["groups"] == 9
    block = np.array([0, 1, 6, 7])
    assert values[block] == pytest.approx(removed(subject, TARGET, block), abs=1e-5)


def test_a_few_tiles_are_asked_about_one_by_one_and_one_is_refused():
    few = make_subject("abmil", tiles=5, **SMALL)
    _, details = explain_target("occlusion_regions", few, TARGET)
    assert details["grouping"] == "each tile, as there are so few"
    one = make_subject("abmil", tiles=1, **SMALL)
    for name in (name for name in EXPLAINERS if name.startswith("occlusion")):
        with pytest.raises(ExplanationError, match="holds all 1 tiles of the bag"):
            explain_target(name, one, TARGET)
