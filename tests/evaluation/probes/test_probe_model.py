"""A fitted probe as a model on bags says what scikit-learn says of the same bags."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from slidenet.core.errors import ConfigError
from slidenet.evaluation import CoxRegression, best_probe, fit_bag_probes
from slidenet.evaluation.probes.kernel import platt
from slidenet.mil.probe import ProbeModel
from slidenet.tasks import (
    BinaryTask,
    Calibration,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
)

COUNT, DIM = 30, 7
GRADES = np.arange(COUNT) % 3


def bags(scale=1.0, seed=0):
    """Bags of 3 to 6 tiles, their class in the first feature; one column is constant."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 7, COUNT)
    features = [scale * rng.normal(size=(n, DIM)).astype(np.float32) for n in lengths]
    for grade, bag in zip(GRADES, features, strict=True):
        bag[:, 0] += scale * grade
        bag[:, 1] = 5 * scale
    return features


def described(features, deviation):
    mean = np.stack([bag.astype(np.float64).mean(axis=0) for bag in features])
    if not deviation:
        return mean
    return np.hstack([mean, [bag.astype(np.float64).std(axis=0) for bag in features]])


def fitted(task, targets, kind, features, *, deviation=False):
    name = "mean_std" if deviation else "mean"
    columns = {name: described(features, deviation)}
    probes = fit_bag_probes(
        task, columns, targets, np.arange(COUNT), kinds=(kind,), num_inner_folds=2
    )
    return probes[kind], StandardScaler().fit_transform(columns[name])


def output(model, features):
    """What the model says of all bags padded to one length, garbage in the padding."""
    longest = max(map(len, features)) + 1
    padded = torch.full((COUNT, longest, DIM), float("nan"))
    mask = torch.zeros(COUNT, longest, dtype=torch.bool)
    for i, bag in enumerate(features):
        padded[i, : len(bag)] = torch.from_numpy(bag)
        mask[i, : len(bag)] = True
    return model(padded, torch.zeros(COUNT, longest, 2, dtype=torch.int64), mask), mask


def predicted(probe, features, calibration=None):
    logits = output(probe.model, features)[0].logits
    return probe.task.predict(logits, calibration or Calibration())


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_logistic(scale):
    features = bags(scale)
    for task, targets in (
        (BinaryTask(("g",), ("a", "b")), (GRADES > 0).astype(int)),
        (MulticlassTask(("g",), ("a", "b", "c")), GRADES),
        (OrdinalTask(("g",), ("a", "b", "c")), GRADES),
    ):
        probe, z = fitted(task, targets, "logistic", features, deviation=True)
        model = LogisticRegression(C=probe.chosen[0]["C"], max_iter=9999, tol=1e-9)
        expected = model.fit(z, targets).predict_proba(z)
        np.testing.assert_allclose(predicted(probe, features).probabilities, expected, atol=2e-5)


def test_labels_that_are_not_all_known():
    features = bags()
    targets = np.stack([GRADES > 0, GRADES > 1], axis=1).astype(np.float32)
    targets[::5, 1] = np.nan
    for kind in ("logistic", "svm", "knn"):
        probe, z = fitted(MultilabelTask(("x", "y")), targets, kind, features)
        found = predicted(probe, features).probabilities
        for column, label in enumerate(targets.T):
            known = ~np.isnan(label)
            setting = probe.chosen[column]
            if kind == "svm":
                machine = SVC(C=setting["C"], gamma=setting["gamma"]).fit(z[known], label[known])
                order = machine.decision_function(z)
                assert np.corrcoef(order, np.log(found[:, column]))[0, 1] > 0.9
                continue
            if kind == "knn":
                count = int(setting["n_neighbors"])
                model = KNeighborsClassifier(count, weights="distance", metric="cosine")
            else:
                model = LogisticRegression(**setting, max_iter=9999, tol=1e-9)
            share = model.fit(z[known], label[known]).predict_proba(z)[:, 1]
            np.testing.assert_allclose(found[:, column], share, atol=2e-5)


def test_support_vector_machine():
    features, task = bags(), MulticlassTask(("g",), ("a", "b", "c"))
    probe, z = fitted(task, GRADES, "svm", features, deviation=True)
    setting, model = probe.chosen[0], probe.model
    scores = []
    for k in range(3):
        machine = SVC(C=setting["C"], gamma=setting["gamma"]).fit(z, np.equal(GRADES, k))
        # Calibration is the probe's own: a slope and an offset of the decision.
        slope = float(model.slope[k])
        zero = machine.intercept_[0] * slope
        scores.append(slope * machine.decision_function(z) + float(model.bias[k]) - zero)
    share = 1 / (1 + np.exp(-np.stack(scores, axis=1)))
    expected = share / share.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predicted(probe, features).probabilities, expected, atol=1e-4)


def test_values():
    features = bags()
    value = np.array([bag[:, 0].mean() for bag in features]) + GRADES
    task = RegressionTask(("v",))
    probe, z = fitted(task, value, "ridge", features)
    expected = Ridge(alpha=probe.chosen[0]["alpha"]).fit(z, value).predict(z)
    np.testing.assert_allclose(predicted(probe, features).value, expected, atol=1e-5)
    probe, z = fitted(task, value, "knn", features)
    count = int(probe.chosen[0]["n_neighbors"])
    model = KNeighborsRegressor(count, weights="distance", metric="cosine").fit(z, value)
    np.testing.assert_allclose(predicted(probe, features).value, model.predict(z), atol=1e-5)


