"""Runs a trained classifier over bags and hands its predictions on with labels and patients."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from slidenet.core.text import count_of
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SplitName
from slidenet.evaluation import Predictions, split_predictions
from slidenet.evaluation.calibration import fit_temperature
from slidenet.evaluation.operating_points import ThresholdRule, choose_threshold
from slidenet.evaluation.predictions.targets import of_target
from slidenet.metrics import DEFAULT_THRESHOLD, compute_metrics, metric_of
from slidenet.metrics.metric import BinaryCases
from slidenet.mil import BagBatch
from slidenet.pipelines.results.sections import Section
from slidenet.tasks import (
    Calibration,
    MultiTask,
    PredictionArrays,
    Targets,
    Task,
    fit_breslow,
)
from slidenet.tasks.calibration import UNCALIBRATED, survival_report_times
from slidenet.tasks.classes import class_probabilities
from slidenet.tasks.predictions import to_array
from slidenet.training import SlideClassifier
from slidenet.training.memory import allocation_explained


@torch.inference_mode()
def run_bags(
    module: SlideClassifier, batches: Iterable[BagBatch], *, what: str = "predict"
) -> tuple[dict[str, tuple[str, ...]], Tensor]:
    """Logits of every bag.

    Args:
        module: In eval mode, on the device to compute on.
        batches: A data loader; each bag comes once.
        what: Named on the progress bar.

    Returns:
        The slides of each of N bags by its id, in the order of the loader, and float32 (N, K)
        logits on the CPU.
    """
    slides: dict[str, tuple[str, ...]] = {}
    logits: list[Tensor] = []
    with allocation_explained(what, training=False):
        for batch in tqdm(batches, desc=what, unit=" batches", leave=False, disable=None):
            logits.append(_logits(module, batch))
            slides |= zip(batch.bag_ids, batch.slide_ids, strict=True)
    return slides, torch.cat(logits)


def predict_bags(
    task: Task,
    predict: Callable[[BagBatch], PredictionArrays],
    batches: Iterable[BagBatch],
    *,
    patient_of: Callable[[str], str | None],
    targets_of: Callable[[Sequence[str]], Targets] | None = None,
    fold: int | None = None,
    what: str = "predict",
) -> Predictions:
    """Predictions of every bag.

    Args:
        task: What is predicted.
        predict: Predictions of the bags of a batch, such as `Bundle.predict`.
        batches: A data loader; each bag comes once.
        patient_of: The patient of a slide, None where unknown.
        targets_of: The targets of bags by their ids; None where there are no labels.
        fold: Which model of a cross-validation this is.
        what: Named on the progress bar.
    """
    slides: dict[str, tuple[str, ...]] = {}
    predicted: list[PredictionArrays] = []
    with allocation_explained(what, training=False):
        for batch in tqdm(batches, desc=what, unit=" batches", leave=False, disable=None):
            predicted.append(predict(batch))
            slides |= zip(batch.bag_ids, batch.slide_ids, strict=True)
    return Predictions(
        task,
        tuple(slides),
        tuple(patient_of(slide_ids[0]) for slide_ids in slides.values()),
        None if targets_of is None else targets_of(tuple(slides)),
        PredictionArrays.concatenate(predicted),
        None if fold is None else np.full(len(slides), fold, np.int64),
    )


def predict_split(
    module: SlideClassifier,
    data: BagDataModule,
    split: SplitName | None,
    calibration: Calibration = UNCALIBRATED,
    *,
    fold: int | None = None,
) -> Predictions:
    """Predictions of the bags of one split by a network just trained, all tiles used.

    Args:
        module: In eval mode.
        data: The bags.
        split: "train", "val" or "test", with labels; None for every bag, without.
        calibration: Temperature and baseline to apply.
        fold: Which model of a cross-validation this is.
    """

    @torch.inference_mode()
    def predict(batch: BagBatch) -> PredictionArrays:
        return module.task.predict(_logits(module, batch), calibration)

    return apply_to_split(module.task, predict, data, split, fold=fold)


def apply_to_split(
    task: Task,
    predict: Callable[[BagBatch], PredictionArrays],
    data: BagDataModule,
    split: SplitName | None,
    *,
    fold: int | None = None,
) -> Predictions:
    """Predictions of the bags of one split by any model, all tiles used.

    Args:
        task: What is predicted.
        predict: Predictions of the bags of a batch, such as `Bundle.predict`.
        data: The bags.
        split: "train", "val" or "test", with labels; None for every bag, without.
        fold: Which model of a cross-validation this is.
    """
    return predict_bags(
        task,
        predict,
        data.whole_dataloader(split),
        patient_of=lambda slide_id: data.label_table.row(slide_id).patient_id,
        targets_of=None if split is None else lambda bag_ids: _targets(data, split, bag_ids),
        fold=fold,
        what="predict" if split is None else f"predict {split}",
    )


def fit_calibration(
    module: SlideClassifier,
    data: BagDataModule,
    *,
    threshold_rule: ThresholdRule = "youden",
    calibrate: bool = False,
    cohort: Targets | None = None,
    held_out: tuple[Tensor, Targets] | None = None,
) -> Calibration:
    """Temperature and threshold from val, the baseline of a Cox model from train.

    Args:
        module: The trained classifier, in eval mode.
        data: Its bags; without bags in val there is neither temperature nor threshold.
        threshold_rule: For "binary".
        calibrate: Whether to fit a temperature.
        cohort: Targets of all bags, whose times with an event say where a Cox model reports
            survival; default: see `fit_breslow`.
        held_out: Logits and targets of bags that the model has not seen, in place of val.

    Returns:
        The calibration; of several targets one for each.
    """
    task = module.task
    tasks = list(task.targets.values()) if isinstance(task, MultiTask) else [task]
    runs: dict[SplitName, tuple[Tensor, Targets]] = {}
    if any(one.needs_baseline for one in tasks):
        runs["train"] = _run_split(module, data, "train")
    if held_out is not None:
        runs["val"] = held_out
    elif any(one.has_classes for one in tasks) and data.split.val:
        runs["val"] = _run_split(module, data, "val")
    if not isinstance(task, MultiTask):
        return _fit_one(task, runs, threshold_rule, calibrate, cohort)
    found: dict[str, Calibration] = {}
    for part in task.parts:
        own = {}
        for split, (logits, targets) in runs.items():
            known = part.known(targets)
            own[split] = logits[torch.from_numpy(known)][:, part.outputs], part.own(targets[known])
        everyone = None if cohort is None else part.own(cohort[part.known(cohort)])
        found[part.name] = _fit_one(part.task, own, threshold_rule, calibrate, everyone)
    return Calibration(targets=found)


def _fit_one(
    task: Task,
    runs: Mapping[SplitName, tuple[Tensor, Targets]],
    threshold_rule: ThresholdRule,
    calibrate: bool,
    cohort: Targets | None,
) -> Calibration:
    """The calibration of one target from its logits and targets in train and val."""
    if task.needs_baseline:
        logits, targets = runs["train"]
        risk = to_array(logits[:, 0]).astype(np.float64)
        times = None if cohort is None else survival_report_times(cohort)
        return Calibration(baseline=fit_breslow(risk, targets, times))
    if not task.has_classes or "val" not in runs or not len(runs["val"][1]):
        return UNCALIBRATED
    logits, targets = runs["val"]
    calibration = UNCALIBRATED
    if calibrate:
        probabilities = class_probabilities(task.predict(logits))
        calibration = Calibration(fit_temperature(task, probabilities, targets))
    # Of several targets only the first has both classes in val for sure.
    if not task.has_positive_class or len(np.unique(targets)) < 2:
        return calibration
    score = class_probabilities(task.predict(logits, calibration))[:, 1]
    return replace(calibration, threshold=choose_threshold(score, targets == 1, threshold_rule))


def _run_split(
    module: SlideClassifier, data: BagDataModule, split: SplitName
) -> tuple[Tensor, Targets]:
    slides, logits = run_bags(module, data.whole_dataloader(split), what=f"predict {split}")
    return logits, _targets(data, split, tuple(slides))


def _logits(module: SlideClassifier, batch: BagBatch) -> Tensor:
    assert not module.training, "predictions need eval mode"
    logits: Tensor = module(batch.to(module.device)).logits.float().cpu()
    return logits


def data_digest(data: BagDataModule) -> str:
    """What tells bags, their labels and their split from others; see `BagDataModule.identity`."""
    return str(data.identity()["bags_and_split"])


def temperature_section(
    calibration: Calibration, num_bags: Mapping[str, int], *, fitted_on: str
) -> list[Section]:
    """What the probabilities were softened or sharpened by; nothing where no temperature is.

    Args:
        calibration: Of the model.
        num_bags: It was fitted on, of each target.
        fitted_on: Which bags, in words.
    """
    each = calibration.targets or {"": calibration}
    lines = [
        f"Logits {f'of {name} ' if name else ''}are divided by {one.temperature:.2f}, fitted on "
        f"{count_of('bag', num_bags[name])} of {fitted_on}: the model was "
        f"{'too sure' if one.temperature > 1 else 'not sure enough'}."
        for name, one in each.items()
        if one.temperature != 1
    ]
    return [Section("Temperature", tuple(lines))] if lines else []


def cut_off_sections(
    predicted: Mapping[str, Predictions], calibration: Calibration, *, chosen_on: str = "val"
) -> list[Section]:
    """`cut_off_section` of each target that has a cut-off.

    Args:
        predicted: Labelled predictions by split, of several targets or of one.
        calibration: Of the model.
        chosen_on: Which bags a cut-off was chosen on, in words.
    """
    sections = []
    apart = {split: split_predictions(found) for split, found in predicted.items()}
    for target in next(iter(apart.values()), {}):
        threshold = of_target(calibration, target).threshold
        found = {split: by_target[target] for split, by_target in apart.items()}
        known = {split: one for split, one in found.items() if len(one)}
        if threshold is not None and known:
            section = cut_off_section(known, threshold, chosen_on=chosen_on)
            title = f"{section.title} of {target}" if target else section.title
            sections.append(replace(section, title=title))
    return sections


def cut_off_section(
    found: Mapping[str, Predictions], threshold: float, *, chosen_on: str = "val"
) -> Section:
    """What the cut-off of a binary model changes: metrics at 0.5 and at the cut-off, by split.

    Args:
        found: Labelled predictions by split.
        threshold: From which probability on the positive class is called.
        chosen_on: Which bags, in words.
    """
    columns: dict[str, list[float]] = {}
    names: list[str] = []
    for split, predictions in found.items():
        task = predictions.task
        for cut in (DEFAULT_THRESHOLD, threshold):
            cases = task.cases(predictions.predicted, predictions.labels, cut)
            assert isinstance(cases, BinaryCases), "one cut-off is that of two classes"
            values = compute_metrics(cases)
            names = [name for name in values if metric_of(name)[0].inputs == ("confusion",)]
            (right_negative, false_positive), (missed, found_positive) = cases.confusion.tolist()
            columns[f"{split} at {cut:.3g}"] = [
                *(values[name] for name in names),
                _share(found_positive, missed),
                _share(right_negative, false_positive),
            ]
    rows = [
        (name, *(f"{values[i]:.3f}" for values in columns.values()))
        for i, name in enumerate([*names, "sensitivity", "specificity"])
    ]
    positive = next(iter(found.values())).task.class_names[1]
    line = f"The model calls {positive!r} from {threshold:.3f} on, chosen on {chosen_on}."
    return Section("At the cut-off", (line,), ("metric", *columns), tuple(rows))


def _share(these: int, others: int) -> float:
    return these / (these + others) if these + others else float("nan")


def _targets(data: BagDataModule, split: SplitName, bag_ids: Sequence[str]) -> Targets:
    """Targets in the order the bags came, which a token budget changes."""
    position = {bag.bag_id: i for i, bag in enumerate(data.bags(split))}
    targets: Targets = data.targets(split)[[position[bag_id] for bag_id in bag_ids]]
    return targets
