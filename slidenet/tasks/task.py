"""`Task`: what a slide classifier predicts, and all that depends on it; a class per kind.

A task is handed from the labels to the model, the loss, the metrics and the predictions file, and
is stored in a checkpoint, so that a model of one task is never applied to another by accident.
Targets of B bags, as tensors or arrays of these shapes:

============= ==================================================== ======================
kind          target                                               outputs of a model
============= ==================================================== ======================
binary        int64 (B,), 0 or 1 = index into class_names           1 logit of class 1
multiclass    int64 (B,), index into class_names                    one logit per class
multilabel    float32 (B, K), 0, 1 or NaN where the label is missing one logit per label
ordinal       int64 (B,), index into class_names, in order           K - 1: P(y > k | y >= k)
regression    float32 (B,)                                          the value
cox           float32 (B, 2), (time, event); event 1 = happened     log hazard ratio
discrete_time float32 (B, 2), (time, event)                         one hazard logit per bin
multitask     float32 (B, W), those of several targets side by side those of the targets
============= ==================================================== ======================

To add a kind: a class in the file of its family or of its own, and `slidenet.tasks.registry`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity
from slidenet.metrics import DEFAULT_THRESHOLD, Cases, TargetType, metric_of
from slidenet.metrics import compute_metrics as compute
from slidenet.metrics import metric_names as names_of
from slidenet.tasks.calibration import UNCALIBRATED, Calibration
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets

if TYPE_CHECKING:
    from slidenet.tasks.registry import TaskKind

Shapes = Mapping[str, tuple[int, ...]]
Output = Literal["probabilities", "value", "risk", "several"]
Scale = float | tuple[float, ...]
"""Of all targets, or of each output where there are several targets."""


@dataclass(frozen=True)
class Task(ABC):
    """One prediction task, fully specified; base of all kinds.

    Attributes:
        label_columns: Columns of the table of labels: one; one per label for "multilabel"; (time,
            event) for survival.
        class_names: Classes in the order of the outputs, as written in the table. For "binary" the
            negative class first; for "multilabel" the label columns; else empty.
        time_edges: For "discrete_time": upper edges of the bins, ascending, in the unit of the time
            column; bin t holds edges[t - 1] < time <= edges[t], and what lasts beyond the last edge
            is censored there.

    Raises:
        ConfigError: For columns, classes or edges that do not fit the kind.
    """

    label_columns: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    time_edges: tuple[float, ...] = ()

    kind: "ClassVar[TaskKind]"
    """Its name in settings, files and messages."""
    output: ClassVar[Output]
    """Which array of `PredictionArrays` it fills first."""
    headline: ClassVar[str]
    """The metric that leads a report."""
    monitor: ClassVar[str] = "val_loss"
    """Logged value by which the best epoch is chosen.

    The loss, because with the few bags of a validation set AUROC is soon 1 and then tells no epochs
    apart.
    """
    exclusive_classes: ClassVar[bool] = False
    """Whether a bag is of one class, and its probabilities add up to one."""
    ordered_classes: ClassVar[bool] = False
    """Whether the order of the classes means something."""
    has_positive_class: ClassVar[bool] = False
    """Whether one score decides between two classes, the second of which is the positive one."""
    takes_threshold: ClassVar[bool] = False
    """Whether something is called present from a probability on."""
    partial_labels: ClassVar[bool] = False
    """Whether some labels of a bag may be missing."""
    has_time_bins: ClassVar[bool] = False
    """Whether it needs `time_edges`."""
    needs_baseline: ClassVar[bool] = False
    """Whether survival curves need a baseline hazard (`Calibration.baseline`)."""
    scales_target: ClassVar[bool] = False
    """Whether a network learns (target - offset) / scale; see `target_scale`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_columns", tuple(self.label_columns))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "time_edges", tuple(float(t) for t in self.time_edges))
        found = {
            "label_columns": f"label columns {', '.join(self.label_columns) or 'none'}",
            "class_names": f"classes {', '.join(self.class_names) or 'none'}",
            "time_edges": f"time edges {self.time_edges}",
        }
        for name, (fits, expected) in self._rules().items():
            if not fits:
                raise ConfigError(f"{found[name]} for a {self.kind} task", expected=expected)

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """By attribute: whether it fits the kind, and what is expected; kinds replace theirs."""
        return {
            "label_columns": (len(self.label_columns) == 1, "one column"),
            "class_names": (not self.class_names, "no classes"),
            "time_edges": (not self.time_edges, "no time edges"),
        }

    @property
    def has_classes(self) -> bool:
        """Whether the model gives probabilities of classes."""
        return self.output == "probabilities"

    @property
    def is_survival(self) -> bool:
        """Whether the target is a time with an event."""
        return self.output == "risk"

    @property
    def num_classes(self) -> int:
        """Number of classes (labels for "multilabel"); 0 where there are none."""
        return len(self.class_names)

    @property
    def num_outputs(self) -> int:
        """Length of the vector a model gives per bag."""
        return 1

    def identity(self) -> Identity:
        """The task as plain JSON, for checkpoints and reports; see `task_from_identity`."""
        return {
            "kind": self.kind,
            "label_columns": list(self.label_columns),
            "class_names": list(self.class_names),
            "time_edges": list(self.time_edges),
        }

    def describe(self) -> str:
        """The task in one clause: `a binary task (column status; classes no, yes)`."""
        article = "an" if self.kind[0] in "aeiou" else "a"
        plural = "s" if len(self.label_columns) > 1 else ""
        details = [f"column{plural} {', '.join(self.label_columns)}"]
        if self.class_names and self.class_names != self.label_columns:
            details.append(f"classes {', '.join(self.class_names)}")
        if self.time_edges:
            details.append(f"time edges {', '.join(f'{edge:g}' for edge in self.time_edges)}")
        return f"{article} {self.kind} task ({'; '.join(details)})"

    # Targets.

    @abstractmethod
    def encode(self, cells: LabelCells) -> Targets:
        """The targets in a table of labels."""

    def target_shape(self, num_bags: int) -> tuple[int, ...]:
        """Of the targets of so many bags."""
        return (num_bags,)

    @abstractmethod
    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """Which targets are possible, bool (N,), and what a possible one is."""

    @abstractmethod
    def find_lack(self, targets: Targets) -> Lack | None:
        """Why nothing can be learned from these targets; None where something can."""

    @abstractmethod
    def strata(self, targets: Targets) -> list[Stratum]:
        """What a split keeps in proportion: classes, either value of a label, events."""

    @abstractmethod
    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """The labels as small classes, by the name of the label; -1 where missing."""

    def target_scale(self, targets: Targets) -> tuple[Scale, Scale]:
        """Offset and scale of the targets that a network learns; see `scales_target`."""
        return 0.0, 1.0

    # Training.

    def loss(self, logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """The training loss of a batch of bags, in float32 whatever the logits are.

        Weighted losses are divided by the number of bags, not by the sum of their weights: with one
        bag per batch the weights would otherwise cancel.

        Args:
            logits: (B, `num_outputs`).
            target: As the table of this module says for the kind.
            class_weights: (K,) weight of each class; for "multilabel" the weight of each label's
                positives. Not for regression and survival.

        Returns:
            Scalar.
        """
        self._check_logits(logits)
        self.check_class_weights(None if class_weights is None else len(class_weights))
        logits = logits.float()
        weights = None if class_weights is None else class_weights.to(logits)
        return self._loss(logits, target, weights)

    @abstractmethod
    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor: ...

    def check_class_weights(self, count: int | None) -> None:
        """Refuses weights for a task without classes, or in another number than its classes.

        Raises:
            ConfigError: Naming the classes.
        """
        if count is not None:
            raise ConfigError(
                f"{count} class weights for a {self.kind} task", expected="no class weights"
            )

    def check_batch_size(self, batch_size: int) -> None:  # noqa: B027 - any size does for most
        """Refuses batches too small to learn anything from.

        Raises:
            ConfigError: Saying what to set.
        """

    def output_targets(self, target: Tensor) -> Tensor | None:
        """What each output of each bag stands for, for losses on single tiles.

        Returns:
            float32 (B, `num_outputs`): 1 yes, 0 no, NaN not known; None where outputs are no
            classes.
        """
        return None

    def instance_loss(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """Classification loss of one tile per bag and output; None where outputs are no classes.

        Args:
            logits: float32 (B, `num_outputs`).
            target: Of the bags.
        """
        return None

    # Prediction.

    def predict(self, logits: Tensor, calibration: Calibration = UNCALIBRATED) -> PredictionArrays:
        """What a model's logits predict, in float32.

        Args:
            logits: (B, `num_outputs`), on any device.
            calibration: Temperature and baseline to apply.
        """
        self._check_logits(logits)
        with torch.no_grad():
            return self._predict(logits.float(), calibration)

    @abstractmethod
    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays: ...

    @abstractmethod
    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """Shapes of the arrays that a prediction of so many bags has, by name."""

    def check_calibration(self, calibration: Calibration) -> None:
        """Refuses values that are no calibration, and what this task has no use for.

        Raises:
            ConfigError: Naming the value.
        """
        calibration.check()
        threshold, temperature = calibration.threshold, calibration.temperature
        if calibration.targets:
            count = len(calibration.targets)
            raise ConfigError(f"{count} calibrations for a {self.kind} task", expected="one")
        if threshold is not None and not self.takes_threshold:
            raise ConfigError(
                f"threshold {threshold:g} for a {self.kind} task",
                expected="a binary or multilabel task",
            )
        if temperature != 1 and not self.has_classes:
            raise ConfigError(
                f"temperature {temperature:g} for a {self.kind} task",
                expected="a classification task",
            )
        if calibration.baseline is not None and not self.needs_baseline:
            raise ConfigError(f"a baseline hazard for a {self.kind} task", expected="a cox task")

    def decide(
        self, prediction: PredictionArrays, threshold: float | None = None
    ) -> list[str] | None:
        """What is called: the class beyond the threshold, the likeliest one, the labels present.

        Args:
            prediction: Of N bags.
            threshold: Where `takes_threshold`; 0.5 where None.

        Returns:
            One text per bag; None for tasks without classes.
        """
        return None

    def describe_predictions(
        self, prediction: PredictionArrays, threshold: float | None = None
    ) -> list[str]:
        """One clause per bag: what is called and how sure the model is, or the number predicted."""
        name = "risk" if self.is_survival else self.label_columns[0]
        return [f"{name} {value:.3g}" for value in getattr(prediction, self.output)]

    def prediction_columns(self, prediction: PredictionArrays) -> Mapping[str, FloatArray]:
        """What is predicted as the columns of a file: name to (N,)."""
        return prediction.columns(self.class_names)

    def label_cells(self, targets: Targets) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
        """Targets as the columns of a file, by label column."""
        if self.exclusive_classes:
            return {self.label_columns[0]: [self.class_names[int(t)] for t in targets]}
        labels = targets.reshape(len(targets), len(self.label_columns)).T
        return dict(zip(self.label_columns, labels, strict=True))

    @abstractmethod
    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """What can be explained of the logits: every class or label, the value, the risk."""

    # Metrics.

    def compute_metrics(
        self,
        prediction: PredictionArrays,
        target: Targets,
        *,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> dict[str, float]:
        """Every metric of the task on N bags (`slidenet.metrics.METRICS`).

        NaN means that a metric is not defined on these bags (a class without bags, a constant
        target, no comparable pair, a prediction that is not finite); a mean over classes is NaN if
        one of them is.

        Args:
            prediction: Of N bags.
            target: Of N bags.
            threshold: From which probability on a class of "binary" or a label is predicted.

        Returns:
            Metric name -> value, always the same names for one task and kind of prediction.
        """
        if not prediction.is_finite:
            names = self.metric_names(curves=prediction.survival is not None)
            return dict.fromkeys(names, float("nan"))
        return compute(self.cases(prediction, target, threshold), self.class_names)

    def metric_names(self, *, curves: bool | None = None) -> tuple[str, ...]:
        """Names that `compute_metrics` gives.

        Args:
            curves: Whether survival curves are predicted; by default where no baseline is needed
                for them.
        """
        return names_of(self.target_type(curves), self.class_names)

    @abstractmethod
    def target_type(self, curves: bool | None = None) -> TargetType:
        """Which metrics apply; `curves` as for `metric_names`."""

    @abstractmethod
    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """The arrays that metrics take; arguments as for `compute_metrics`."""

    def lower_is_better(self, monitor: str) -> bool:
        """Whether a logged value is better when lower.

        Args:
            monitor: `val_loss`, or `val_` and a name of `metric_names`.

        Raises:
            ConfigError: If no such value is logged for this task.
        """
        known = ["loss", *self.metric_names()]
        name = monitor.removeprefix("val_")
        if name not in known or name == monitor:
            raise ConfigError(
                f"monitor {monitor!r} for a {self.kind} task",
                expected=f"one of {', '.join('val_' + k for k in known)}",
            )
        return name == "loss" or metric_of(name, self.class_names)[0].lower_is_better

    def _check_logits(self, logits: Tensor) -> None:
        assert logits.ndim == 2, "logits are (bags, outputs)"
        assert logits.shape[1] == self.num_outputs, f"{self.num_outputs} outputs: {logits.shape}"
