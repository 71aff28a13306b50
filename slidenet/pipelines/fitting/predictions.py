"""Runs a trained classifier over bags and hands its predictions on with labels and patients."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from slidenet.data import LabelTable
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SplitName
from slidenet.evaluation import Predictions
from slidenet.evaluation.calibration import fit_temperature
from slidenet.evaluation.operating_points import ThresholdRule, choose_threshold
from slidenet.mil import BagBatch
from slidenet.tasks.baseline import BreslowBaseline, fit_breslow
from slidenet.tasks.prediction import predict_task
from slidenet.tasks.task import Task
from slidenet.training import SlideClassifier


@dataclass(frozen=True, eq=False)
class BagLogits:
    """Raw outputs for N bags.

    Attributes:
        bag_ids: Of the bags, in the order of the loader.
        slide_ids: The slides of each.
        logits: float32 (N, K) on the CPU.
    """

    bag_ids: tuple[str, ...]
    slide_ids: tuple[tuple[str, ...], ...]
    logits: Tensor


@dataclass(frozen=True, eq=False)
class Finish:
    """What turns logits into decisions, fitted on bags the weights were not tested on.

    Attributes:
        temperature: Divides the logits of a classifier.
        threshold: From which probability on the positive class of "binary" is called.
        baseline: Of a Cox model.
    """

    temperature: float = 1.0
    threshold: float | None = None
    baseline: BreslowBaseline | None = None


@torch.inference_mode()
def run_bags(
    module: SlideClassifier, batches: Iterable[BagBatch], *, what: str = "predict"
) -> BagLogits:
    """Logits of every bag, on the device the module is on.

    Args:
        module: In eval mode.
        batches: A data loader.
        what: Named on the progress bar.
    """
    assert not module.training, "predictions need eval mode"
    bag_ids: list[str] = []
    slide_ids: list[tuple[str, ...]] = []
    logits: list[Tensor] = []
    for batch in tqdm(batches, desc=what, unit=" batches", leave=False, disable=None):
        logits.append(module(batch.to(module.device)).logits.float().cpu())
        bag_ids.extend(batch.bag_ids)
        slide_ids.extend(batch.slide_ids)
    return BagLogits(tuple(bag_ids), tuple(slide_ids), torch.cat(logits))


def predict_split(
    module: SlideClassifier,
    data: BagDataModule,
    split: SplitName,
    *,
    finish: Finish = Finish(),
    fold: int | None = None,
) -> Predictions:
    """Labelled predictions of one split, all tiles used.

    Args:
        module: In eval mode.
        data: The bags.
        split: "train", "val" or "test".
        finish: Temperature and baseline to apply.
        fold: Which model of a cross-validation this is.
    """
    outputs = run_bags(module, data.whole_dataloader(split), what=f"predict {split}")
    return as_predictions(
        module.task,
        outputs,
        data.label_table,
        targets=_targets(data, split, outputs.bag_ids),
        finish=finish,
        fold=fold,
    )


def as_predictions(
    task: Task,
    outputs: BagLogits,
    table: LabelTable | None,
    *,
    targets: npt.NDArray[Any] | None,
    finish: Finish = Finish(),
    fold: int | None = None,
) -> Predictions:
    """Outputs with labels, patients and fold.

    Args:
        task: What is predicted.
        outputs: Of `run_bags`.
        table: Knows the patients; None where nobody does.
        targets: Of the same bags in the same order; None where there are no labels.
        finish: Temperature and baseline to apply.
        fold: Which model of a cross-validation said so.
    """
    predicted = predict_task(
        task, outputs.logits, temperature=finish.temperature, baseline=finish.baseline
    )
    patients = [None if table is None else table.row(s[0]).patient_id for s in outputs.slide_ids]
    folds = None if fold is None else np.full(len(outputs.bag_ids), fold, np.int64)
    return Predictions(task, outputs.bag_ids, tuple(patients), targets, predicted.numpy(), folds)


def fit_finish(
    module: SlideClassifier,
    data: BagDataModule,
    *,
    threshold_rule: ThresholdRule = "youden",
    calibrate: bool = False,
    report_times: Sequence[float] | None = None,
) -> Finish:
    """Temperature and threshold from the val split, the baseline of a Cox model from train.

    Args:
        module: The trained classifier, in eval mode.
        data: Its bags; without a val split there is neither temperature nor threshold.
        threshold_rule: For "binary".
        calibrate: Whether to fit a temperature.
        report_times: Where a Cox model reports survival; default: see `fit_breslow`.
    """
    task = module.task
    if task.kind == "cox":
        train = predict_split(module, data, "train")
        return Finish(baseline=fit_breslow(train.risk, train.labels, report_times))
    if not task.is_classification or not data.split.val:
        return Finish()
    outputs = run_bags(module, data.whole_dataloader("val"), what="predict val")
    targets = _targets(data, "val", outputs.bag_ids)
    val = as_predictions(task, outputs, data.label_table, targets=targets)
    temperature = 1.0
    if calibrate:
        temperature = fit_temperature(task, val.probabilities, val.labels)
        finish = Finish(temperature)
        val = as_predictions(task, outputs, data.label_table, targets=targets, finish=finish)
    if task.kind != "binary":
        return Finish(temperature)
    threshold = choose_threshold(val.probabilities[:, 1], val.labels == 1, threshold_rule)
    return Finish(temperature, threshold)


def _targets(data: BagDataModule, split: SplitName, bag_ids: tuple[str, ...]) -> npt.NDArray[Any]:
    """Targets in the order the bags came, which a token budget changes."""
    position = {bag.bag_id: i for i, bag in enumerate(data.bags(split))}
    targets: npt.NDArray[Any] = data.targets(split)[[position[bag_id] for bag_id in bag_ids]]
    return targets
