"""Base of the tasks about a time that may be censored."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.metrics import Cases, RiskCases, SurvivalCases, TargetType
from slidenet.tasks.predictions import PredictionArrays
from slidenet.tasks.targets import LabelCells, Lack, Stratum, Targets, quarters
from slidenet.tasks.task import Output, Shapes, Task


@dataclass(frozen=True)
class SurvivalTask(Task):
    """Targets are (time, event); a bag without event is right-censored at its time."""

    output: ClassVar[Output] = "risk"
    headline: ClassVar[str] = "c_index"

    def _wrong_columns(self) -> str:
        two = len(set(self.label_columns)) == len(self.label_columns) == 2
        return "" if two else "two columns, time and event"

    def encode(self, cells: LabelCells) -> Targets:
        """(N, 2), time and event."""
        time, event = self.label_columns
        return np.stack([cells.times(time), cells.events(event)], axis=1)

    def target_shape(self, num_bags: int) -> tuple[int, ...]:
        """(N, 2)."""
        return (num_bags, 2)

    def check_targets(self, targets: Targets) -> tuple[BoolArray, str]:
        """See `Task.check_targets`."""
        time, event = targets.T
        good = np.isfinite(time) & (time > 0) & np.isin(event, (0, 1))
        return good, "a positive time, and an event of 0 or 1"

    def find_lack(self, targets: Targets) -> Lack | None:
        """See `Task.find_lack`: no event."""
        if targets[:, 1].any():
            return None
        return Lack(self.label_columns[1], "holds no event (all are 0)", "at least one 1")

    def strata(self, targets: Targets) -> list[Stratum]:
        """Event, which every split needs, and censored."""
        event = targets[:, 1] == 1
        return [
            Stratum("event", event, absence=f"event ({self.label_columns[1]} 1)"),
            Stratum("censored", ~event, needed=False),
        ]

    def codes(self, targets: Targets) -> Mapping[str, IntArray]:
        """Quarters of the martingale residual, high where events came early."""
        residual = martingale_residual(targets[:, 0], targets[:, 1])
        return {" and ".join(self.label_columns): quarters(residual)}

    def prediction_shapes(self, num_bags: int, prediction: PredictionArrays) -> Shapes:
        """See `Task.prediction_shapes`; curves are optional unless there are `time_edges`."""
        times = self.time_edges or prediction.survival_times
        curves = self.has_time_bins or prediction.survival is not None
        return {"risk": (num_bags,), **({"survival": (num_bags, len(times))} if curves else {})}

    def target_type(self, curves: bool | None = None) -> TargetType:
        """See `Task.target_type`."""
        with_curves = not self.needs_baseline if curves is None else curves
        return "censored, with curves" if with_curves else "censored"

    def cases(self, prediction: PredictionArrays, target: Targets, threshold: float) -> Cases:
        """See `Task.cases`."""
        risk, survival = prediction.risk, prediction.survival
        assert risk is not None
        if survival is None:
            return RiskCases(risk, target)
        return SurvivalCases(risk, target, survival, prediction.survival_times)


def martingale_residual(
    time: npt.NDArray[np.generic], event: npt.NDArray[np.generic]
) -> npt.NDArray[np.float64]:
    """Event less the Nelson-Aalen cumulative hazard at its time, of every bag.

    Args:
        time: (N,).
        event: (N,), 1 where it happened.
    """
    time, event = time.astype(np.float64), event.astype(np.float64)
    happened = np.unique(time[event == 1])
    at_risk = (time[None, :] >= happened[:, None]).sum(1)
    deaths = ((time[None, :] == happened[:, None]) & (event == 1)).sum(1)
    hazard = np.concatenate([[0.0], np.cumsum(deaths / at_risk)])
    residual: npt.NDArray[np.float64] = (
        event - hazard[np.searchsorted(happened, time, side="right")]
    )
    return residual
