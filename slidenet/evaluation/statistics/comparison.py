"""Two models on the same bags: which is better, by how much, and how sure that is."""

from dataclasses import dataclass, replace

import numpy as np

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import Bootstrap, Interval, paired_bootstrap
from slidenet.evaluation.statistics.delong import delong_test
from slidenet.metrics import METRICS
from slidenet.tasks import Task

SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class Comparison:
    """The difference between two models.

    Attributes:
        metric: The headline metric of the task.
        difference: Of the headline metric, first minus second.
        p: Two-sided p of "no difference" in the headline metric.
        method: How interval and p were found, for a report.
        second: Every metric of the second model, resampled by patient.
        differences: Every metric, first minus second, by paired bootstrap.
    """

    metric: str
    difference: Interval
    p: float
    method: str
    second: Bootstrap
    differences: Bootstrap

    @property
    def verdict(self) -> int:
        """1 where the first is better, -1 where the second is, 0 where neither is for sure."""
        if not self.p < SIGNIFICANT:
            return 0
        sign = int(np.sign(self.difference.value))
        return -sign if METRICS[self.metric].lower_is_better else sign


def compare(
    first: Predictions, second: Predictions, *, num_resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Compares two models on the same bags.

    AUROC of a binary task by DeLong's test where every patient has one bag; everything else, and
    patients with several bags, by paired bootstrap of patients.

    Args:
        first: Labelled predictions of one model.
        second: Of the other, on the same bags in any order.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        PredictionsError: Other bags, labels or tasks; nearly all resamples lack a class.
    """
    second = align(first, second)
    task, metric = first.task, first.task.headline
    paired = paired_bootstrap(first, second, num_resamples=num_resamples, seed=seed)
    positive = first.labels == 1
    two_of_each = 2 <= int(positive.sum()) <= len(positive) - 2
    if task.has_positive_class and first.one_row_per_patient and two_of_each:
        test = delong_test(positive, first.probabilities[:, 1], second.probabilities[:, 1])
        return Comparison(
            metric, test.difference, test.p, "DeLong's test", paired.second, paired.differences
        )
    return Comparison(
        metric,
        paired.differences.interval(metric),
        paired.differences.p_value(metric),
        f"paired bootstrap of {first.num_patients} patients",
        paired.second,
        paired.differences,
    )


def align(first: Predictions, second: Predictions) -> Predictions:
    """The rows of `second` in the order of `first`, for comparing two models on the same bags.

    The same classes in another order, as another positive class makes it, are put into that of
    `first`.

    Raises:
        PredictionsError: Other bags, other labels, or another task.
    """
    second = _in_order_of(first.task, second)
    if first.task != second.task:
        raise PredictionsError(
            f"the two models are of different tasks: {first.task.describe()} and "
            f"{second.task.describe()}",
            expected="the same task, label columns and classes",
        )
    keys, others = _keys(first), _keys(second)
    missing = [k for k in keys if k not in set(others)] + [k for k in others if k not in set(keys)]
    if missing:
        raise PredictionsError(
            f"{len(missing)} bags are predicted by one of the two models only, "
            f"such as {missing[0][0]!r}",
            expected="the same bags, for a paired comparison",
            remedy="keep the bags both files have",
        )
    position = {key: row for row, key in enumerate(others)}
    result = second.take(np.array([position[key] for key in keys]))
    same = np.isclose(first.labels, result.labels, equal_nan=True)
    if not same.all():
        row = int(np.argwhere(~same)[0][0])
        raise PredictionsError(
            f"bag {first.bag_ids[row]!r} has the label {result.labels[row]} in one file and "
            f"{first.labels[row]} in the other",
            expected="the same labels",
        )
    return replace(result, patient_ids=first.patient_ids)


def _in_order_of(task: Task, predictions: Predictions) -> Predictions:
    """The same predictions with the classes of `task` in its order, where they are its classes."""
    theirs, names = predictions.task, predictions.task.class_names
    same = theirs.kind == task.kind and sorted(names) == sorted(task.class_names)
    if not same or task.ordered_classes or not task.exclusive_classes:
        return predictions
    order = [names.index(name) for name in task.class_names]
    targets = None if predictions.targets is None else np.argsort(order)[predictions.targets]
    probabilities = predictions.probabilities[:, order]
    predicted = replace(predictions.predicted, probabilities=probabilities)
    task = replace(theirs, class_names=task.class_names)
    return replace(predictions, task=task, targets=targets, predicted=predicted)


def _keys(predictions: Predictions) -> list[tuple[str, int]]:
    """What names a row in both models: the bag, and how often it came before (repeated folds)."""
    seen: dict[str, int] = {}
    keys = []
    for bag in predictions.bag_ids:
        seen[bag] = seen.get(bag, -1) + 1
        keys.append((bag, seen[bag]))
    return keys
