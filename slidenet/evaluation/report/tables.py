"""The tables of a report: as rows for texts, and as CSV files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slidenet.evaluation.report.summary import Summary
from slidenet.evaluation.statistics.comparison import Comparison
from slidenet.metrics import METRICS, metric_words
from slidenet.stores.csv_writing import csv_text

Row = Sequence[Any]

OF_ONE_CLASS = ("brier", "ece")
"""Metrics that say something of bags of one class only."""


def csv_files(summary: Summary) -> dict[str, str]:
    """Name and text of every CSV file that goes with a report, in order."""
    files = {"metrics.csv": csv_text(metric_header(summary), metric_rows(summary))}
    if summary.comparison is not None:
        header: Row = ("metric", "first", "second", "difference", "low", "high", "p")
        files["comparison.csv"] = csv_text(header, comparison_rows(summary, summary.comparison))
    if summary.conformal is not None:
        task = summary.predictions.task
        sets = [f"in_set_{name}" for name in task.class_names]
        (label,) = task.label_columns
        taken = ("bag_id", "patient_id", "set_size", "covered", *sets)
        label = f"true_{label}" if label in taken else label
        header = ("bag_id", "patient_id", label, *taken[2:])
        files["conformal.csv"] = csv_text(header, conformal_rows(summary))
    if summary.sites:
        files["sites.csv"] = csv_text(site_header(summary), site_rows(summary))
    return files


def site_header(summary: Summary) -> tuple[str, ...]:
    """Columns of the table of centres."""
    task = summary.predictions.task
    columns = ["site", "bags", "patients"]
    if task.has_positive_class:
        columns.append(f"of {task.class_names[1]}")
    columns += [task.headline, "low", "high"]
    if task.has_positive_class:
        columns += [f"{what}{end}" for what in ("sensitivity", "specificity")
                    for end in ("", "_low", "_high")]  # fmt: skip
    return tuple(columns)


def site_rows(summary: Summary, *, digits: int | None = None) -> list[Row]:
    """The table of centres, sensitivity and specificity at the model's own cut-off (or 0.5)."""
    rows: list[Row] = []
    for site in summary.sites:
        row: list[Any] = [site.site, site.num_bags, site.num_patients]
        row += [] if site.num_positive is None else [site.num_positive]
        for found in (site.headline, site.sensitivity, site.specificity):
            if found is not None:
                # Of no bags Wilson's interval is all there is, which is no finding.
                absent = np.isnan(found.value)
                numbers = (found.value,) * 3 if absent else (found.value, found.low, found.high)
                row += [format_number(number, digits) for number in numbers]
        rows.append(row)
    return rows


def metric_header(summary: Summary) -> tuple[str, ...]:
    """Columns of the table of metrics."""
    folds = ("fold_mean", "fold_sd") if summary.by_fold else ()
    return ("metric", "value", "low", "high", *folds)


def metric_rows(summary: Summary, *, digits: int | None = None) -> list[Row]:
    """The table of metrics; words and rounded numbers with `digits`, else names and all digits."""
    rows: list[Row] = []
    for name, interval in summary.metrics.intervals().items():
        if summary.only_class is not None and name not in OF_ONE_CLASS:
            continue  # a number would come out, and mean nothing
        numbers = [interval.value, interval.low, interval.high]
        if summary.by_fold:
            numbers += summary.fold_spread(name)
        words = name if digits is None else metric_words(name, summary.predictions.task.class_names)
        rows.append((words, *(format_number(number, digits) for number in numbers)))
        found = summary.mean_over_present(name) if name in METRICS else None
        if found is not None:
            mean, present = found
            words = f"{words}, mean over {', '.join(present)}"
            numbers = [mean.value, mean.low, mean.high]
            numbers += [float("nan")] * (2 if summary.by_fold else 0)
            rows.append((words, *(format_number(number, digits) for number in numbers)))
    return rows


def comparison_rows(
    summary: Summary, comparison: Comparison, *, digits: int | None = None
) -> list[Row]:
    """Every metric of both models, their difference with its interval, and p (all bootstrap)."""
    rows: list[Row] = []
    for name, interval in comparison.differences.intervals().items():
        words = name if digits is None else metric_words(name, summary.predictions.task.class_names)
        numbers = (
            summary.metrics.values[name],
            comparison.second.values[name],
            interval.value,
            interval.low,
            interval.high,
            comparison.differences.p_value(name),
        )
        rows.append((words, *(format_number(number, digits) for number in numbers)))
    return rows


def conformal_rows(summary: Summary) -> list[Row]:
    """Each judged bag with its set of classes."""
    predictions, sets = summary.predictions, summary.conformal
    assert sets is not None
    rows: list[Row] = []
    for row, inside in zip(sets.rows.tolist(), sets.sets, strict=True):
        truth = int(predictions.labels[row])
        rows.append(
            (
                predictions.bag_ids[row],
                predictions.patient_ids[row] or "",
                predictions.task.class_names[truth],
                int(inside.sum()),
                int(inside[truth]),
                *(int(i) for i in inside),
            )
        )
    return rows


def format_number(value: float, digits: int | None = None) -> str:
    """With all digits and empty where not defined (for files), or rounded (for readers)."""
    if np.isnan(value):
        return "" if digits is None else "not defined"
    return repr(float(value)) if digits is None else f"{value:.{digits}f}"
