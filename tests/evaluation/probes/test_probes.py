import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from slidenet.core.errors import ConfigError, LabelError
from slidenet.evaluation import cross_validate_probe, fit_bag_probes, fit_probe
from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
)

TASKS = {
    "binary": BinaryTask(("status",), ("no", "yes")),
    "multiclass": MulticlassTask(("grade",), ("a", "b", "c")),
    "ordinal": OrdinalTask(("grade",), ("0", "1", "2", "3")),
    "multilabel": MultilabelTask(("tp53", "kras")),
    "regression": RegressionTask(("score",)),
    "cox": CoxTask(("time", "event")),
    "discrete_time": DiscreteTimeTask(("time", "event"), time_edges=(2.0, 5.0, 12.0)),
}
HEADLINES = {"regression": "r2", "cox": "c_index", "discrete_time": "c_index"}


def embedded(kind, count=120, dim=6, seed=0):
    """Embeddings whose first columns hold the target, among noise of other scales."""
    rng, task = np.random.default_rng(seed), TASKS[kind]
    signal = rng.normal(size=(count, 2))
    noise = rng.normal(size=(count, dim)) * 10.0 ** rng.integers(-2, 3, dim)
    if kind == "multilabel":
        targets = (signal + 0.3 * rng.normal(size=signal.shape) > 0).astype(np.float32)
        targets[rng.random(targets.shape) < 0.2] = np.nan
    elif task.has_classes:
        edges = np.quantile(signal[:, 0], np.arange(1, task.num_classes) / task.num_classes)
        targets = np.searchsorted(edges, signal[:, 0] + 0.2 * rng.normal(size=count))
    elif kind == "regression":
        targets = (signal[:, 0] + 0.3 * rng.normal(size=count)).astype(np.float32)
    else:
        time = rng.exponential(6 * np.exp(-1.5 * signal[:, 0])) + 0.1
        targets = np.stack([time, rng.random(count) < 0.7], axis=1).astype(np.float32)
    return task, np.concatenate([100 * signal, noise], axis=1), targets


def folds_of(patients, number):
    return [(np.flatnonzero(patients % number != f), np.flatnonzero(patients % number == f))
            for f in range(number)]  # fmt: skip


PAIRS = [
    ("binary", "logistic"), ("binary", "knn"), ("multiclass", "logistic"), ("multiclass", "knn"),
    ("ordinal", "logistic"), ("multilabel", "logistic"), ("multilabel", "knn"),
    ("regression", "ridge"), ("regression", "knn"), ("cox", "cox"), ("discrete_time", "cox"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "probe"), PAIRS)
def test_out_of_fold_predictions_find_the_planted_signal(kind, probe):
    task, embeddings, targets = embedded(kind)
    patients = np.arange(120) // 2
    found = cross_validate_probe(
        task, embeddings, targets,
        bag_ids=[f"b{i}" for i in range(120)], patient_ids=[f"p{i}" for i in patients],
        folds=folds_of(patients, 2), kind=probe,
    )  # fmt: skip
    assert len(found) == 120
    assert np.bincount(found.folds).tolist() == [60] * 2
    row = [int(bag[1:]) for bag in found.bag_ids]
    np.testing.assert_array_equal(found.targets, targets[row])
    metrics = task.compute_metrics(found.predicted, found.targets)
    least = {"regression": 0.4, "cox": 0.65, "discrete_time": 0.65}.get(kind, 0.75)
    assert metrics[HEADLINES.get(kind, "auroc")] > least
    if task.is_survival:
        assert metrics["integrated_brier"] < 0.2
        assert (np.diff(found.predicted.survival, axis=1) <= 0).all()


def test_the_probe_is_the_scikit_learn_model_it_says_it_is():
    task, embeddings, targets = embedded("binary")
    probe = fit_probe(task, embeddings, targets, np.arange(120))
    scaled = StandardScaler().fit_transform(embeddings)
    model = LogisticRegression(C=probe.chosen[0]["C"], max_iter=5000, tol=1e-9).fit(scaled, targets)
    np.testing.assert_allclose(
        probe.predict(embeddings).probabilities, model.predict_proba(scaled), atol=1e-6
    )
    task, embeddings, targets = embedded("regression")
    probe = fit_probe(task, embeddings, targets, np.arange(120))
    scaled = StandardScaler().fit_transform(embeddings)
    ridge = Ridge(alpha=probe.chosen[0]["alpha"]).fit(scaled, targets)
    np.testing.assert_allclose(probe.predict(embeddings).value, ridge.predict(scaled), atol=1e-6)


