"""How well a model does at each centre."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.operating_points import fixed_point
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import Interval, bootstrap_metrics
from slidenet.metrics import DEFAULT_THRESHOLD

NOT_DEFINED = Interval(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class SiteResult:
    """The findings at one centre.

    Attributes:
        site: Its name.
        num_bags: Judged there.
        num_patients: Theirs.
        num_positive: Bags of the positive class; None where there is none.
        headline: The leading metric of the task; not defined where a class is absent.
        sensitivity: At the cut-off; None where there is no positive class.
        specificity: The same.
    """

    site: str
    num_bags: int
    num_patients: int
    num_positive: int | None
    headline: Interval
    sensitivity: Interval | None
    specificity: Interval | None


def results_by_site(
    predictions: Predictions,
    sites: Sequence[str],
    *,
    threshold: float | None,
    num_resamples: int,
    seed: int,
) -> tuple[SiteResult, ...]:
    """Judges the bags of each centre alone.

    Args:
        predictions: Labelled, of N bags.
        sites: The centre of each of them.
        threshold: Cut-off of the model; 0.5 where it has none.
        num_resamples: Of patients, behind every interval.
        seed: Of the draws.
    """
    found = []
    names = np.array(sites, dtype=object)
    for site in sorted(set(sites)):
        here = predictions.take(names == site)
        sensitivity = specificity = positive = None
        if here.task.has_positive_class:
            point = fixed_point(here, DEFAULT_THRESHOLD if threshold is None else threshold)
            sensitivity, specificity = point.sensitivity, point.specificity
            positive = int((here.labels == 1).sum())
        try:
            resampled = bootstrap_metrics(here, num_resamples=num_resamples, seed=seed)
            headline = resampled.interval(here.task.headline)
        except PredictionsError:  # too few patients of some class for resamples
            value = here.compute_metrics()[here.task.headline]
            headline = Interval(value, float("nan"), float("nan"))
        if here.num_patients < 2 or np.isnan(headline.value):
            headline = NOT_DEFINED
        found.append(
            SiteResult(
                site, len(here), here.num_patients, positive, headline, sensitivity, specificity
            )
        )
    return tuple(found)
