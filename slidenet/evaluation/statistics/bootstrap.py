"""Bootstrap by patient: intervals for every metric, and two models compared on the same bags.

Bags of one patient are not independent, so patients are drawn with replacement, each with all of
its bags (the cluster bootstrap of Field and Welsh 2007); intervals are percentiles (Efron 1979).
Resamples on which a metric is not defined (a class without bags, no comparable pair) are drawn
again, and counted: leaving them out silently would hide how thin the data is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.evaluation.predictions.record import Predictions

Statistic = Callable[[IntArray], Mapping[str, float]]
"""Rows, repeated as drawn, to named values."""

LEVEL = 0.95
MAX_DRAWS_PER_RESAMPLE = 50


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its interval.

    Attributes:
        value: On the bags as they are.
        low: Lower end; NaN where the value is not defined.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not defined"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """What a bootstrap found.

    Attributes:
        values: Each metric on the bags as they are.
        samples: Each metric on the resamples, (num_resamples,).
        num_patients: Patients drawn from.
        num_redrawn: Resamples thrown away because a metric was not defined on them.
    """

    values: Mapping[str, float]
    samples: Mapping[str, Float64Array]
    num_patients: int
    num_redrawn: int

    @property
    def num_resamples(self) -> int:
        """Resamples the intervals rest on."""
        return len(next(iter(self.samples.values())))

    def interval(self, name: str, level: float = LEVEL) -> Interval:
        """Percentile interval of one metric."""
        tails = 100 * np.array([(1 - level) / 2, (1 + level) / 2])
        low, high = np.percentile(self.samples[name], tails)
        return Interval(self.values[name], float(low), float(high))

    def intervals(self, level: float = LEVEL) -> dict[str, Interval]:
        """Percentile interval of every metric."""
        return {name: self.interval(name, level) for name in self.values}

    def p_value(self, name: str) -> float:
        """Two-sided p of "the value is 0", from how many resamples lie on either side of it."""
        sample = self.samples[name]
        if not np.isfinite(sample).all():
            return float("nan")
        tail = min(int((sample <= 0).sum()), int((sample >= 0).sum()))
        return min(1.0, 2 * (tail + 1) / (len(sample) + 1))


def bootstrap(
    statistic: Statistic, patients: IntArray, *, num_resamples: int = 1000, seed: int = 0
) -> Bootstrap:
    """Resamples patients and computes named values on each resample.

    Args:
        statistic: Rows to named values, always the same names. A value that is NaN on all rows is
            left out of the question whether a resample is usable.
        patients: int64 (N,), the patient of each row.
        num_resamples: Resamples to keep.
        seed: Seed of the draws.

    Raises:
        ConfigError: Fewer than 2 resamples.
        PredictionsError: Nearly all resamples lack a class.
    """
    if num_resamples < 2:
        raise ConfigError(f"{num_resamples} bootstrap resamples", expected="at least 2")
    rows = np.arange(len(patients))
    numbers = np.unique(patients, return_inverse=True)[1]
    count = int(numbers.max()) + 1
    values = dict(statistic(rows))
    defined = [name for name, value in values.items() if np.isfinite(value)]
    rng = np.random.default_rng(seed)
    kept: list[Mapping[str, float]] = []
    drawn = 0
    while len(kept) < num_resamples:
        drawn += 1
        if drawn > MAX_DRAWS_PER_RESAMPLE * num_resamples:
            raise PredictionsError(
                f"{len(kept)} of {drawn - 1} resamples of {count} patients have every class",
                expected="more patients of the rarest class",
                remedy="leave the rarest class out, or evaluate on more patients",
            )
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        found = statistic(np.repeat(rows, times[numbers]))
        if all(np.isfinite(found[name]) for name in defined):
            kept.append(found)
    samples = {name: np.array([sample[name] for sample in kept]) for name in values}
    return Bootstrap(values, samples, count, drawn - num_resamples)


def bootstrap_metrics(
    predictions: Predictions, *, num_resamples: int = 1000, seed: int = 0
) -> Bootstrap:
    """Every metric of the task, resampled by patient.

    Args:
        predictions: Labelled predictions.
        num_resamples: Resamples to keep.
        seed: Seed of the draws.

    Raises:
        PredictionsError: No labels, or nearly all resamples lack a class.
    """
    metrics, patients = _metrics(predictions), predictions.patients
    return bootstrap(metrics, patients, num_resamples=num_resamples, seed=seed)


@dataclass(frozen=True, eq=False)
class PairedBootstrap:
    """Two models on the same resamples.

    Attributes:
        second: Every metric of the second model.
        differences: Every metric of the first minus that of the second.
    """

    second: Bootstrap
    differences: Bootstrap


def paired_bootstrap(
    first: Predictions, second: Predictions, *, num_resamples: int = 1000, seed: int = 0
) -> PairedBootstrap:
    """Every metric of two models and their differences, on the same resamples of patients.

    Args:
        first: Predictions of one model.
        second: Predictions of the other on the same bags in the same order (see `align`).
        num_resamples: Resamples to keep.
        seed: Seed of the draws.

    Raises:
        PredictionsError: No labels, or nearly all resamples lack a class.
    """
    assert first.bag_ids == second.bag_ids, "align the predictions first"
    one, other = _metrics(first), _metrics(second)

    def both(rows: IntArray) -> dict[str, float]:
        a, b = one(rows), other(rows)
        differences = {f"difference {name}": a[name] - b[name] for name in a if name in b}
        return differences | {f"second {name}": value for name, value in b.items()}

    found = bootstrap(both, first.patients, num_resamples=num_resamples, seed=seed)
    return PairedBootstrap(_with_prefix(found, "second "), _with_prefix(found, "difference "))


def _with_prefix(found: Bootstrap, prefix: str) -> Bootstrap:
    """The values whose name starts with `prefix`, without it."""
    names = {name: name.removeprefix(prefix) for name in found.values if name.startswith(prefix)}
    return replace(
        found,
        values={short: found.values[name] for name, short in names.items()},
        samples={short: found.samples[name] for name, short in names.items()},
    )


def _metrics(predictions: Predictions) -> Statistic:
    task, targets, predicted = predictions.task, predictions.labels, predictions.predicted

    def metrics(rows: IntArray) -> dict[str, float]:
        return task.compute_metrics(predicted.take(rows), targets[rows])

    return metrics
