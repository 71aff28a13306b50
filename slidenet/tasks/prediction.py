"""From logits to what a task predicts: probabilities, a value, a risk, a survival curve."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.arrays import FloatArray
from slidenet.tasks.baseline import BreslowBaseline
from slidenet.tasks.task import Task


@dataclass(frozen=True, eq=False)
class PredictionArrays:
    """Predictions of B bags as arrays; what `compute_metrics` takes.

    Attributes:
        probabilities: (B, K). "binary" has two columns that sum to one; "multilabel" one
            independent probability per label.
        value: (B,), for "regression".
        risk: (B,), higher = earlier event, for survival.
        survival: (B, T), P(time > survival_times[t]), for survival.
        survival_times: The T times, ascending, in the unit of the time column.
    """

    probabilities: FloatArray | None = None
    value: FloatArray | None = None
    risk: FloatArray | None = None
    survival: FloatArray | None = None
    survival_times: tuple[float, ...] = ()

    def take(self, index: npt.NDArray[Any]) -> "PredictionArrays":
        """The predictions of some bags, by index or bool; for resampling and folds."""
        kept = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        return PredictionArrays(**kept, survival_times=self.survival_times)


@dataclass(frozen=True, eq=False)
class TaskPrediction:
    """Predictions of B bags as tensors; fields as in `PredictionArrays`, None where not made."""

    probabilities: Tensor | None = None
    value: Tensor | None = None
    risk: Tensor | None = None
    survival: Tensor | None = None
    survival_times: tuple[float, ...] = ()

    def to(self, device: torch.device | str) -> "TaskPrediction":
        """The same on another device; Lightning calls this."""
        return replace(self, **{name: part.to(device) for name, part in self._parts().items()})

    def numpy(self) -> PredictionArrays:
        """The same as arrays on the CPU."""
        arrays = {name: part.detach().cpu().numpy() for name, part in self._parts().items()}
        return PredictionArrays(**arrays, survival_times=self.survival_times)

    def _parts(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def predict_task(
    task: Task,
    logits: Tensor,
    *,
    temperature: float = 1.0,
    baseline: BreslowBaseline | None = None,
) -> TaskPrediction:
    """What a model's logits predict, in float32.

    Args:
        task: What is predicted.
        logits: (B, `task.num_outputs`).
        temperature: Divides the logits of classification tasks (Guo et al. 2017).
        baseline: Of a Cox model: with it, survival is given at its report times.

    Returns:
        Probabilities for classification (ordinal: of the classes, by CORN's chain of conditional
        probabilities), the value for regression, risk and survival for "discrete_time" (risk =
        minus the summed survival, as in Zadeh and Schmid 2020), risk for "cox".
    """
    assert logits.ndim == 2, "logits are (bags, outputs)"
    assert logits.shape[1] == task.num_outputs, f"{task.num_outputs} outputs, got {logits.shape}"
    logits = logits.float()
    if task.is_classification:
        return TaskPrediction(probabilities=_probabilities(task, logits / temperature))
    match task.kind:
        case "regression":
            return TaskPrediction(value=logits[:, 0])
        case "discrete_time":
            survival = (1 - logits.sigmoid()).cumprod(1)
            return TaskPrediction(
                risk=-survival.sum(1), survival=survival, survival_times=task.time_edges
            )
        case _:
            risk = logits[:, 0]
            if baseline is None:
                return TaskPrediction(risk=risk)
            times = baseline.report_times
            return TaskPrediction(
                risk=risk, survival=baseline.survival(risk, times), survival_times=times
            )


def _probabilities(task: Task, logits: Tensor) -> Tensor:
    match task.kind:
        case "binary":
            return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=1)
        case "multiclass":
            return logits.softmax(1)
        case "ordinal":
            ones = torch.ones_like(logits[:, :1])
            beyond = torch.cat([ones, logits.sigmoid().cumprod(1)], dim=1)  # P(y > k - 1)
            stop = torch.cat([(-logits).sigmoid(), ones], dim=1)  # P(y = k | y >= k)
            return beyond * stop
        case _:
            return logits.sigmoid()
