"""What a probe is to be, chosen by an inner cross-validation that never divides a patient.

For every kind of probe the description of bags (mean, or mean and deviation) and the one setting
(penalty, neighbours, cost and width) are those with the least error out of the inner folds: the
Brier score, the squared error, or the deviance of the partial likelihood (Verweij and van
Houwelingen 1993). All kinds are judged by the same folds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, softmax
from sklearn.model_selection import StratifiedGroupKFold

from slidenet.core.arrays import BoolArray, Float64Array, IntArray
from slidenet.core.errors import LabelError
from slidenet.core.text import count_of
from slidenet.evaluation.probes.columns import Columns
from slidenet.evaluation.probes.cox_regression import RiskSets
from slidenet.evaluation.probes.kernel import KernelFitter, NeighbourFitter, platt
from slidenet.evaluation.probes.linear import (
    MANY_BAGS,
    CoxFitter,
    Fitter,
    LogisticFitter,
    Numbers,
    Problem,
    RidgeFitter,
    Setting,
)
from slidenet.mil.probe import BagColumns, ProbeKind

FITTERS: Mapping[ProbeKind, type[Fitter]] = {
    "logistic": LogisticFitter,
    "svm": KernelFitter,
    "ridge": RidgeFitter,
    "cox": CoxFitter,
    "knn": NeighbourFitter,
}
FEW_BAGS, REPEATS = 200, 3
"""So few bags are dealt into inner folds several times, as one deal decides by chance."""

Folds = Sequence[tuple[IntArray, IntArray]]


@dataclass(frozen=True, eq=False)
class Part:
    """One problem of a task with its bags: the task itself, or one label of several.

    Attributes:
        problem: Of the bags `rows`.
        rows: int64, among all bags.
        deals: Inner folds, positions in `rows`; several deals of the patients.
    """

    problem: Problem
    rows: IntArray
    deals: Sequence[Folds]


@dataclass(frozen=True, eq=False)
class Found:
    """What the search chose for one kind.

    Attributes:
        columns: How bags are described.
        settings: One per part.
        error: Out of the inner folds, the mean over parts.
        numbers: Of the model of all bags, the parts side by side.
        scores: (N, S) out of the inner folds; NaN where a bag was not tested.
    """

    columns: BagColumns
    settings: tuple[Setting, ...]
    error: float
    numbers: Numbers
    scores: Float64Array


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for one part.

    Attributes:
        error: Out of the inner folds.
        setting: That has it.
        scores: (N, S) of the bags of the part; NaN where one was not tested.
        calibration: Slope and offset, where decisions become probabilities.
    """

    error: float
    setting: Setting
    scores: Float64Array
    calibration: Numbers


def search(
    kind: ProbeKind, described: Mapping[BagColumns, Columns], parts: Sequence[Part]
) -> Found:
    """The best description of bags and the best settings of one kind of probe, fitted on all."""
    best: tuple[float, BagColumns, list[Choice]] | None = None
    for name, columns in described.items():
        chosen = []
        for part in parts:
            fitter = FITTERS[kind](columns, part.rows, part.problem)  # type: ignore[call-arg]
            chosen.append(_choose(fitter, part))
        error = float(np.mean([choice.error for choice in chosen]))
        if best is None or error < best[0]:
            best = error, name, chosen
    assert best is not None, "bags are described somehow"
    error, name, chosen = best
    numbers, scores = [], []
    for part, choice in zip(parts, chosen, strict=True):
        fitter = FITTERS[kind](described[name], part.rows, part.problem)  # type: ignore[call-arg]
        found = fitter.numbers(choice.setting)
        if choice.calibration:
            slope, offset = choice.calibration["slope"], choice.calibration["offset"]
            found = {**found, "slope": slope, "bias": offset + slope * found["bias"]}
        numbers.append(found)
        scores.append(np.full((len(described[name].z), part.problem.num_scores), np.nan))
        scores[-1][part.rows] = choice.scores
    shared = {"rows": numbers[0]["rows"]} if "rows" in numbers[0] else {}
    joined = {
        key: np.concatenate([one[key] for one in numbers], axis=-1)
        for key in numbers[0]
        if key not in shared
    }
    settings = tuple(choice.setting for choice in chosen)
    return Found(name, settings, error, {**shared, **joined}, np.concatenate(scores, axis=1))


def _choose(fitter: Fitter, part: Part) -> Choice:
    """The setting of least error."""
    best: Choice | None = None
    for setting in fitter.settings():
        errors, decisions, truths = [], [], []
        kept = np.full((len(part.rows), part.problem.num_scores), np.nan)
        for folds in part.deals:
            if isinstance(fitter, CoxFitter):
                errors.append(_deviance(fitter, setting, folds))
                continue
            scores, tested = _out_of_fold(fitter, setting, folds)
            if isinstance(fitter, KernelFitter):
                decisions.append(scores[tested])
                truths.append(np.stack(fitter.truths(), axis=1)[tested])
                scores = _calibrated_apart(scores, fitter.truths(), folds)
            errors.append(_error(part.problem, scores[tested], part.problem.target[tested]))
            kept[tested] = scores[tested]
        error = float(np.mean(errors))
        if best is None or error < best.error:
            best = Choice(error, setting, kept, _calibration(decisions, truths))
    assert best is not None, "every kind has a setting to try"
    return best


