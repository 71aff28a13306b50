"""How tasks are called in reports, and which metric leads."""

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
