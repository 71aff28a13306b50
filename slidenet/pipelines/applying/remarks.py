"""What else is known of a predicted bag: whether the models agree, and whether it is unusual."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.text import count_of, name_some, words_of_loss
from slidenet.data.bags.parts import SEPARATOR
from slidenet.evaluation import Predictions, average_by_patient
from slidenet.evaluation.cross_conformal import CrossConformal
from slidenet.evaluation.predictions.targets import split_predictions
from slidenet.evaluation.statistics.proportions import proportion_interval
from slidenet.mil import BagBatch
from slidenet.pipelines.applying.ensembles import ALPHA, conformal_of, sets_promise
from slidenet.tasks import PredictionArrays, Task
from slidenet.tasks.predictions import (
    DISAGREEMENT_COLUMN,
    DISTANCE_COLUMN,
    INTERVAL_COLUMNS,
    SET_PREFIX,
    UNREADABLE_COLUMN,
    is_remark,
)
from slidenet.training import Bundle, Ensemble
from slidenet.training.bundles.ensemble import disagreement, mean_of
from slidenet.training.features.statistics import FAR, mean_features

MOST_SPLIT = 3
"""Bags on which the models disagree most that are named."""


@dataclass(frozen=True, eq=False)
class Testimony:
    """What each member of a model says of N bags, and how unusual the bags are.

    Attributes:
        members: What each predicts.
        shares: (N,) of training bags that lie as far out (`FeatureStatistics.shares_as_far`), the
            median over the members that know; None where none knows.
    """

    members: tuple[PredictionArrays, ...]
    shares: Float64Array | None

    @property
    def mean(self) -> PredictionArrays:
        """What the model predicts."""
        return mean_of(self.members) if len(self.members) > 1 else self.members[0]

    @staticmethod
    def of(model: Bundle | Ensemble, batch: BagBatch) -> "Testimony":
        """Of the bags of a batch."""
        members = tuple(member.predict(batch) for member in model.members)
        known = [m.statistics for m in model.members if m.statistics is not None]
        if not known:
            return Testimony(members, None)
        rows = mean_features(batch)
        return Testimony(members, np.median([s.shares_as_far(rows) for s in known], axis=0))

    @staticmethod
    def concatenate(parts: "Sequence[Testimony]") -> "Testimony":
        """Of several groups of bags, at least one."""
        members = zip(*(part.members for part in parts), strict=True)
        shares = [part.shares for part in parts if part.shares is not None]
        return Testimony(
            tuple(PredictionArrays.concatenate(m) for m in members),
            np.concatenate(shares) if shares else None,
        )

    def of_patients(self, predictions: Predictions, averaged: Predictions) -> "Testimony":
        """Of patients: the mean of what each member predicts, the smallest of the shares.

        Args:
            predictions: Of the bags.
            averaged: Of the patients (`average_by_patient`), some of whom may be left out.
        """
        names = [p or b for b, p in zip(predictions.bag_ids, predictions.patient_ids, strict=True)]
        kept = np.isin(names, averaged.bag_ids)
        members = tuple(
            average_by_patient(replace(predictions, predicted=member).take(kept)).predicted
            for member in self.members
        )
        if self.shares is None:
            return Testimony(members, None)
        positions = {name: position for position, name in enumerate(averaged.bag_ids)}
        shares = np.ones(len(averaged))
        for name, share in zip(names, self.shares, strict=True):
            if name in positions:
                shares[positions[name]] = min(shares[positions[name]], share)
        return Testimony(members, shares)


@dataclass(frozen=True, eq=False)
class Remarks:
    """Beside the predictions of N bags.

    Attributes:
        columns: Further columns of the file of predictions, N cells each.
        doubts: Why some of the predictions may be worth little.
        lines: What else to say.
    """

    columns: Mapping[str, Sequence[object]] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    def take(self, rows: IntArray) -> "Remarks":
        """The columns of some of the bags."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return replace(self, columns=columns)

    def of_target(self, target: str) -> "Remarks":
        """Those of one of several targets; all of them for ""."""
        start = f"{target}_" if target else ""
        columns = {
            name.removeprefix(start): cells
            for name, cells in self.columns.items()
            if (name.startswith(start) or name in (DISTANCE_COLUMN, UNREADABLE_COLUMN))
            and is_remark(name.removeprefix(start))
        }
        lines = [line for line in self.lines if line.startswith(f"{target}: " if target else "")]
        return Remarks(columns, self.doubts, tuple(lines))


NO_REMARKS = Remarks()