def _out_of_fold(fitter: Fitter, setting: Setting, folds: Folds) -> tuple[Float64Array, BoolArray]:
    """Scores (N, S) of each row by a model that has not seen its patient; which rows have any."""
    assert isinstance(fitter, LogisticFitter | RidgeFitter | KernelFitter | NeighbourFitter)
    scores = np.zeros((len(fitter.rows), fitter.problem.num_scores))
    tested = np.zeros(len(fitter.rows), dtype=bool)
    for train, test in folds:
        scores[test] = fitter.scores(setting, train, test)
        tested[test] = True
    return scores, tested


def _calibrated_apart(
    decisions: Float64Array, truths: Sequence[BoolArray], folds: Folds
) -> Float64Array:
    """Logits from decisions, those of each fold calibrated on the other folds."""
    logits = np.zeros_like(decisions)
    every = np.concatenate([test for _, test in folds])
    for _, test in folds:
        others = np.setdiff1d(every, test) if len(folds) > 1 else every
        for score, truth in enumerate(truths):
            slope, offset = platt(decisions[others, score], truth[others])
            logits[test, score] = slope * decisions[test, score] + offset
    return logits if len(truths) == 1 else -np.logaddexp(0, -logits)


def _calibration(decisions: Sequence[Float64Array], truths: Sequence[BoolArray]) -> Numbers:
    """Slope and offset of each score from all deals together; empty where there are none."""
    if not decisions:
        return {}
    joined, truth = np.concatenate(decisions), np.concatenate(truths)
    pairs = [platt(joined[:, score], truth[:, score]) for score in range(joined.shape[1])]
    slope, offset = np.array(pairs).T
    return {"slope": slope, "offset": offset}


def _error(problem: Problem, scores: Float64Array, target: npt.NDArray[np.generic]) -> float:
    """Brier score of classes (it stays finite where a probability is wrongly 0), squared error."""
    if not problem.num_classes:
        return float(np.mean((scores[:, 0] - target.astype(np.float64)) ** 2))
    if problem.num_scores == 1:
        return float(2 * np.mean((expit(scores[:, 0]) - (target == 1)) ** 2))
    truth = np.eye(problem.num_classes)[target.astype(int)]
    return float(np.mean(((softmax(scores, axis=1) - truth) ** 2).sum(axis=1)))


def _deviance(fitter: CoxFitter, setting: Setting, folds: Folds) -> float:
    """What the tested rows add to the partial likelihood, under models that have not seen them."""
    target = fitter.problem.target.astype(np.float64)
    total = 0.0
    for train, _ in folds:
        risk = fitter.scores(setting, train, np.arange(len(target)))[:, 0]
        of_all = RiskSets(target, "efron").loss(risk)[0]
        total += of_all - RiskSets(target[train], "efron").loss(risk[train])[0]
    return total / max(float(target[:, 1].sum()), 1.0)


def deal(
    strata: IntArray,
    patients: IntArray,
    names: Mapping[int, str],
    *,
    where: str,
    num_folds: int,
    seed: int,
) -> list[Folds]:
    """Inner folds by patient, in proportion to the strata; several deals of few bags.

    A stratum of a single patient is trained on in every fold, and judged in none.

    Args:
        strata: int64 (N,).
        patients: int64 (N,).
        names: The strata there must be, as "of class ...".
        where: What is predicted, for errors.
        num_folds: Inner folds at most.
        seed: Deals patients into folds.

    Raises:
        LabelError: A stratum has no bag, or none has bags of two patients.
    """
    counts = {k: len(np.unique(patients[strata == k])) for k in names}
    rarest, commonest = (choose(counts, key=lambda k: counts[k]) for choose in (min, max))
    if not counts[rarest] or len(np.unique(patients)) < 2 or counts[commonest] < 2 <= len(names):
        raise LabelError(
            f"{where}: {count_of('patient', counts[rarest])} {names[rarest]} to train on",
            expected="at least 2, to choose the probe's setting",
            remedy="use fewer folds, or leave the class out",
        )
    dealt = np.flatnonzero(~np.isin(strata, [k for k in names if counts[k] == 1]))
    most = [count for count in counts.values() if count > 1] or [len(np.unique(patients[dealt]))]
    num_folds = min(num_folds if len(strata) <= MANY_BAGS else 3, *most)
    repeats = REPEATS if len(strata) <= FEW_BAGS else 1
    deals: list[Folds] = [
        list(_folds(strata, patients, dealt, num_folds, seed + 7919 * repeat))
        for repeat in range(repeats if num_folds > 1 else 0)
    ]
    found = [folds for folds in deals if folds]
    if not found:
        raise LabelError(
            f"{where}: no inner fold has every class to train on",
            expected="more patients of the rarest class",
            remedy="use fewer folds, or leave the class out",
        )
    return found


def _folds(
    strata: IntArray, patients: IntArray, dealt: IntArray, num_folds: int, seed: int
) -> Iterator[tuple[IntArray, IntArray]]:
    dealer = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    for _, test in dealer.split(dealt[:, None], strata[dealt], patients[dealt]):
        test = dealt[test]
        # By patient: one may have bags of a rare stratum beside others.
        train = np.flatnonzero(~np.isin(patients, patients[test]))
        if len(test) and set(strata[train]) == set(strata):
            yield train, test
