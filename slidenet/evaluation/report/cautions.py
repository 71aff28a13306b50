"""What a reader must know before quoting the first sentence of a report."""

import numpy as np

from slidenet.evaluation.report.summary import Summary
from slidenet.metrics import METRICS
from slidenet.tasks import MulticlassTask, TaskKind


def cautions(summary: Summary, named_task: TaskKind | None) -> tuple[str, ...]:
    """Warnings that belong right after the first sentence; empty where it can be quoted as it is.

    Args:
        summary: The findings.
        named_task: The task as the user named it; None where it was read off the columns.
    """
    found = []
    task = summary.predictions.task
    if named_task is None and isinstance(task, MulticlassTask):
        found.append(
            f"The task was read off the columns as multiclass. If the classes "
            f"({', '.join(task.class_names)}) have an order, say --task ordinal, which judges by "
            "kappa; --task multiclass if not."
        )
    metric = METRICS[task.headline]
    pooled, (mean, spread) = summary.headline, summary.fold_spread(metric.name)
    beyond = np.isfinite(mean) and not pooled.low <= mean <= pooled.high
    if metric.of_order and beyond:  # only the order of bags suffers where folds differ in scale
        found.append(
            f"Do not quote this {metric.words}: within the folds it is {mean:.3f} on average (SD "
            f"{spread:.3f}), beyond the interval of the pooled {pooled.value:.3f}. The scores of "
            "the folds are not on one scale, so ordering bags of different folds says more of "
            "their models than of the bags. Quote the mean over the folds; cut-offs, curves and "
            "comparisons here are of pooled scores too."
        )
    return tuple(found)
