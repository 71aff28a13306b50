"""What a reader must know before quoting the first sentence of a report."""

import numpy as np

from slidenet.evaluation.report.summary import Summary
from slidenet.metrics import METRICS
from slidenet.tasks import MulticlassTask, TaskKind


def cautions(summary: Summary, told: TaskKind | None) -> tuple[str, ...]:
    """Warnings that belong right after the first sentence; empty where it can be quoted as it is.

    Args:
        summary: The findings.
        told: The task, as far as it was said; else it was read off the columns.
    """
    return (*_guessed_task(summary, told), *_folds_apart(summary))


def _guessed_task(summary: Summary, told: TaskKind | None) -> tuple[str, ...]:
    task = summary.predictions.task
    if told is not None or not isinstance(task, MulticlassTask):
        return ()
    return (
        f"The task was read off the columns as multiclass. If the classes "
        f"({', '.join(task.class_names)}) have an order, say --task ordinal, which judges by "
        "kappa; --task multiclass if not.",
    )


def _folds_apart(summary: Summary) -> tuple[str, ...]:
    name = summary.predictions.task.headline
    pooled, (mean, spread) = summary.headline, summary.fold_spread(name)
    # Only the order of bags suffers where each fold has its own scale.
    if not METRICS[name].of_order or not np.isfinite(mean) or pooled.low <= mean <= pooled.high:
        return ()
    words = METRICS[name].words
    return (
        f"Do not quote this {words}: within the folds it is {mean:.3f} on average (SD "
        f"{spread:.3f}), beyond the interval of the pooled {pooled.value:.3f}. The scores of the "
        "folds are not on one scale, so ordering bags of different folds says more of their models "
        "than of the bags. Quote the mean over the folds; cut-offs, curves and comparisons here "
        "are of pooled scores too.",
    )
