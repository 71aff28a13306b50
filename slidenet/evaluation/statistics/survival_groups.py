"""Survival of patients with high and with low predicted risk."""

from dataclasses import dataclass

import numpy as np

from slidenet.core.errors import PredictionsError
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.kaplan_meier import (
    KaplanMeier,
    LogRank,
    kaplan_meier,
    log_rank,
    risk_groups,
)


@dataclass(frozen=True, eq=False)
class SurvivalGroups:
    """Kaplan-Meier curves of two groups of patients.

    Attributes:
        low: Curve of the patients with low risk.
        high: Of those with high risk.
        test: The log-rank test between them.
        cut: How the groups were cut, in words.
    """

    low: KaplanMeier
    high: KaplanMeier
    test: LogRank
    cut: str


def survival_groups(predictions: Predictions) -> SurvivalGroups:
    """Splits patients by predicted risk; each patient counts once.

    A patient with several rows is in the high group where more than half of them are; their times
    must agree.

    Raises:
        PredictionsError: All risks are equal, a group is empty, or rows of a patient disagree.
    """
    groups = risk_groups(predictions)
    patients = np.unique(predictions.patients, return_inverse=True)[1]
    first = np.unique(patients, return_index=True)[1]
    targets = predictions.labels[first]
    same = (predictions.labels == targets[patients]).all(axis=1)
    if not same.all():
        row = int(np.flatnonzero(~same)[0])
        raise PredictionsError(
            f"patient {predictions.patient_ids[row]!r} has bags with different times or events",
            expected="one time and event per patient",
        )
    high = np.bincount(patients, weights=groups.high) > np.bincount(patients) / 2
    if high.all() or not high.any():
        raise PredictionsError("all patients are in one risk group", expected="two groups")
    time, event = targets[:, 0].astype(np.float64), targets[:, 1]
    return SurvivalGroups(
        kaplan_meier(time[~high], event[~high]),
        kaplan_meier(time[high], event[high]),
        log_rank(time, event, high),
        groups.cut,
    )
