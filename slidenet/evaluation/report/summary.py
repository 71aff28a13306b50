"""Everything a report holds about one file of predictions, computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.calibration import (
    TemperatureScaling,
    cross_fitted_temperature,
    fit_temperature,
    log_loss,
    temperature_of_validation,
)
from slidenet.evaluation.conformal import ConformalMethod, ConformalSets, split_conformal
from slidenet.evaluation.operating_points import (
    OperatingPoint,
    ThresholdRule,
    check_disjoint,
    fixed_point,
    operating_point,
)
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.report.sites import SiteResult, results_by_site
from slidenet.evaluation.statistics.bootstrap import (
    LEVEL,
    Bootstrap,
    Interval,
    bootstrap_metrics,
)
from slidenet.evaluation.statistics.comparison import Comparison, compare
from slidenet.evaluation.statistics.survival import SurvivalGroups, survival_groups
from slidenet.metrics import METRICS


@dataclass(frozen=True)
class SummarySettings:
    """How predictions are judged.

    Args:
        num_bootstrap: Resamples of patients behind every interval.
        seed: Decides the resamples, and who calibrates.
        sensitivity: Sensitivity asked for, at one of the operating points.
        specificity: Specificity asked for, at another.
        alpha: Share of prediction sets that may miss the true class.
        conformal: Score of the prediction sets: lac (smallest sets) or aps (evener coverage).
        class_conditional: Promise coverage for every class, not only on average.
        calibration_fraction: Share of the patients that calibrate the prediction sets.
    """

    num_bootstrap: int = 1000
    seed: int = 0
    sensitivity: float = 0.95
    specificity: float = 0.95
    alpha: float = 0.1
    conformal: ConformalMethod = "lac"
    class_conditional: bool = False
    calibration_fraction: float = 0.5


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Probabilities before and after temperature scaling.

    Attributes:
        scaling: The scaled predictions; no temperature was fitted on the bags it scales.
        temperature: Fitted on all bags, for new bags.
        before: ece, brier and log_loss of the predictions as they are.
        after: The same of the scaled ones.
    """

    scaling: TemperatureScaling
    temperature: float
    before: Mapping[str, float]
    after: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Summary:
    """The findings; what does not apply to the task is None or empty.

    Attributes:
        predictions: What was judged.
        settings: How.
        metrics: Every metric of the task, resampled by patient.
        by_fold: Fold number to its metrics.
        comparison: With another model.
        calibrated: Of classification.
        operating_points: Of a binary task.
        conformal: Of exclusive classes.
        survival: Of survival tasks.
        notes: What could not be computed, and why.
        threshold: The cut-off the model came with; None where none is known.
        sites: The findings at each centre, where they are told apart.
    """

    predictions: Predictions
    settings: SummarySettings
    metrics: Bootstrap
    by_fold: Mapping[int, Mapping[str, float]]
    comparison: Comparison | None
    calibrated: Calibrated | None
    operating_points: tuple[OperatingPoint, ...]
    conformal: ConformalSets | None
    survival: SurvivalGroups | None
    notes: tuple[str, ...]
    threshold: float | None = None
    sites: tuple[SiteResult, ...] = ()

    @property
    def headline(self) -> Interval:
        """The leading metric of the task."""
        return self.metrics.interval(self.predictions.task.headline)

    @property
    def only_class(self) -> int | None:
        """The class of all bags, where they are of one; only some metrics are defined then."""
        labels = self.predictions.labels
        if not self.predictions.task.exclusive_classes or len(np.unique(labels)) > 1:
            return None
        return int(labels[0])

    def mean_over_present(self, name: str) -> tuple[Interval, tuple[str, ...]] | None:
        """A metric of classes as the mean over those that it is defined for.

        Args:
            name: Of the metric.

        Returns:
            The mean and the classes; None where it is defined for all, for none, or is no mean.
        """
        metric, values = METRICS[name], self.metrics.values
        names = {c: f"{name}_{c}" for c in self.predictions.task.class_names}
        present = [c for c, own in names.items() if np.isfinite(values.get(own, np.nan))]
        if not metric.by_class or not present or np.isfinite(values.get(name, np.nan)):
            return None
        samples = np.mean([self.metrics.samples[names[c]] for c in present], axis=0)
        low, high = np.percentile(samples, [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2])
        mean = float(np.mean([values[names[c]] for c in present]))
        return Interval(mean, float(low), float(high)), tuple(present)

    def fold_spread(self, name: str) -> tuple[float, float]:
        """Mean and standard deviation of one metric over the folds that define it."""
        values = [m[name] for m in self.by_fold.values() if np.isfinite(m[name])]
        if len(values) < 2:
            return float("nan"), float("nan")
        return float(np.mean(values)), float(np.std(values, ddof=1))