def remarks_on(
    model: Bundle | Ensemble,
    predictions: Predictions,
    testimony: Testimony,
    *,
    tiles: Mapping[str, tuple[int, int]],
    alpha: float = ALPHA,
) -> Remarks:
    """Columns and lines beside predictions.

    Args:
        model: That predicted.
        predictions: Of bags or patients.
        testimony: Of the same.
        tiles: Of each bag (slide or patient), how many could not be read, of how many.
        alpha: Of prediction sets; see `slidenet.evaluation.cross_conformal`.
    """
    columns: dict[str, Sequence[object]] = {}
    lines: list[str] = []
    doubts: list[str] = []
    if testimony.shares is not None:
        columns[DISTANCE_COLUMN] = _rounded(100 * (1 - testimony.shares), 1)
        doubts += _far_lines(model, predictions, testimony.shares)
    if any(lost for lost, _ in tiles.values()):
        bags = [bag_id.partition(SEPARATOR)[0] for bag_id in predictions.bag_ids]
        columns[UNREADABLE_COLUMN] = [tiles.get(bag, (0, 0))[0] for bag in bags]
        doubts += words_of_loss({bag: tiles[bag] for bag in bags if bag in tiles})
    if len(testimony.members) > 1:
        each = [
            split_predictions(replace(predictions, targets=None, predicted=member))
            for member in testimony.members
        ]
        conformal = conformal_of(model)
        for target in each[0]:
            arrays = [one[target].predicted for one in each]
            task, start = each[0][target].task, f"{target}_" if target else ""
            spread = disagreement(arrays)
            columns[start + DISAGREEMENT_COLUMN] = _rounded(spread, 6)
            told = [_split_line(predictions, spread)]
            if target in conformal:
                found, words = _sets(task, arrays, conformal[target], alpha)
                columns |= {start + name: cells for name, cells in found.items()}
                told += words
            lines += [f"{target}: {line}" if target else line for line in told]
    own = set(model.task.label_columns)
    columns = {name: cells for name, cells in columns.items() if name not in own}
    return Remarks(columns, tuple(doubts), tuple(lines))


def coverage_lines(remarks: Remarks, predictions: Predictions) -> list[str]:
    """How many prediction sets of labelled bags hold the truth.

    Args:
        remarks: Of the same bags.
        predictions: With labels, of one target.
    """
    task, columns = predictions.task, remarks.columns
    if task.exclusive_classes and SET_PREFIX + task.class_names[0] in columns:
        inside = np.array([columns[SET_PREFIX + name] for name in task.class_names]) == 1
        held = inside[predictions.labels.astype(np.int64), np.arange(len(predictions))]
    elif task.output == "value" and set(INTERVAL_COLUMNS) <= set(columns):
        low, high = (np.array(columns[name], dtype=np.float64) for name in INTERVAL_COLUMNS)
        held = (low <= predictions.labels) & (predictions.labels <= high)
    else:
        return []
    share = proportion_interval(held, predictions.patients)
    count = count_of("bag", len(held))
    return [
        f"Prediction sets hold the truth of {int(held.sum())} of {count} here: "
        f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})."
    ]


def _far_lines(
    model: Bundle | Ensemble, predictions: Predictions, shares: Float64Array
) -> list[str]:
    """Which bags lie out of the training cohort, and how many would by chance."""
    known = [m.statistics for m in model.members if m.statistics is not None]
    limit = max(FAR, *(statistics.least_share for statistics in known))
    far = np.flatnonzero(shares <= limit + 1e-9)
    if not len(far):
        return []
    names = name_some(predictions.bag_ids[i] for i in far[np.argsort(shares[far], kind="stable")])
    expected = limit * len(shares)
    return [
        f"{len(far)} of {len(shares)} lie farther from the training cohort than "
        f"{100 * (1 - limit):.0f} % of it does ({expected:.1f} would by chance): {names}; "
        "another stain, scanner or tissue? Look at them before you believe the prediction"
    ]


def _split_line(predictions: Predictions, spread: Float64Array) -> str:
    worst = np.argsort(-spread, kind="stable")[:MOST_SPLIT]
    named = ", ".join(f"{predictions.bag_ids[i]} ({spread[i]:.2f})" for i in worst)
    return f"the models disagree most on {named} (standard deviation over the models)"


def _sets(
    task: Task, members: Sequence[PredictionArrays], conformal: CrossConformal, alpha: float
) -> tuple[dict[str, Sequence[object]], list[str]]:
    """Prediction sets or intervals as columns, and what they promise."""
    arrays = np.stack([member.arrays[task.output] for member in members])
    promise = sets_promise(conformal, alpha)
    if not task.exclusive_classes:
        ends = conformal.intervals(arrays, alpha)
        if not np.isfinite(ends).all():
            return {}, [
                f"no intervals: {conformal.num_patients} patients are too few for {alpha:g}"
            ]
        return {n: _rounded(end, 6) for n, end in zip(INTERVAL_COLUMNS, ends.T, strict=True)}, [
            promise
        ]
    inside = conformal.sets(arrays, alpha)
    columns: dict[str, Sequence[object]] = {
        SET_PREFIX + name: column.astype(int).tolist()
        for name, column in zip(task.class_names, inside.T, strict=True)
    }
    sizes = np.bincount(inside.sum(axis=1), minlength=3)
    counts = [
        count_of("set", int(number)) + f" of {count_of('class', size)}"
        for size, number in enumerate(sizes)
        if number
    ]
    return columns, [f"{promise}: {', '.join(counts)}"]


def _rounded(values: Float64Array, digits: int) -> list[float]:
    return [float(value) for value in np.round(values, digits)]
