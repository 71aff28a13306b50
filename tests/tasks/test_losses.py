"""Losses and predictions against closed forms, scikit-learn, scikit-survival and lifelines."""

import math

import lifelines
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.testing import assert_equal
from sklearn.metrics import log_loss
from sksurv.linear_model.coxph import CoxPHOptimizer

from slidenet.core.errors import ConfigError
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
from slidenet.tasks.survival import hazard_indicators

BINARY = BinaryTask(("tumour",), ("no", "yes"))
GRADE = MulticlassTask(("grade",), ("g1", "g2", "g3"))
LABELS = MultilabelTask(("kras", "egfr"))
STAGE = OrdinalTask(("stage",), ("i", "ii", "iii", "iv"))
AGE = RegressionTask(("age",))
COX = CoxTask(("time", "event"))
BINS = DiscreteTimeTask(("time", "event"), time_edges=(1.0, 2.0, 4.0))
NAN = float("nan")


def random_times(seed, n=60, ties=True):
    rng = np.random.default_rng(seed)
    time = rng.exponential(5, size=n) + 0.1
    time = np.ceil(time) if ties else time
    event = rng.uniform(size=n) < 0.6
    return rng.normal(size=n), np.stack([time, event], 1)


@pytest.mark.parametrize("seed", range(4))
def test_binary_loss_is_log_loss(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 1, generator=generator, dtype=torch.float64)
    target = torch.randint(2, (40,), generator=generator)
    weights = torch.tensor([0.5, 3.0])
    probabilities = logits.sigmoid().numpy()[:, 0]
    assert float(BINARY.loss(logits, target)) == pytest.approx(
        log_loss(target, probabilities), rel=1e-6
    )
    each = weights.numpy()[target]
    wanted = log_loss(target, probabilities, sample_weight=each) * each.mean()
    assert float(BINARY.loss(logits, target, weights)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_multiclass_loss_is_log_loss(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (40,), generator=generator)
    weights = torch.tensor([0.5, 3.0, 1.0])
    probabilities = logits.softmax(1).numpy()
    assert float(GRADE.loss(logits, target)) == pytest.approx(
        log_loss(target, probabilities, labels=range(3)), rel=1e-6
    )
    each = weights.numpy()[target]
    wanted = log_loss(target, probabilities, sample_weight=each, labels=range(3)) * each.mean()
    assert float(GRADE.loss(logits, target, weights)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("task", [BINARY, GRADE, STAGE])
def test_class_weights_count_in_batches_of_one(task):
    logits = torch.randn(1, task.num_outputs)
    weights = torch.arange(1.0, 1 + task.num_classes) * 2
    target = torch.tensor([1])
    plain = task.loss(logits, target)
    assert float(task.loss(logits, target, weights)) == pytest.approx(4 * float(plain))


def test_missing_labels_count_for_nothing():
    logits = torch.tensor([[0.3, -2.0], [1.0, 0.7]], requires_grad=True)
    target = torch.tensor([[1.0, NAN], [NAN, 0.0]])
    loss = LABELS.loss(logits, target)
    wanted = (math.log(1 + math.exp(-0.3)) + math.log(1 + math.exp(0.7))) / 2
    assert float(loss.detach()) == pytest.approx(wanted)
    loss.backward()
    assert logits.grad[0, 1] == 0
    assert logits.grad[1, 0] == 0
    assert (logits.grad[[0, 1], [0, 1]] != 0).all()


def test_a_batch_without_any_label_gives_a_zero_that_can_be_differentiated():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = LABELS.loss(logits, torch.full((3, 2), NAN))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 2))


