"""Why predictions of another cohort may be no fair test: slides seen in training, other units."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import as_event, as_number
from slidenet.data import LabelTable
from slidenet.pipelines.fitting.seen import find_seen, patients_of
from slidenet.stores import open_features
from slidenet.tasks import Task
from slidenet.training import Bundle, Ensemble

UNITS = {7.0: "days and weeks", 12.0: "months and years", 30.44: "days and months",
         52.18: "weeks and years", 365.25: "days and years"}  # fmt: skip
LEAST_FACTOR = 4.0
"""Cohorts may well be followed up four times as long as each other."""

FAR_IN_DEVIATIONS = 5.0


def seen_doubts(model: Bundle | Ensemble, rows: Sequence[SlideRow]) -> list[str]:
    """Warns of slides and patients that the model has seen in its training.

    Args:
        model: The trained model.
        rows: The slides to be predicted.
    """
    doubts = []
    for kind, noun, names in (
        ("patients", "patient", patients_of(rows)),
        ("slides", "slide", [row.slide_id for row in rows]),
    ):
        seen = [find_seen(member.training, kind, names) for member in model.members]
        known = {name for found in seen if found is not None for name in found}
        if known:
            doubts.append(
                f"The model was trained on {len(known)} of these "
                f"{count_of(noun, len(set(names)))}, by their ids ({name_some(sorted(known))}): "
                "on them it is no test."
            )
    return doubts


def renamed_doubts(
    model: Bundle | Ensemble, rows: Sequence[SlideRow], files: Mapping[str, Path]
) -> list[str]:
    """Warns of slide files that the model has seen in its training under another name.

    Args:
        model: The trained model.
        rows: The slides that were predicted.
        files: The features file of each, which knows the slide by its content.
    """
    seen = [find_seen(member.training, "files", ()) for member in model.members]
    if all(found is None for found in seen):
        return []
    names: dict[str, str] = {}
    given: Any = model.training.get("given") or {}
    for row in rows:
        if row.slide_id in files:
            mpp = {} if row.mpp is None else {"slide_mpp": row.mpp}
            fingerprint = open_features(files[row.slide_id], **{**given, **mpp}).fingerprint
            names |= {} if fingerprint is None else {fingerprint: row.slide_id}
    slides = [row.slide_id for row in rows]
    renamed = set()
    for member in model.members:
        by_name = set(find_seen(member.training, "slides", slides) or ())
        by_file = {names[f] for f in find_seen(member.training, "files", names) or ()}
        renamed |= by_file - by_name
    if not renamed:
        return []
    return [
        f"The model was trained on {count_of('file', len(renamed))} of these under another name "
        f"({name_some(sorted(renamed))}): on them it is no test."
    ]


def unsaid_doubts(model: Bundle | Ensemble) -> list[str]:
    """Warns where the model does not say what it was trained on, as those of older versions."""
    if all(find_seen(member.training, "slides", ()) is not None for member in model.members):
        return []
    return [
        "The model does not say which slides it was trained on, so whether these are new to it is "
        "not known."
    ]


def unit_doubts(model: Bundle | Ensemble, task: Task, labels: LabelTable) -> list[str]:
    """Warns where times or values lie far from those of the training.

    Args:
        model: The trained model, of one target.
        task: What it predicts.
        labels: Of the other cohort, in the model's columns, with a label in every row.
    """
    if task.output == "risk":
        return _times(model, task, labels)
    settings = model.members[0].module.hparams
    scale = float(settings.get("target_scale") or 1.0)
    if task.output != "value" or scale <= 0:
        return []
    values = _numbers(labels, task.label_columns[0])
    offset = float(settings.get("target_offset") or 0.0)
    if not len(values) or abs(np.median(values) - offset) <= FAR_IN_DEVIATIONS * scale:
        return []
    return [
        f"The labels here (median {np.median(values):.4g}) lie far from those of the training "
        f"(mean {offset:.4g}, deviation {scale:.4g}): are they in the same unit?"
    ]


def _times(model: Bundle | Ensemble, task: Task, labels: LabelTable) -> list[str]:
    column, event = task.label_columns
    baseline = model.members[0].calibration.baseline
    usual = baseline.times if baseline is not None else task.time_edges
    happened = [as_event(cell) == 1.0 for cell in labels.column(event)]
    times = np.array(
        [t for t, yes in zip(map(as_number, labels.column(column)), happened, strict=True) if yes]
    )
    times = times[np.isfinite(times) & (times > 0)]
    if not len(times) or not usual:
        return []
    ratio = float(np.median(times)) / float(np.median(usual))
    if 1 / LEAST_FACTOR <= ratio <= LEAST_FACTOR:
        return []
    factor = max(ratio, 1 / ratio)
    away = {unit: abs(math.log(unit / factor)) for unit in UNITS}
    nearest, second = sorted(away, key=away.__getitem__)[:2]
    # Medians of few events waver by more than lies between months and weeks.
    units = UNITS[nearest] + (f", or {UNITS[second]}" if away[nearest] > math.log(1.3) else "")
    return [
        f"Times of events here (median {np.median(times):.4g}) are {factor:.3g} times as "
        f"{'long' if ratio > 1 else 'short'} as those of the training (median "
        f"{np.median(usual):.4g}): are these {units}? The c-index does not change with "
        "the unit; survival curves and the integrated Brier score mean nothing then."
    ]


def _numbers(labels: LabelTable, column: str) -> Float64Array:
    values = np.array([as_number(cell) for cell in labels.column(column)])
    return np.asarray(values[np.isfinite(values)])
