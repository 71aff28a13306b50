"""All metrics by name, and what is computed and reported for a type of target."""

from collections.abc import Sequence

from slidenet.core.registry import Registry
from slidenet.metrics.classification import CLASSIFICATION
from slidenet.metrics.metric import Cases, Metric, TargetType
from slidenet.metrics.regression import REGRESSION
from slidenet.metrics.survival import SURVIVAL

METRICS: Registry[Metric] = Registry("metric")
_IN_ORDER = tuple(
    METRICS.add(metric.name, metric) for metric in (*CLASSIFICATION, *REGRESSION, *SURVIVAL)
)


def compute_metrics(cases: Cases, class_names: Sequence[str] = ()) -> dict[str, float]:
    """Every metric of these bags.

    Args:
        cases: Predictions with the truth.
        class_names: The K classes or labels of "multiclass" and "multilabel".

    Returns:
        Metric name -> value, in the order of `metric_names`.
    """
    values: dict[str, float] = {}
    each: dict[str, float] = {}
    for metric in _IN_ORDER:
        if cases.target_type in metric.target_types:
            values[metric.name], by_class = cases.measure(metric)
            if by_class:
                names = (f"{metric.name}_{name}" for name in class_names)
                each |= dict(zip(names, by_class, strict=True))
    return {**values, **each}


def metric_names(target_type: TargetType, class_names: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that `compute_metrics` gives."""
    metrics = [metric for metric in _IN_ORDER if target_type in metric.target_types]
    each = [
        f"{metric.name}_{name}"
        for metric in metrics
        for name in class_names
        if metric.by_class and target_type in ("multiclass", "multilabel")
    ]
    return (*(metric.name for metric in metrics), *each)


def metric_of(name: str, class_names: Sequence[str] = ()) -> tuple[Metric, str]:
    """The metric that a reported name is of, and the class where it is of one class.

    Args:
        name: Of `metric_names`.
        class_names: Of the task.

    Raises:
        UnknownNameError: There is no such metric.
    """
    if name in METRICS:
        return METRICS[name], ""
    for class_name in class_names:
        stem = name.removesuffix(f"_{class_name}")
        if stem != name and stem in METRICS:
            return METRICS[stem], class_name
    raise METRICS.unknown(name)


def metric_words(name: str, class_names: Sequence[str] = ()) -> str:
    """A reported name as people say it: `auroc_kras` is "AUROC of kras"."""
    metric, class_name = metric_of(name, class_names)
    return f"{metric.words} of {class_name}" if class_name else metric.words
