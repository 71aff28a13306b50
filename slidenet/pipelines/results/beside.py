"""A model beside its rivals: other predictions of the same bags, and whether it beats them.

The rivals are probes, or the same model without one of its inputs. A difference is paired: patients
are drawn with replacement, and both models are judged on the same draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.errors import PredictionsError
from slidenet.evaluation import Interval, Predictions, align, bootstrap
from slidenet.evaluation.statistics.bootstrap import Statistic
from slidenet.metrics import METRICS, Metric
from slidenet.metrics.metric import DEFAULT_THRESHOLD
from slidenet.pipelines.results.sections import Section

NUM_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Rival:
    """Other predictions of the same bags.

    Attributes:
        name: In the table, such as "logistic probe".
        words: In sentences, such as "the logistic probe on mean features".
        predictions: Of the same bags by models of the same folds.
    """

    name: str
    words: str
    predictions: Predictions


def compare(
    model: Predictions,
    rivals: Sequence[Rival],
    *,
    name: str = "the model",
    title: str = "Beside the model",
    notes: Sequence[str] = (),
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Section:
    """The headline metric of each, the paired difference with its interval, and who is beaten.

    Metrics of the order of bags (AUROC, c-index) are the mean over folds, as the scores of two
    folds need not be on one scale; others are of all bags pooled, and so are all where a fold alone
    does not define the metric.

    Args:
        model: Labelled predictions, out of fold or of one test split.
        rivals: Of the same bags in any order.
        name: Of the model, in the table and in sentences.
        title: Of the section.
        notes: Lines that follow the verdicts.
        num_resamples: Of the bootstrap of patients.
        seed: Of the bootstrap.

    Raises:
        PredictionsError: A rival predicts other bags or has other labels.
    """
    metric = METRICS[model.task.headline]
    others = [align(model, rival.predictions) for rival in rivals]
    statistic, by_fold = _statistic(metric, [model, *others])
    values = statistic(np.arange(len(model)))
    header = ("model", metric.words, f"{name} minus it", "low", "high")
    found: dict[str, Interval] = {}
    trouble = ""
    if np.isfinite(list(values.values())).all() and rivals:
        try:
            drawn = bootstrap(statistic, model.patients, num_resamples=num_resamples, seed=seed)
            found = drawn.intervals()
        except PredictionsError as error:
            trouble = f"There is no interval: {error.found}."
    elif rivals:
        trouble = f"The {metric.words} is not defined on these bags."
    rows: list[tuple[str, ...]] = [(name, _number(values["model"]), "", "", "")]
    for i, rival in enumerate(rivals):
        difference = found.get(f"difference {i}")
        cells: tuple[str, ...] = ("", "", "")
        if difference is not None:
            cells = tuple(f"{v:+.3f}" for v in (difference.value, difference.low, difference.high))
        rows.append((rival.name, _number(values[f"rival {i}"]), *cells))
    lines = [trouble] if trouble else _verdicts(metric, name, rivals, found)
    if model.folds is not None:
        how = "its mean over the folds" if by_fold else "of the bags of all folds together"
        lines.append(f"The {metric.words} is {how}; low and high bound the difference with 95 %.")
    return Section(title, (*lines, *notes), header, tuple(rows))


def _verdicts(
    metric: Metric, name: str, rivals: Sequence[Rival], found: dict[str, Interval]
) -> list[str]:
    """Which rivals are beaten, and which are not."""
    worse: list[str] = []
    unsure: list[str] = []
    beaten: list[str] = []
    for i, rival in enumerate(rivals):
        difference = found[f"difference {i}"]
        low, high = difference.low, difference.high
        if metric.lower_is_better:
            low, high = -high, -low
        (beaten if low > 0 else worse if high < 0 else unsure).append(rival.words)
    lines = []
    if worse:
        lines.append(f"{name} does not beat {_listed(worse, 'or')}: it does worse.")
    if unsure:
        why = "the 95 % interval of the difference includes 0"
        lines.append(f"{name} does not beat {_listed(unsure, 'or')}: {why}.")
    return [*lines, *([f"{name} beats {_listed(beaten, 'and')}."] if beaten else [])]


def _listed(words: Sequence[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _statistic(metric: Metric, models: Sequence[Predictions]) -> tuple[Statistic, bool]:
    """The metric of each model and the differences on drawn rows; whether it is by fold."""
    first = models[0]
    targets, folds = first.labels, first.folds

    def value(model: Predictions, rows: IntArray) -> float:
        cases = model.task.cases(model.predicted.take(rows), targets[rows], DEFAULT_THRESHOLD)
        return cases.measure(metric)[0]

    def by_fold(model: Predictions, rows: IntArray) -> float:
        assert folds is not None
        each = np.array([value(model, rows[folds[rows] == fold]) for fold in numbers])
        known = each[np.isfinite(each)]
        return float(known.mean()) if len(known) else float("nan")

    every = np.arange(len(first))
    numbers = [] if folds is None else np.unique(folds).tolist()
    apart = (
        metric.of_order
        and bool(numbers)
        and all(
            np.isfinite(value(model, every[folds == fold])) for model in models for fold in numbers
        )
    )
    measure = by_fold if apart else value

    def statistic(rows: IntArray) -> dict[str, float]:
        values = [measure(model, rows) for model in models]
        found = {"model": values[0]}
        for i, other in enumerate(values[1:]):
            found |= {f"rival {i}": other, f"difference {i}": values[0] - other}
        return found

    return statistic, apart


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined"