def test_times():
    features = bags()
    rng = np.random.default_rng(1)
    target = np.stack([rng.exponential(np.exp(-GRADES)) + 0.1, rng.random(COUNT) < 0.8], axis=1)
    probe, z = fitted(CoxTask(("t", "e")), target, "cox", features)
    expected = CoxRegression(probe.chosen[0]["alpha"]).fit(z, target).predict(z)
    found = predicted(probe, features, Calibration(baseline=probe.baseline))
    np.testing.assert_allclose(found.risk, expected, atol=1e-5)
    edges = (0.3, 0.6, 1.5)
    binned, _ = fitted(DiscreteTimeTask(("t", "e"), time_edges=edges), target, "cox", features)
    survival = binned.baseline.survival(torch.from_numpy(expected), edges)
    np.testing.assert_allclose(predicted(binned, features).survival, survival, atol=1e-5)


def test_what_tiles_say_adds_up_to_what_the_bag_says():
    features = bags()
    probe, _ = fitted(MulticlassTask(("g",), ("a", "b", "c")), GRADES, "logistic", features)
    out, mask = output(probe.model, features)
    mean = (out.tile_logits * mask[..., None]).sum(dim=1) / mask.sum(dim=1)[:, None]
    torch.testing.assert_close(mean, out.logits, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(out.tile_attention[0, 0, mask[0]], 1 / mask[0].sum())


def test_bags_of_another_scanner_do_not_saturate_a_probe():
    """A column counts 10 deviations at most, so that bags still differ by the others."""
    features = bags()
    task, targets = BinaryTask(("g",), ("a", "b")), (GRADES > 0).astype(int)
    probe, _ = fitted(task, targets, "logistic", features)
    columns = described(features, deviation=False)
    deviation = columns.std(axis=0)
    mean = columns.mean(axis=0)
    moved, at_limit = (torch.from_numpy(mean + far * deviation)[None] for far in (100.0, 10.0))
    logits = probe.model.logits
    torch.testing.assert_close(logits(moved), logits(at_limit), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits(moved), logits(moved, cut=False), atol=1.0)


def test_tiles_lie_further_out_than_their_mean_and_are_not_cut_off():
    features = bags()
    task = MulticlassTask(("g",), ("a", "b", "c"))
    probe, _ = fitted(task, GRADES, "logistic", features)
    far = [np.concatenate([x + 40, x - 40]) for x in features]
    out, mask = output(probe.model, far)
    mean = (out.tile_logits * mask[..., None]).sum(dim=1) / mask.sum(dim=1)[:, None]
    torch.testing.assert_close(mean, out.logits, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_features_of_any_scale_give_the_same_probabilities():
    task, targets = BinaryTask(("g",), ("a", "b")), (GRADES > 0).astype(int)
    for kind in ("logistic", "svm", "knn"):
        small, large = (
            predicted(fitted(task, targets, kind, bags(scale))[0], bags(scale)).probabilities
            for scale in (1e-3, 1e5)
        )
        np.testing.assert_allclose(small, large, atol=1e-4)


def test_more_columns_than_bags_and_columns_that_are_nearly_empty():
    rng = np.random.default_rng(0)
    columns = rng.poisson(0.01, size=(COUNT, 3000)) * 1000.0  # sparse counts
    columns[:, 7] = 40 * GRADES
    columns[:, 8] = 3.3e7 + rng.integers(0, 2, COUNT)  # a float32 can no longer tell these apart
    task = MulticlassTask(("g",), ("a", "b", "c"))
    probes = fit_bag_probes(task, {"mean": columns}, GRADES, np.arange(COUNT), num_inner_folds=2)
    assert set(probes) == {"logistic", "svm", "knn"}
    for probe in probes.values():
        assert np.isfinite(probe.predict(columns).probabilities).all()
        assert probe.model.inverse_scale[8] == 0
    assert best_probe(probes).error == min(probe.error for probe in probes.values())


def test_decisions_without_signal_become_the_base_rate():
    decision = np.linspace(-1, 1, 40)
    truth = np.arange(40) % 4 == 0
    slope, offset = platt(decision, ~truth & (decision < 0))
    assert 0 < slope < 0.01  # the order is kept, and nothing is said
    assert 1 / (1 + np.exp(-offset)) == pytest.approx((15 + 1) / (40 + 2))
    slope, offset = platt(decision, decision > 0.2)
    share = 1 / (1 + np.exp(-slope * decision - offset))
    assert share[0] < 0.05
    assert share[-1] > 0.9


def test_a_probe_is_not_used_before_it_is_fitted():
    with pytest.raises(ConfigError, match="a probe that has not been fitted"):
        output(ProbeModel(feature_dim=DIM, num_outputs=1), bags())


def test_columns_with_long_tails_are_drawn_in():
    rng = np.random.default_rng(0)
    columns = np.hstack([rng.normal(size=(60, 1)), rng.lognormal(5, 2, size=(60, 2))])
    targets = np.arange(60) % 2
    columns[:, 1] *= 1 + 3 * targets
    task = BinaryTask(("g",), ("a", "b"))
    probe = fit_bag_probes(task, {"mean": columns}, targets, np.arange(60))["logistic"]
    model = probe.model
    assert (model.bending > 0).tolist() == [False, True, True]
    assert not model.says_tiles
    z = model.standardised(torch.from_numpy(columns)).numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)
    middle = np.median(columns[:, 1])
    spread = np.median(np.abs(columns[:, 1] - middle))
    bent = np.arcsinh((columns[:, 1] - middle) / spread)
    np.testing.assert_allclose(z[:, 1], (bent - bent.mean()) / bent.std(), atol=1e-5)
