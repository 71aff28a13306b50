"""Predictions of several targets taken apart: a record, and a file, for each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slidenet.evaluation.predictions.csv_file import write_predictions
from slidenet.evaluation.predictions.record import Predictions
from slidenet.evaluation.predictions.sidecar import Origin
from slidenet.tasks import Calibration, MultiTask, Task
from slidenet.tasks.multitask import joint


def split_predictions(predictions: Predictions) -> dict[str, Predictions]:
    """The predictions of each target, which is all that evaluation and files know.

    Args:
        predictions: Of several targets, or of one.

    Returns:
        By the name of the target, in order; of one target under "". Where there are labels, the
        bags whose label of the target is known, else all.
    """
    task = predictions.task
    if not isinstance(task, MultiTask):
        return {"": predictions}
    found = {}
    for part in task.parts:
        of_target, targets = joint(predictions.predicted).by_target[part.name], predictions.targets
        one = Predictions(
            part.task, predictions.bag_ids, predictions.patient_ids, None, of_target,
            predictions.folds,
        )  # fmt: skip
        if targets is not None:
            known = part.known(targets)
            one = replace(one.take(known), targets=part.own(targets[known]))
        found[part.name] = one
    return found


def of_target(calibration: Calibration, target: str) -> Calibration:
    """The calibration of one of several targets; that of a task of one target for ""."""
    return calibration.targets.get(target, Calibration()) if target else calibration


def target_path(path: str | os.PathLike[str], target: str) -> Path:
    """The file of one of several targets; the path itself for ""."""
    path = Path(path)
    return path.with_stem(f"{path.stem}_{target}") if target else path


def prediction_files(path: str | os.PathLike[str], task: Task) -> dict[str, Path]:
    """The file of each target: `predictions_msi.csv` for `predictions.csv` and "msi".

    Args:
        path: The file of a task of one target, which stands under "".
        task: One target, or several.
    """
    targets = task.targets if isinstance(task, MultiTask) else [""]
    return {target: target_path(path, target) for target in targets}


def write_targets(
    path: str | os.PathLike[str],
    predictions: Predictions,
    calibration: Calibration,
    *,
    origin: Origin,
    decided: bool = False,
    labels: Mapping[str, Mapping[str, Sequence[str]] | None] | None = None,
    remarks: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
    **settings: Any,
) -> list[Path]:
    """Writes the predictions of each target into a file of its own (`write_predictions`).

    Args:
        path: See `prediction_files`.
        predictions: Of several targets, or of one.
        calibration: Of the model.
        origin: What made them; its threshold becomes that of the target.
        decided: Whether a column says what is called.
        labels: Of predictions without targets, cells of the label columns of each target.
        remarks: Further columns of each target.
        **settings: Of `write_predictions`.

    Returns:
        The files, in order of the targets.

    Raises:
        PredictionsError, OutputError: As `write_predictions`.
    """
    files = prediction_files(path, predictions.task)
    for target, one in split_predictions(predictions).items():
        threshold = of_target(calibration, target).threshold
        write_predictions(
            files[target],
            one,
            called=one.task.decide(one.predicted, threshold) if decided else None,
            origin=replace(origin, threshold=threshold),
            labels=None if labels is None else labels[target],
            remarks=None if remarks is None else remarks[target],
            **settings,
        )
    return list(files.values())


def descriptions(predictions: Predictions, calibration: Calibration) -> list[str]:
    """One clause per bag, with every target by its name: `msi: MSI-H (0.93), age: 61`."""
    each = {
        target: one.task.describe_predictions(
            one.predicted, of_target(calibration, target).threshold
        )
        for target, one in split_predictions(replace(predictions, targets=None)).items()
    }
    if "" in each:
        return each[""]
    return [
        ", ".join(f"{target}: {words}" for target, words in zip(each, row, strict=True))
        for row in zip(*each.values(), strict=True)
    ]