def test_weight_of_a_label_is_of_its_positives():
    logits = torch.tensor([[0.3, -2.0]])
    wanted = (2 * F.softplus(torch.tensor(-0.3)) + F.softplus(torch.tensor(-2.0))) / 2
    found = LABELS.loss(logits, torch.tensor([[1.0, 0.0]]), torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("seed", range(4))
def test_ordinal_loss_is_the_likelihood_of_its_distribution(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(50, 3, generator=generator)
    target = torch.randint(4, (50,), generator=generator)
    probabilities = torch.from_numpy(STAGE.predict(logits).probabilities)
    assert probabilities.min() >= 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(50))
    wanted = -probabilities[torch.arange(50), target].log().mean()
    torch.testing.assert_close(STAGE.loss(logits, target), wanted)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    each = -probabilities[torch.arange(50), target].log() * weights[target]
    torch.testing.assert_close(STAGE.loss(logits, target, weights), each.mean())


def test_ordinal_probabilities_by_hand():
    half = torch.zeros(1, 3)
    wanted = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    torch.testing.assert_close(torch.from_numpy(STAGE.predict(half).probabilities), wanted)


def test_regression_loss_is_the_mean_squared_error():
    logits, target = torch.tensor([[1.0], [4.0]]), torch.tensor([3.0, 3.0])
    assert float(AGE.loss(logits, target)) == 2.5
    assert AGE.predict(logits).value.tolist() == [1.0, 4.0]


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_cox_loss_equals_scikit_survival(seed, ties):
    risk, target = random_times(seed, ties=ties)
    reference = CoxPHOptimizer(
        risk[:, None], target[:, 1] > 0, target[:, 0], np.zeros(1), "breslow"
    )
    wanted = reference.nlog_likelihood(np.ones(1)) * len(risk) / target[:, 1].sum()
    logits = torch.tensor(risk)[:, None]
    found = COX.loss(logits, torch.tensor(target, dtype=torch.float32))
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_cox_loss_equals_lifelines():
    risk, target = random_times(0, ties=False)
    frame = pd.DataFrame({"risk": risk, "time": target[:, 0], "event": target[:, 1]})
    fitted = lifelines.CoxPHFitter().fit(frame, "time", "event")
    logits = torch.tensor(risk * fitted.params_["risk"])[:, None]
    found = COX.loss(logits, torch.tensor(target, dtype=torch.float32))
    assert float(found) == pytest.approx(-fitted.log_likelihood_ / target[:, 1].sum(), rel=1e-5)


def test_cox_loss_by_hand_with_a_tie_of_two_events_and_a_censoring():
    risk = torch.tensor([[0.1], [0.2], [0.3], [0.4]], dtype=torch.float64)
    target = torch.tensor([[2.0, 1], [2.0, 1], [2.0, 0], [1.0, 0]])
    at_risk = math.log(sum(math.exp(r) for r in (0.1, 0.2, 0.3)))
    wanted = ((at_risk - 0.1) + (at_risk - 0.2)) / 2
    assert float(COX.loss(risk, target)) == pytest.approx(wanted)


def test_cox_loss_does_not_depend_on_the_order_of_bags():
    risk, target = random_times(1)
    risk, target = torch.tensor(risk, dtype=torch.float32)[:, None], torch.tensor(target)
    order = torch.randperm(len(risk), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(COX.loss(risk, target), COX.loss(risk[order], target[order]))


def test_cox_batch_without_an_event_gives_a_zero_that_can_be_differentiated():
    risk = torch.randn(4, 1, requires_grad=True)
    loss = COX.loss(risk, torch.tensor([[1.0, 0], [2.0, 0], [2.0, 0], [3.0, 0]]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(risk.grad, torch.zeros(4, 1))


def test_cox_with_single_bags_is_refused():
    with pytest.raises(ConfigError, match=r"batch_size 1.*discrete_time"):
        COX.check_batch_size(1)
    COX.check_batch_size(2)
    BINS.check_batch_size(1)


@pytest.mark.parametrize(
    ("time", "event", "died", "survived"),
    [
        (0.5, 1, [1, 0, 0], [0, 0, 0]),
        (1.0, 1, [1, 0, 0], [0, 0, 0]),  # an edge belongs to the bin it ends
        (1.5, 1, [0, 1, 0], [1, 0, 0]),
        (4.0, 1, [0, 0, 1], [1, 1, 0]),
        (9.0, 1, [0, 0, 0], [1, 1, 1]),  # beyond the last edge: censored there
        (0.5, 0, [0, 0, 0], [0, 0, 0]),  # lost within the first bin: nothing is known
        (1.0, 0, [0, 0, 0], [1, 0, 0]),
        (3.9, 0, [0, 0, 0], [1, 1, 0]),
        (4.0, 0, [0, 0, 0], [1, 1, 1]),
        (9.0, 0, [0, 0, 0], [1, 1, 1]),
    ],
)
def test_hazards_by_hand(time, event, died, survived):
    target = torch.tensor([[time, event]])
    found = hazard_indicators(target, BINS.time_edges)
    assert [row[0].int().tolist() for row in found] == [died, survived]
    logits = torch.tensor([[0.4, -1.0, 2.0]])
    hazard = logits[0].sigmoid()
    likelihood = torch.where(torch.tensor(died) > 0, hazard, 1.0)
    likelihood = likelihood * torch.where(torch.tensor(survived) > 0, 1 - hazard, 1.0)
    wanted = -likelihood.log().sum()
    torch.testing.assert_close(BINS.loss(logits, target), wanted)


def test_hazard_loss_is_least_at_the_life_table():
    """Without covariates the maximum likelihood hazards are deaths over those at risk."""
    time = torch.tensor([0.5, 0.7, 1.5, 1.6, 1.7, 3.0, 4.0, 5.0])
    event = torch.tensor([1.0, 1, 1, 1, 1, 1, 0, 0])
    target = torch.stack([time, event], 1)
    hazard = torch.tensor([2 / 8, 3 / 6, 1 / 3])
    logits = hazard.logit().expand(8, 3).clone().requires_grad_()
    BINS.loss(logits, target).backward()
    torch.testing.assert_close(logits.grad.sum(0), torch.zeros(3), atol=1e-7, rtol=0)
    survival = torch.from_numpy(BINS.predict(logits).survival[0])
    torch.testing.assert_close(survival, torch.tensor([0.75, 0.375, 0.25]))


def test_survival_falls_and_risk_is_minus_its_sum():
    prediction = BINS.predict(torch.randn(20, 3))
    assert (np.diff(prediction.survival, axis=1) <= 0).all()
    np.testing.assert_allclose(prediction.risk, -prediction.survival.sum(1), rtol=1e-6)
    assert prediction.survival_times == BINS.time_edges


def test_binary_and_multilabel_probabilities():
    logits = torch.tensor([[0.0], [200.0], [-200.0]])
    assert BINARY.predict(logits).probabilities.tolist() == [[0.5, 0.5], [0, 1], [1, 0]]
    both = torch.tensor([[0.0, 2.0]])
    assert_equal(LABELS.predict(both).probabilities, both.sigmoid())


def test_temperature_divides_logits():
    logits = torch.randn(5, 3)
    found = GRADE.predict(logits, Calibration(temperature=2.5)).probabilities
    assert_equal(found, (logits / 2.5).softmax(1))
    value = AGE.predict(logits[:, :1], Calibration(temperature=2.5)).value
    assert_equal(value, logits[:, 0])


@pytest.mark.parametrize("task", [BINARY, GRADE, LABELS, STAGE, AGE, COX, BINS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_logits_give_float32_losses_and_predictions(task, dtype):
    logits = torch.randn(6, task.num_outputs).to(dtype)
    target = {
        "multilabel": torch.ones(6, task.num_outputs),
        "regression": torch.ones(6),
        "cox": torch.ones(6, 2),
        "discrete_time": torch.ones(6, 2),
    }.get(task.kind, torch.ones(6, dtype=torch.int64))
    assert task.loss(logits, target).dtype == torch.float32
    arrays = task.predict(logits).arrays
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("task", [BINARY, GRADE, LABELS, STAGE, COX, BINS])
def test_extreme_logits_stay_finite(task):
    logits = torch.full((4, task.num_outputs), 500.0)
    logits[::2] *= -1
    logits.requires_grad_()
    target = {
        "multilabel": torch.zeros(4, task.num_outputs),
        "cox": torch.tensor([[1.0, 1], [2.0, 1], [2.0, 1], [3.0, 0]]),
        "discrete_time": torch.tensor([[1.0, 1], [2.0, 1], [2.0, 1], [3.0, 0]]),
    }.get(task.kind, torch.zeros(4, dtype=torch.int64))
    loss = task.loss(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("task", "count", "words"),
    [(GRADE, 2, "g1, g2, g3"), (BINARY, 1, "no, yes"), (COX, 2, "no class weights")],
)
def test_class_weights_that_do_not_fit_are_refused(task, count, words):
    with pytest.raises(ConfigError, match=words):
        task.loss(torch.zeros(2, task.num_outputs), torch.zeros(2), torch.ones(count))