def test_the_penalty_follows_the_noise():
    rng = np.random.default_rng(0)
    embeddings, task = rng.normal(size=(100, 60)), TASKS["regression"]
    clean = embeddings @ rng.normal(size=60)
    noise = rng.normal(size=100)
    weak, strong = (
        fit_probe(task, embeddings, y, np.arange(100)).chosen[0]["alpha"] for y in (clean, noise)
    )
    assert weak < strong


def test_inner_folds_never_split_a_patient():
    # Twenty copies of each patient under random labels: who may look at a copy is perfect with one
    # neighbour; who may not has nothing to learn and takes many.
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 20)
    embeddings = rng.normal(size=(30, 8))[patients] + 0.01 * rng.normal(size=(600, 8))
    targets = rng.normal(size=30)[patients]
    probe = fit_probe(TASKS["regression"], embeddings, targets, patients, kind="knn")
    leaky = fit_probe(TASKS["regression"], embeddings, targets, np.arange(600), kind="knn")
    assert probe.chosen[0]["n_neighbors"] == 50
    assert leaky.chosen[0]["n_neighbors"] <= 20


def test_the_seed_decides():
    task, embeddings, targets = embedded("multiclass")
    first, second = (
        fit_probe(task, embeddings, targets, np.arange(120), seed=3).predict(embeddings)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.probabilities, second.probabilities)


def test_misuse_is_refused():
    task, embeddings, targets = embedded("binary")
    with pytest.raises(ConfigError, match="a ridge probe for a binary task; expected one of log"):
        fit_probe(task, embeddings, targets, np.arange(120), kind="ridge")
    with pytest.raises(LabelError, match="column 'status': 0 patients of class 'yes' to train on"):
        fit_probe(task, embeddings, np.zeros(120, dtype=int), np.arange(120))
    cox, embeddings_cox, survival = embedded("cox")
    survival[:, 1] = 0
    with pytest.raises(LabelError, match="column 'event': 0 patients with an event"):
        fit_probe(cox, embeddings_cox, survival, np.arange(120))
    embeddings[3, 2] = np.nan
    with pytest.raises(ConfigError, match=r"slide embeddings of shape \(120, 8\), not all"):
        fit_probe(task, embeddings, targets, np.arange(120))


def test_a_patient_on_both_sides_of_a_fold_is_refused():
    task, embeddings, targets = embedded("binary")
    with pytest.raises(ConfigError, match="fold 0 trains on and predicts 1 patients, such as 'p9'"):
        cross_validate_probe(
            task, embeddings, targets,
            bag_ids=[f"b{i}" for i in range(120)], patient_ids=["p9"] * 2 + [None] * 118,
            folds=[(np.arange(1, 120), np.array([0]))],
        )  # fmt: skip


def test_survival_is_reported_at_quartiles_as_times_are_written():
    task, embeddings, targets = embedded("cox")
    thirds = np.searchsorted(np.quantile(targets[:, 0], (1 / 3, 2 / 3)), targets[:, 0])
    targets[:, 0] = np.array([2.43, 4.87, 9.11])[thirds]
    found = cross_validate_probe(
        task, embeddings, targets,
        bag_ids=[f"b{i}" for i in range(120)], patient_ids=[None] * 120,
        folds=folds_of(np.arange(120), 2),
    )  # fmt: skip
    assert found.predicted.survival_times == (2.43, 4.87, 9.11)


@pytest.mark.slow
def test_a_class_of_a_single_patient_is_learnt_from_and_not_chosen_by():
    task, embeddings, targets = embedded("multiclass")
    targets[targets == 2] = 0
    targets[[3, 4]] = 2
    patients = np.arange(120)
    patients[4] = 3
    probe = fit_probe(task, embeddings, targets, patients)
    share = probe.predict(embeddings).probabilities[:, 2]
    assert share[3:5].min() > np.median(share)
    alone = (np.arange(120) == 5).astype(int)
    assert fit_probe(TASKS["binary"], embeddings, alone, np.arange(120)).error < 0.1
    with pytest.raises(LabelError, match="1 patient of class 'no' to train on"):
        fit_probe(TASKS["binary"], embeddings[:2], np.array([0, 1]), np.arange(2))


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("width", [3, 200])
def test_bags_that_are_all_alike_teach_the_shares_alone(kind, width):
    task, _, targets = embedded(kind, count=40)
    alike = np.full((40, width), 7.0)
    probes = fit_bag_probes(task, {"mean": alike}, targets, np.arange(40))
    for probe in probes.values():
        said = probe.model(torch.full((2, 5, width), 7.0), None, torch.ones(2, 5, dtype=bool))
        assert torch.isfinite(said.logits).all()
        assert torch.equal(said.logits[0], said.logits[1])
