"""Predictions of several targets taken apart: a record, and a file, for each."""

import os
from dataclasses import replace
from pathlib import Path

from slidenet.evaluation.predictions.record import Predictions
from slidenet.tasks import Calibration, MultiTask
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
    """The file of one target: `predictions_msi.csv` for `predictions.csv` and "msi"."""
    path = Path(path)
    return path.with_stem(f"{path.stem}_{target}") if target else path


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