def summarise(
    predictions: Predictions,
    settings: SummarySettings,
    *,
    other: Predictions | None = None,
    validation: Predictions | None = None,
    threshold: float | None = None,
    sites: Sequence[str] | None = None,
) -> Summary:
    """Computes everything.

    Args:
        predictions: Labelled predictions the model was not trained on.
        settings: How they are judged.
        other: Of another model on the same bags, to compare with.
        validation: Of the same model on other bags, to choose cut-offs and the temperature on.
        threshold: The cut-off the model came with, of a binary task.
        sites: The centre of each bag, to judge each alone.

    Raises:
        PredictionsError: No metric can be computed, `other` is not of the same bags, or
            `validation` has patients that are judged.
    """
    task = predictions.task
    notes: list[str] = []
    if validation is not None:
        check_disjoint(predictions, validation)
    metrics = bootstrap_metrics(
        predictions, num_resamples=settings.num_bootstrap, seed=settings.seed
    )
    comparison = None
    if other is not None:
        comparison = compare(
            predictions, other, num_resamples=settings.num_bootstrap, seed=settings.seed
        )
    points: tuple[OperatingPoint, ...] = ()
    calibrated, sets, survival = None, None, None
    lack = task.find_lack(predictions.labels) if task.has_classes else None
    if lack is not None:
        notes.append(
            f"Column {lack.column!r} {lack.found}, so nothing can be told apart, chosen or fitted."
        )
        if task.has_positive_class and threshold is None:
            points = (operating_point(predictions, "half"),)
    elif task.has_classes:
        try:
            calibrated = _calibrated(predictions, validation, settings.seed)
        except PredictionsError as error:
            notes.append(f"No temperature scaling: {error}.")
    if task.has_positive_class and lack is None:
        try:
            points = _operating_points(predictions, settings, validation)
        except PredictionsError as error:
            notes.append(f"No cut-offs chosen on other bags: {error}.")
            points = (operating_point(predictions, "half"),)
    if task.has_positive_class and threshold is not None:
        points = (fixed_point(predictions, threshold), *points)
    if task.exclusive_classes and lack is None:
        sets = split_conformal(
            predictions,
            alpha=settings.alpha,
            method=settings.conformal,
            class_conditional=settings.class_conditional,
            calibration_fraction=settings.calibration_fraction,
            seed=settings.seed,
        )
    if task.is_survival:
        try:
            survival = survival_groups(predictions)
        except PredictionsError as error:
            notes.append(f"No risk groups: {error}.")
    by_site: tuple[SiteResult, ...] = ()
    if sites is not None:
        by_site = results_by_site(
            predictions,
            sites,
            threshold=threshold,
            num_resamples=settings.num_bootstrap,
            seed=settings.seed,
        )
    return Summary(
        predictions, settings, metrics, _by_fold(predictions), comparison, calibrated,
        points, sets, survival, tuple(notes), threshold, by_site,
    )  # fmt: skip


def _by_fold(predictions: Predictions) -> dict[int, dict[str, float]]:
    folds = predictions.folds
    if folds is None:
        return {}
    return {
        int(fold): predictions.task.compute_metrics(
            predictions.predicted.take(folds == fold),
            predictions.labels[folds == fold],
        )
        for fold in np.unique(folds)
    }


def _calibrated(predictions: Predictions, validation: Predictions | None, seed: int) -> Calibrated:
    task, targets = predictions.task, predictions.labels
    if validation is not None:
        scaling = temperature_of_validation(predictions, validation)
    else:
        scaling = cross_fitted_temperature(predictions, seed=seed)
    errors = []
    for judged in (predictions, scaling.predictions):
        metrics = task.compute_metrics(judged.predicted, targets)
        loss = log_loss(task, judged.probabilities, targets)
        errors.append({"ece": metrics["ece"], "brier": metrics["brier"], "log_loss": loss})
    temperature = fit_temperature(task, predictions.probabilities, targets)
    return Calibrated(scaling, temperature, *errors)


def _operating_points(
    predictions: Predictions, settings: SummarySettings, validation: Predictions | None
) -> tuple[OperatingPoint, ...]:
    rules: tuple[tuple[ThresholdRule, float], ...] = (
        ("half", 0.5),
        ("youden", 0.5),
        ("sensitivity", settings.sensitivity),
        ("specificity", settings.specificity),
    )
    return tuple(
        operating_point(predictions, rule, at, validation=validation, seed=settings.seed)
        for rule, at in rules
    )
