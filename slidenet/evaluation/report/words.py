"""How metrics and tasks are called in reports, which one leads, and which are better when small."""

from slidenet.tasks.task import Task, TaskKind

HEADLINE: dict[TaskKind, str] = {
    "binary": "auroc",
    "multiclass": "auroc",
    "multilabel": "auroc",
    "ordinal": "quadratic_kappa",
    "regression": "r2",
    "cox": "c_index",
    "discrete_time": "c_index",
}

LOWER_IS_BETTER = frozenset({"brier", "ece", "mae", "integrated_brier"})

_WORDS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "quadratic_kappa": "quadratic weighted kappa",
    "mae": "mean absolute error",
    "r2": "R²",
    "spearman": "Spearman correlation",
    "c_index": "c-index",
    "integrated_brier": "integrated Brier score",
}


def metric_words(name: str, task: Task) -> str:
    """The name of a metric as people say it: `auroc_kras` is "AUROC of kras"."""
    if name in _WORDS:
        return _WORDS[name]
    for class_name in task.class_names:
        words = _WORDS.get(name.removesuffix(f"_{class_name}"))
        if words and name.endswith(f"_{class_name}"):
            return f"{words} of {class_name}"
    return name


def task_words(task: Task) -> str:
    """A task in one clause: `a binary task (column status; classes no, yes)`."""
    article = "an" if task.kind == "ordinal" else "a"
    plural = "s" if len(task.label_columns) > 1 else ""
    details = [f"column{plural} {', '.join(task.label_columns)}"]
    if task.class_names and task.kind != "multilabel":
        details.append(f"classes {', '.join(task.class_names)}")
    if task.time_edges:
        details.append(f"time edges {', '.join(f'{edge:g}' for edge in task.time_edges)}")
    return f"{article} {task.kind} task ({'; '.join(details)})"
