"""Maps against oracles: sums, loops, removal of the model; and what is refused."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from slidenet.core.errors import ConfigError, ExplanationError
from slidenet.explanation import (
    EXPLAINERS,
    default_methods,
    explain_target,
    meant_by,
    over_members,
)
from slidenet.explanation.looking import map_of
from slidenet.mil import make_bag_model
from slidenet.tasks import CoxTask, ExplainedTarget, MulticlassTask, RegressionTask

YES = ExplainedTarget("yes", (1.0,))
GRADE = MulticlassTask(("grade",), ("1", "2", "3"))
COX = CoxTask(("months", "died"))
POOLING = ["mean", "max", "abmil", "clam_sb", "clam_mb", "dsmil"]
EVERY = [*POOLING, "transmil", "longnet"]


@pytest.mark.parametrize("name", POOLING)
def test_evidence_sums_to_the_score_without_the_bias(name, subject):
    """So the score of two bags differs as their sums do, of classes against each other too."""
    one = subject(name, GRADE)
    other = type(one)(one.network, one.features[:4], one.grid_xy[:4], one.offset, one.scale)
    for target in GRADE.explained_targets():
        sums = [explain_target("evidence", s, target)[0].sum(dtype=float) for s in (one, other)]
        scores = [s.score(target).item() for s in (one, other)]
        assert_close(sums[0] - sums[1], scores[0] - scores[1], rtol=1e-4, atol=1e-5)


def test_evidence_of_a_value_is_in_its_unit_and_counts_from_the_median(subject):
    task = RegressionTask(("age",))
    made = subject("abmil", task, target_offset=60.0, target_scale=12.0)
    values, details = explain_target("evidence", made, task.explained_targets()[0])
    with torch.no_grad():
        hidden = made.network.embed(made.features)
        scores = hidden @ made.network.head.weight[0]
        attention = made.network(made.features[None], made.grid_xy[None], ONES).tile_attention[0, 0]
    assert_close(torch.from_numpy(values), 12 * attention * (scores - scores.median()))
    assert details["counted_from"] == "median of the bag"


ONES = torch.ones(1, 9, dtype=torch.bool)


@pytest.mark.parametrize("name", EVERY)
def test_single_tiles_are_a_loop_over_bags_of_one(name, subject):
    made = subject(name)
    values, _ = explain_target("single_tile", made, YES)
    with torch.no_grad():
        loop = [made.score(YES, keep=np.array([k])).item() for k in range(len(made))]
    np.testing.assert_allclose(values, loop, rtol=1e-5, atol=1e-6)
    relative, _ = explain_target("single_tile", made, COX.explained_targets()[0])
    np.testing.assert_allclose(relative, loop - np.median(loop), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_attention_is_a_share_and_never_evidence(name, subject):
    made = subject(name)
    attention = EXPLAINERS["attention"]
    assert not attention.is_evidence
    assert not attention.signed
    if name == "mean":
        with pytest.raises(ConfigError, match="weighs all tiles alike"):
            explain_target("attention", made, YES)
        return
    values, _ = explain_target("attention", made, YES)
    assert values.min() >= 0
    np.testing.assert_allclose(values.sum(), 1, rtol=1e-5)


def test_the_map_of_a_target_among_several():
    maps = torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.1, 0.9]])
    assert map_of(maps[:1], YES).tolist() == maps[0].tolist()
    assert map_of(maps[:2], YES).tolist() == maps[1].tolist()  # CLAM-MB's positive class
    for k, target in enumerate(GRADE.explained_targets()):
        assert_close(map_of(maps, target), maps[k])
    both = ExplainedTarget("risk", (1.0, 1.0, 1.0), relative=True)
    assert_close(map_of(maps, both), maps.mean(dim=0))


def test_the_control_is_the_distance_from_the_mean_whatever_the_model(subject):
    made = subject("abmil")
    values, _ = explain_target("control", made, YES)
    x = made.features.numpy()
    np.testing.assert_allclose(values, np.linalg.norm(x - x.mean(axis=0), axis=1), rtol=1e-5)
    assert not EXPLAINERS["control"].is_evidence


@pytest.mark.parametrize("name", EVERY)
def test_the_untrained_network_draws_the_default_map_and_always_the_same(name, subject):
    made, trained_otherwise = subject(name), subject(name, seed=5)
    values, details = explain_target("untrained", made, YES)
    again, _ = explain_target("untrained", trained_otherwise, YES)
    np.testing.assert_array_equal(values, again)
    assert details["method"] == default_methods(made.network)[0]
    assert meant_by("untrained", made.network).name == details["method"]
    trained, _ = explain_target(details["method"], trained_otherwise, YES)
    assert not np.array_equal(values, trained)


def test_defaults_apply_and_pooling_begins_with_evidence(subject):
    for name in EVERY:
        network = subject(name).network
        found = default_methods(network)
        assert "single_tile" in found
        assert all(not EXPLAINERS[method].applies_to(network) for method in found)
        assert (found[0] == "evidence") == (name in POOLING)


def test_a_method_that_does_not_apply_says_why_and_what_does(subject):
    with pytest.raises(ConfigError, match="logits are no sum over tiles"):
        explain_target("evidence", subject("transmil"), YES)


def test_a_probe_of_deviations_is_no_model_of_single_tiles():
    network = make_bag_model(
        "probe", feature_dim=6, num_outputs=1, kind="svm", columns="mean_std", predicts="labels"
    )
    assert "spread of its tiles" in EXPLAINERS["single_tile"].applies_to(network)
    assert default_methods(network) == ("occlusion_regions",)


def test_what_serves_all_targets_of_a_bag_is_made_once(subject, monkeypatch):
    made = subject("clam_mb", GRADE)
    calls = []
    forward = type(made.network).forward
    monkeypatch.setattr(
        type(made.network),
        "forward",
        lambda self, *bags: calls.append(len(bags[0])) or forward(self, *bags),
    )
    for target in GRADE.explained_targets():
        explain_target("single_tile", made, target)
    assert calls == [len(made)]


def test_maps_that_are_not_finite_are_refused_with_the_layer(subject):
    made = subject("abmil")
    with torch.no_grad():
        made.network.attention.gate.weight[0, 0] = float("nan")
    with pytest.raises(ExplanationError, match=r"9 of 9 tiles .*layer 'attention.gate'"):
        explain_target("evidence", made, YES)


def test_members_of_an_ensemble_as_mean_and_spread():
    one, two = np.array([0, 1, 2], np.float32), np.array([2, 1, 6], np.float32)
    mean, spread, details = over_members([one, two])
    assert mean.tolist() == [1, 1, 4]
    assert spread.tolist() == [1, 0, 2]
    assert details == {"members": 2, "spread": 1.0, "rank_agreement": 0.5}
    assert over_members([one])[2] == {"members": 1, "spread": 0.0}
    with pytest.raises(ConfigError, match="2 members with 2, 3 tiles"):
        over_members([one, one[:2]])
