"""A value, such as an age or a score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.metrics import Cases, TargetType, ValueCases
from slidenet.tasks.calibration import Calibration
from slidenet.tasks.explained import ExplainedTarget
from slidenet.tasks.predictions import PredictionArrays, to_array
from slidenet.tasks.targets import NUM_QUARTERS, LabelCells, Lack, Stratum, Targets, quarters
from slidenet.tasks.task import Output, Scale, Shapes, Task


@dataclass(frozen=True)
class RegressionTask(Task):
    """The value itself, by its mean squared error."""

    kind = "regression"
    output: ClassVar[Output] = "value"
    headline: ClassVar[str] = "r2"
    scales_target: ClassVar[bool] = True

    def encode(self, cells: LabelCells) -> Targets:
        """(N,)."""
        return cells.values(self.label_columns[0])

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        return np.isfinite(targets), "a finite number"

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: one value only."""
        found = np.unique(targets)
        if len(found) >= 2:
            return None
        only = f"{found[0]:g}" if len(found) else "nothing"
        return Lack(self.label_columns[0], f"holds one value only ({only})", "at least two values")

    def strata(self, targets: Targets) -> list[Stratum]:
        """Quarters of the values, which no split needs."""
        quarter, column = quarters(targets.astype(np.float64)), self.label_columns[0]
        return [
            Stratum(f"quarter {i + 1} of {column}", quarter == i, needed=False)
            for i in range(NUM_QUARTERS)
        ]

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """Quarters of the values."""
        return {self.label_columns[0]: quarters(targets.astype(np.float64))}

    def target_scale(self, targets: Targets) -> tuple[Scale, Scale]:
        """Mean and standard deviation of the training labels."""
        return float(targets.mean()), float(targets.std())

    def _loss(self, logits: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
        return F.mse_loss(logits[:, 0], target.to(logits))

    def _predict(self, logits: Tensor, calibration: Calibration) -> PredictionArrays:
        return PredictionArrays(value=to_array(logits[:, 0]))

    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """See `Task.prediction_shapes`."""
        return {"value": (num_bags,)}

    def explained_targets(self) -> tuple[ExplainedTarget, ...]:
        """The value."""
        return (ExplainedTarget(self.label_columns[0], (1.0,), relative=True),)

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        return "continuous"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        assert prediction.value is not None
        return ValueCases(prediction.value.astype(np.float64), target.astype(np.float64))
