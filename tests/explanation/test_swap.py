"""Swap against a loop, and on a score that knows where a tile lies."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, ExplanationError
from slidenet.explanation import swap
from slidenet.explanation.methods import EXPLAINERS, explain_target
from slidenet.explanation.subject import Subject
from slidenet.explanation.swap import median_scores, plain_groups, swap_logit_drops
from slidenet.mil import BagModel, make_bag_model
from slidenet.mil.contract import BagOutput
from slidenet.tasks import ExplainedTarget

TARGET = ExplainedTarget("near", (1.0,))


class Nearness(BagModel):
    """Says how near the marked tiles lie to each other: minus their mean squared distance."""

    def forward(self, features, grid_xy, mask):
        marks = features[..., :1] * mask[..., None]
        marks = marks / marks.sum(dim=1, keepdim=True)
        places = grid_xy.to(features.dtype)
        centre = (marks * places).sum(dim=1, keepdim=True)
        spread = (marks[..., 0] * (places - centre).square().sum(dim=-1)).sum(dim=1)
        return BagOutput(-spread[:, None], None)


def make_subject(network, tiles=36, features=None):
    cells = torch.arange(tiles)
    return Subject(
        network=network.eval(),
        features=torch.randn(tiles, 4) if features is None else features,
        grid_xy=torch.stack([cells % 6, cells // 6], dim=1),
        offset=torch.zeros(1),
        scale=torch.ones(1),
    )


@pytest.fixture
def near():
    """Four marked tiles side by side among 36."""
    features = torch.zeros(36, 2)
    features[[7, 8, 13, 14], 0] = 1
    return make_subject(Nearness(2, 1), features=features)


def test_tiles_that_lie_near_each_other_are_found(near):
    values, details = explain_target("swap", near, TARGET)
    marked = near.features[:, 0].numpy() > 0
    assert values[marked].min() > 0.4
    np.testing.assert_allclose(values[~marked], 0, atol=1e-5)
    assert details == {"swapped": "single tiles", "groups": 36, "partners": 5, "seed": 0}


def test_drops_are_medians_of_real_swaps(monkeypatch):
    torch.manual_seed(0)
    shape = {"embed_dim": 16, "depth": 1, "num_heads": 4, "ffn_dim": 24}
    network = make_bag_model("longnet", feature_dim=4, num_outputs=1, **shape)
    torch.nn.init.normal_(network.head.weight)
    subject = make_subject(network, tiles=9)
    monkeypatch.setattr(swap, "MOST_NUMBERS", 5 * subject.features.numel())  # several batches
    groups = [np.array([i]) for i in range(8)] + [np.array([8, 0])]
    found = median_scores(swap_logit_drops(subject, groups, [2, 5, 8, 1]), TARGET)
    with torch.no_grad():
        for number, drop in enumerate(found):
            changes = []
            for other in [p for p in (2, 5, 8, 1) if p != number][:3]:
                features = subject.features.clone()
                one, two = int(groups[number][0]), int(groups[other][0])
                features[[one, two]] = features[[two, one]]
                change = subject.score(TARGET) - subject.score(TARGET, features=features)
                changes.append(float(change))
            assert drop == pytest.approx(np.median(changes), abs=1e-5)


def test_partners_are_plain_tiles(near):
    groups = [np.array([i]) for i in range(36)]
    partners = plain_groups(near.features, groups, 6, seed=0)
    assert len(set(partners)) == 6
    assert not near.features[partners, 0].any()
    assert partners == plain_groups(near.features, groups, 6, seed=0)
    assert partners != plain_groups(near.features, groups, 6, seed=1)


def test_many_tiles_are_swapped_in_blocks(near, monkeypatch):
    monkeypatch.setattr(swap, "MOST_TILES", 0)
    values, details = explain_target("swap", near, TARGET)
    assert details["swapped"] == "blocks of 2 x 2 tiles"
    assert details["groups"] == 9
    assert len(np.unique(values[[0, 1, 6, 7]])) == 1


def test_where_places_play_no_part_there_is_no_swap():
    subject = make_subject(make_bag_model("abmil", feature_dim=4, num_outputs=1))
    with pytest.raises(ConfigError, match="where tiles lie plays no part"):
        explain_target("swap", subject, TARGET)
    assert EXPLAINERS["swap"].applies_to(Nearness(2, 1)) == ""
    alone = make_subject(Nearness(2, 1), tiles=1, features=torch.ones(1, 2))
    with pytest.raises(ExplanationError, match="a bag of one tile"):
        explain_target("swap", alone, TARGET)
