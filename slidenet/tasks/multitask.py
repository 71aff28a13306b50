"""Several targets of a bag at once, each a task of another kind; any of them may be unknown.

Targets of B bags lie side by side as float32 (B, W), a column for each label column, NaN where a
target is not known; logits lie side by side likewise. The first target leads: its classes must be
in every split, and its headline metric is that of the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.arrays import BoolArray, FloatArray, IntArray
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity
from slidenet.metrics import DEFAULT_THRESHOLD, Cases, TargetType
from slidenet.tasks.calibration import UNCALIBRATED, Calibration
from slidenet.tasks.classes import ClassTask
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.parts import Part, check_names, explained_parts, lay_out
from slidenet.tasks.predictions import JointPredictions, PredictionArrays
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets
from slidenet.tasks.task import Output, Scale, Shapes, Task

MULTITASK = "multitask"


@dataclass(frozen=True)
class MultiTask(Task):
    """Several targets of a bag; what is said of one is asked of its part.

    Attributes:
        targets: The task of each target by its name, in order.
        loss_weights: How much the loss of each target counts; all alike where not given. A setting
            of a training, so no part of the identity.

    Raises:
        ConfigError: Fewer than two targets, or names that cannot be those of files and metrics.
    """

    targets: Mapping[str, Task] = field(default_factory=dict)
    loss_weights: tuple[float, ...] = field(default=(), compare=False)

    # Not among the kinds of flags: several targets are given as such, each of one of those kinds.
    kind: ClassVar[Any] = MULTITASK
    output: ClassVar[Output] = "several"
    headline: ClassVar[str] = ""
    partial_labels: ClassVar[bool] = True
    scales_target: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_names(tuple(self.targets))
        for name, task in self.targets.items():
            if isinstance(task, MultiTask):
                raise ConfigError(f"target {name!r} holds several targets", expected="one target")
        columns = [column for task in self.targets.values() for column in task.label_columns]
        object.__setattr__(self, "label_columns", tuple(columns))
        weights = self.loss_weights or (1 / len(self.targets),) * len(self.targets)
        object.__setattr__(self, "loss_weights", tuple(float(w) for w in weights))
        if len(self.loss_weights) != len(self.targets) or not all(
            0 < weight < float("inf") for weight in self.loss_weights
        ):
            raise ConfigError(
                f"loss weights {self.loss_weights} for the targets {', '.join(self.targets)}",
                expected="one positive number for each",
            )
        super().__post_init__()

    def _rules(self) -> dict[str, tuple[bool, str]]:
        return super()._rules() | {"label_columns": (True, "")}

    def __hash__(self) -> int:
        return hash((self.kind, tuple(self.targets.items())))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The targets, and where they lie."""
        return lay_out(self.targets)

    @property
    def num_outputs(self) -> int:
        """Outputs of all targets."""
        return int(self.parts[-1].outputs.stop)

    def weighted(self, loss_weights: Sequence[float]) -> Self:
        """The same targets with other weights of their losses."""
        return replace(self, loss_weights=tuple(loss_weights))

    def identity(self) -> Identity:
        """See `Task.identity`."""
        # A list: the keys of a mapping are sorted where it is written, and the order counts.
        targets = [{"name": name, **task.identity()} for name, task in self.targets.items()]
        return {**super().identity(), "targets": targets}

    def describe(self) -> str:
        """The targets in one clause."""
        each = (f"{name}: {task.describe()}" for name, task in self.targets.items())
        return f"a task of {len(self.targets)} targets ({'; '.join(each)})"

    def encode(self, cells: LabelCells) -> Targets:
        """float32 (N, W), NaN where a target is missing; see `Part`."""
        targets = np.full((len(cells), len(self.label_columns)), np.nan, dtype=np.float32)
        for part in self.parts:
            rows = cells.labelled(part.task)
            if len(rows):
                found = part.task.encode(cells.take(rows))
                targets[rows, part.columns] = found.reshape(len(rows), -1)
        return targets

    def target_shape(self, num_bags: int) -> tuple[int, ...]:
        """(N, W)."""
        return (num_bags, len(self.label_columns))

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        good, words = np.ones(len(targets), np.bool_), []
        for part in self.parts:
            known = part.known(targets)
            fits, expected = part.task.check_targets(part.own(targets[known]))
            good[known] &= fits
            words.append(f"{part.name}: {expected}")
        return good, "; ".join(words)

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: of the first target that lacks something."""
        for part in self.parts:
            lack = part.task.find_lack(part.own(targets[part.known(targets)]))
            if lack is not None:
                return lack
        return None

    def strata(self, targets: Targets) -> list[Stratum]:
        """Those of every target, of the bags that have it; every split needs the first one's."""
        found: list[Stratum] = []
        for part in self.parts:
            known = part.known(targets)
            if not known.any():
                continue
            for stratum in part.task.strata(part.own(targets[known])):
                members = np.zeros(len(targets), np.bool_)
                members[known] = stratum.members
                needed = stratum.needed and part is self.parts[0]
                found.append(replace(stratum, members=members, needed=needed))
        return found

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """Those of every target."""
        found: dict[str, IntArray] = {}
        for part in self.parts:
            known = part.known(targets)
            if known.any():
                for name, codes in part.task.codes(part.own(targets[known])).items():
                    found[name] = np.full(len(targets), -1, np.int64)
                    found[name][known] = codes
        return found

    def target_scale(self, targets: Targets) -> tuple[Scale, Scale]:
        """Offset and scale of each output; 0 and 1 where a target is learned as it is."""
        offsets, scales = np.zeros(self.num_outputs), np.ones(self.num_outputs)
        for part in self.parts:
            if part.task.scales_target:
                own = part.own(targets[part.known(targets)])
                offsets[part.outputs], scales[part.outputs] = part.task.target_scale(own)
        return tuple(offsets.tolist()), tuple(scales.tolist())

    def balanced_weights(self, targets: Targets) -> FloatArray:
        """Weights of the classes of every target that has any, one after the other."""
        found = [
            np.asarray(part.task.balanced_weights(part.own(targets[part.known(targets)])))
            for part in self.parts
            if isinstance(part.task, ClassTask)
        ]
        weights: FloatArray = np.concatenate(found)
        return weights

    # Training.

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        losses = self._part_losses(logits, target, weights)
        # Every parameter stays in the graph, as DDP wants, also where no bag has a target.
        return logits.sum() * 0.0 + sum(
            self.loss_weights[position] * loss for position, loss in losses.items()
        )

    def target_losses(
        self, logits: Tensor, target: Tensor, class_weights: Tensor | None = None
    ) -> dict[str, float]:
        """`<target>_loss` of each, weighed as in the whole; NaN where no bag has the target."""
        weights = None if class_weights is None else class_weights.to(logits)
        losses = self._part_losses(logits.float(), target, weights)
        shares = [len(self.parts) * weight for weight in self.loss_weights]
        return {
            name: float(shares[i] * losses[i]) if i in losses else float("nan")
            for i, name in enumerate(self.loss_names)
        }

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names that `target_losses` gives."""
        return tuple(f"{name}_loss" for name in self.targets)

    def _part_losses(
        self, logits: Tensor, target: Tensor, weights: Tensor | None
    ) -> dict[int, Tensor]:
        """The loss of each target on the bags that have it, where any does."""
        found: dict[int, Tensor] = {}
        for position, part in enumerate(self.parts):
            known, own = part.own_tensor(target)
            if known.any():
                of_classes = weights is not None and isinstance(part.task, ClassTask)
                found[position] = part.task.loss(
                    logits[known][:, part.outputs],
                    own,
                    weights[part.weights] if of_classes and weights is not None else None,
                )
        return found

    def check_class_weights(self, count: int | None) -> None:
        """See `Task.check_class_weights`."""
        wanted = self.parts[-1].weights.stop
        if count is not None and (not wanted or count != wanted):
            raise ConfigError(
                f"{count} class weights for {self.describe()}",
                expected=f"{wanted} weights, those of all classes one after the other"
                if wanted
                else "no class weights, as no target has classes",
            )

    def check_batch_size(self, batch_size: int) -> None:
        """See `Task.check_batch_size`: for each target."""
        for task in self.targets.values():
            task.check_batch_size(batch_size)

    def output_targets(self, target: Tensor) -> Tensor | None:
        """See `Task.output_targets`; NaN for targets without classes too."""
        found = torch.full((len(target), self.num_outputs), torch.nan, device=target.device)
        any_classes = False
        for part in self.parts:
            known, own = part.own_tensor(target)
            wanted = part.task.output_targets(own)
            if wanted is not None:
                any_classes = True
                rows = known.nonzero()[:, 0]
                found[rows, part.outputs] = wanted
        return found if any_classes else None

    def instance_loss(self, logits: Tensor, target: Tensor) -> Tensor | None:
        """See `Task.instance_loss`; those of the targets with classes, weighed as their losses."""
        total: Tensor | None = None
        for part, weight in zip(self.parts, self.loss_weights, strict=True):
            known, own = part.own_tensor(target)
            one = part.task.instance_loss(logits[:, part.outputs][known], own)
            if one is None:
                continue
            # Where no bag has the target its loss is the mean of nothing.
            one = weight * one if known.any() else logits.sum() * 0.0
            total = one if total is None else total + one
        return total

    # Prediction.

    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays:
        return JointPredictions(
            by_target={
                part.name: part.task.predict(
                    logits[:, part.outputs], calibration.targets.get(part.name, UNCALIBRATED)
                )
                for part in self.parts
            }
        )

    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """See `Task.prediction_shapes`; names are `<target>/<array>`."""
        return {
            f"{name}/{array}": shape
            for name, task in self.targets.items()
            for array, shape in task.prediction_shapes(
                num_bags, joint(prediction).by_target[name]
            ).items()
        }

    def check_calibration(self, calibration: Calibration) -> None:
        """See `Task.check_calibration`; each target has a calibration of its own."""
        calibration.check()
        if calibration != replace(UNCALIBRATED, targets=calibration.targets):
            raise ConfigError(
                "one calibration for several targets", expected="one for each of the targets"
            )
        unknown = [name for name in calibration.targets if name not in self.targets]
        if unknown:
            raise ConfigError(
                f"a calibration of the target {unknown[0]!r}",
                expected=f"one of {', '.join(self.targets)}",
            )
        for name, of_target in calibration.targets.items():
            self.targets[name].check_calibration(of_target)

    def prediction_columns(self, prediction: PredictionArrays) -> Mapping[str, FloatArray]:
        """See `Task.prediction_columns`: `<target>_<column>`."""
        return {
            f"{part.name}_{name}": column
            for part in self.parts
            for name, column in part.task.prediction_columns(
                joint(prediction).by_target[part.name]
            ).items()
        }

    def label_cells(self, targets: Targets) -> dict[str, Sequence[Any] | npt.NDArray[Any]]:
        """See `Task.label_cells`: `<target>_<column>`, empty where the target is not known."""
        found: dict[str, Sequence[Any] | npt.NDArray[Any]] = {}
        for part in self.parts:
            known = part.known(targets)
            for name, cells in part.task.label_cells(part.own(targets[known])).items():
                column = np.full(len(targets), None, dtype=object)
                column[known] = cells
                found[f"{part.name}_{name}"] = column
        return found

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """See `Task.explained_targets`."""
        return explained_parts(self.parts)

    # Metrics.

    def compute_metrics(
        self,
        prediction: PredictionArrays,
        target: Targets,
        *,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> dict[str, float]:
        """See `Task.compute_metrics`: `<target>_<metric>`, on the bags that have the target."""
        found: dict[str, float] = {}
        for part in self.parts:
            known, predicted = part.known(target), joint(prediction).by_target[part.name]
            if known.any():
                values = part.task.compute_metrics(
                    predicted.take(known), part.own(target[known]), threshold=threshold
                )
            else:
                names = part.task.metric_names(curves=predicted.survival is not None)
                values = dict.fromkeys(names, float("nan"))
            found |= {f"{part.name}_{name}": value for name, value in values.items()}
        return found

    def metric_names(self, *, curves: bool | None = None) -> tuple[str, ...]:
        """See `Task.metric_names`."""
        return tuple(
            f"{target}_{name}"
            for target, task in self.targets.items()
            for name in task.metric_names(curves=curves)
        )

    def lower_is_better(self, monitor: str) -> bool:
        """See `Task.lower_is_better`: `val_loss`, `val_<target>_loss`, `val_<target>_<metric>`."""
        name, losses = monitor.removeprefix("val_"), ("loss", *self.loss_names)
        if name != monitor and name in losses:
            return True
        if name != monitor:
            for target, task in self.targets.items():
                metric = name.removeprefix(f"{target}_")
                if metric != name and metric in task.metric_names():
                    return task.lower_is_better(f"val_{metric}")
        known = (*losses, *self.metric_names())
        raise ConfigError(
            f"monitor {monitor!r} for several targets",
            expected=f"one of {', '.join('val_' + k for k in known)}",
        )

    def target_type(self, curves: bool | None = None) -> TargetType:
        """Refused: each target has a type of its own."""
        _refuse_joint()

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """Refused: each target has cases of its own."""
        _refuse_joint()

    @staticmethod
    def from_identity(identity: Mapping[str, Any], make: Any) -> "MultiTask":
        """The task that `identity()` described; `make` makes that of one target."""
        return MultiTask((), targets={one["name"]: make(one) for one in identity["targets"]})


def joint(prediction: PredictionArrays) -> JointPredictions:
    """The same, known to be of several targets."""
    assert isinstance(prediction, JointPredictions), "several targets predict side by side"
    return prediction


def _refuse_joint() -> NoReturn:
    raise ConfigError(
        "the predictions of several targets at once",
        expected="those of one target",
        remedy="take them apart with `slidenet.evaluation.split_predictions`",
    )
