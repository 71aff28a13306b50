"""Cut-offs for yes-or-no decisions, and what each of them costs.

A cut-off is chosen on other bags than those it is judged on: on validation predictions, or on the
other folds. Chosen on the same bags, its sensitivity and specificity would look better than they
are.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from slidenet.core.arrays import BoolArray, FloatArray
from slidenet.core.checks import check_choice
from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.evaluation.calibration import held_out_groups
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.statistics.bootstrap import Interval
from slidenet.evaluation.statistics.proportions import proportion_interval

ThresholdRule = Literal["half", "youden", "sensitivity", "specificity"]


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """What a cut-off does.

    Attributes:
        rule: How it was chosen, for a report.
        threshold: The cut-off; where folds have their own, their mean.
        chosen_on: Which bags it was chosen on, for a report.
        sensitivity: Share of positive bags called positive.
        specificity: Share of negative bags called negative.
        ppv: Share of bags called positive that are.
        npv: Share of bags called negative that are.
        called: bool (N,), the decisions.
    """

    rule: str
    threshold: float
    chosen_on: str
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    called: BoolArray


def choose_threshold(
    score: FloatArray, positive: BoolArray, rule: ThresholdRule, at: float = 0.95
) -> float:
    """The cut-off of a rule; a bag is called positive where its score is at least that.

    Cut-offs lie midway between neighbouring scores, so that new bags are treated evenly.

    Args:
        score: (N,) probability of the positive class.
        positive: bool (N,).
        rule: "half" is 0.5; "youden" has the greatest sensitivity + specificity (Youden 1950, the
            lowest of equals); "sensitivity" is the highest cut-off with at least `at`;
            "specificity" the lowest one.
        at: The sensitivity or specificity asked for.

    Raises:
        ConfigError: There is no such rule, or `at` is not in (0, 1].
        PredictionsError: A class has no bag to choose on.
    """
    check_choice(get_args(ThresholdRule), rule=rule)
    if rule == "half":
        return 0.5
    if not 0 < at <= 1:
        raise ConfigError(f"a {rule} of {at:g}", expected="above 0 and at most 1")
    if positive.all() or not positive.any():
        raise PredictionsError(
            f"a cut-off from {int(positive.sum())} positive and {int((~positive).sum())} "
            "negative bags",
            expected="at least one of each",
        )
    # Below all scores, between neighbours, above all, in the precision of the scores.
    distinct = np.unique(score)
    between = distinct[:-1] + np.diff(distinct) / 2
    between = np.where(between > distinct[:-1], between, distinct[1:])
    beyond = np.nextafter(distinct[-1:], distinct.dtype.type(np.inf))
    cuts = np.concatenate([distinct[:1], between, beyond])
    sensitivity = 1 - np.searchsorted(np.sort(score[positive]), cuts) / positive.sum()
    specificity = np.searchsorted(np.sort(score[~positive]), cuts) / (~positive).sum()
    if rule == "youden":
        return float(cuts[np.argmax(np.round(sensitivity + specificity, 12))])
    if rule == "sensitivity":
        return float(cuts[np.flatnonzero(sensitivity >= at)[-1]])
    return float(cuts[np.flatnonzero(specificity >= at)[0]])


def operating_point(
    predictions: Predictions,
    rule: ThresholdRule,
    at: float = 0.95,
    *,
    validation: Predictions | None = None,
    seed: int = 0,
) -> OperatingPoint:
    """Chooses a cut-off on other bags and judges it on these.

    Args:
        predictions: Labelled predictions of a "binary" task.
        rule: See `choose_threshold`.
        at: The sensitivity or specificity asked for.
        validation: Predictions of the same model on validation bags. Without them each fold takes
            the cut-off of the other folds.
        seed: Deals patients into groups where the folds cannot serve.

    Raises:
        PredictionsError: Too few bags of a class to choose on; a patient in both sets.
    """
    assert predictions.task.has_positive_class, "operating points need a binary task"
    score, positive = predictions.probabilities[:, 1], predictions.labels == 1
    if rule == "half":
        cut, chosen_on = np.full(len(score), 0.5), "nothing; fixed beforehand"
    elif validation is not None:
        check_disjoint(predictions, validation)
        other, truth = validation.probabilities[:, 1], validation.labels == 1
        cut = np.full(len(score), choose_threshold(other, truth, rule, at))
        chosen_on = f"{len(validation)} validation bags"
    else:
        groups, group_name = held_out_groups(predictions, seed=seed)
        cut, chosen_on = np.empty(len(score)), f"the other {group_name}"
        for group in np.unique(groups):
            inside = groups == group
            cut[inside] = choose_threshold(score[~inside], positive[~inside], rule, at)
    words = {"half": "0.5", "youden": "Youden's index"}.get(rule, f"{rule} of {at:g}")
    return _point(predictions, words, cut, chosen_on)


def fixed_point(
    predictions: Predictions,
    threshold: float,
    *,
    rule: str = "the model's own",
    chosen_on: str = "other bags, in its training",
) -> OperatingPoint:
    """Judges a cut-off that was chosen beforehand.

    Args:
        predictions: Labelled predictions of a "binary" task.
        threshold: The cut-off.
        rule: How it was chosen, for a report.
        chosen_on: Which bags it was chosen on.
    """
    return _point(predictions, rule, np.full(len(predictions), threshold), chosen_on)


def _point(predictions: Predictions, rule: str, cut: FloatArray, chosen_on: str) -> OperatingPoint:
    """What cut-offs of N bags do to them."""
    score, positive = predictions.probabilities[:, 1], predictions.labels == 1
    called, patients = score >= cut, predictions.patients
    return OperatingPoint(
        rule,
        float(np.mean(cut)),
        chosen_on,
        sensitivity=proportion_interval(called[positive], patients[positive]),
        specificity=proportion_interval(~called[~positive], patients[~positive]),
        ppv=proportion_interval(positive[called], patients[called]),
        npv=proportion_interval(~positive[~called], patients[~called]),
        called=called,
    )


def check_disjoint(predictions: Predictions, validation: Predictions) -> None:
    """Refuses validation predictions of another task, or of patients that are judged.

    Raises:
        PredictionsError: Naming one of the patients.
    """
    if validation.task != predictions.task:
        raise PredictionsError(
            f"validation predictions of {validation.task.describe()}",
            expected=predictions.task.describe(),
        )
    judged, others = (
        {patient or bag for bag, patient in zip(p.bag_ids, p.patient_ids, strict=True)}
        for p in (predictions, validation)
    )
    shared = judged & others
    if shared:
        raise PredictionsError(
            f"{len(shared)} patients are in the validation predictions and in those to judge, "
            f"such as {min(shared)!r}",
            expected="different patients",
            remedy="give predictions on bags kept apart for validation",
        )
