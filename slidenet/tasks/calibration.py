"""What is fitted after training: temperature, threshold and the baseline hazard of a Cox model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.checks import check_not_negative, check_positive, refused
from slidenet.core.errors import ConfigError, LabelError

REPORT_QUANTILES = (0.25, 0.5, 0.75)

MOST_THRESHOLD = float(np.nextafter(np.float32(1), np.float32(2)))
"""A cut-off above a probability of 1, by which nothing is called; rules may choose it."""


@dataclass(frozen=True, slots=True)
class BreslowBaseline:
    """Cumulative baseline hazard of a Cox model, a step function (Breslow 1972).

    Attributes:
        times: Times with an event in the training set, ascending.
        cumulative_hazard: Value from each of them on; zero before the first.
        report_times: Where survival is reported.
    """

    times: tuple[float, ...]
    cumulative_hazard: tuple[float, ...]
    report_times: tuple[float, ...]

    def check(self) -> None:
        """Refuses what is no step function that grows, as a file may hold it.

        Raises:
            ConfigError: Naming the values.
        """
        for name in ("times", "cumulative_hazard", "report_times"):
            for value in getattr(self, name):
                check_not_negative(**{name: value})
        steps = len(self.times) == len(self.cumulative_hazard) > 0
        ascending = all(a < b for a, b in pairwise(self.times))
        if not (
            steps and ascending and list(self.cumulative_hazard) == sorted(self.cumulative_hazard)
        ):
            raise ConfigError(
                f"a baseline hazard of {len(self.times)} times and {len(self.cumulative_hazard)} "
                "values",
                expected="as many values as times, both growing",
            )

    def survival(self, risk: Tensor, at: Sequence[float]) -> Tensor:
        """P(time > t) = exp(-H0(t) exp(risk)).

        Args:
            risk: (B,) log hazard ratios.
            at: T times.

        Returns:
            (B, T), dtype of `risk`.
        """
        step = np.searchsorted(self.times, at, side="right")
        hazard = np.concatenate([[0.0], self.cumulative_hazard])[step]
        return torch.exp(-risk.exp()[:, None] * torch.from_numpy(hazard).to(risk))


@dataclass(frozen=True)
class Calibration:
    """What turns logits into predictions and decisions, fitted on bags of known label.

    Attributes:
        temperature: Divides the logits of a task of classes (Guo et al. 2017).
        threshold: From which probability on a bag is called positive; None where not chosen.
        baseline: Of a Cox model: with it, survival is given at its report times.
        targets: Of several targets: a calibration for each that has one, by its name; then the
            rest says nothing.
    """

    temperature: float = 1.0
    threshold: float | None = None
    baseline: BreslowBaseline | None = None
    targets: Mapping[str, "Calibration"] = field(default_factory=dict)

    def check(self) -> None:
        """Refuses numbers that no fit ends with, as a file may hold them.

        Raises:
            ConfigError: Naming the value.
        """
        check_positive(temperature=self.temperature)
        if self.threshold is not None:
            check_not_negative(threshold=self.threshold)
            if self.threshold > MOST_THRESHOLD:
                raise refused("threshold", self.threshold, "a probability from 0 to 1")
        if self.baseline is not None:
            self.baseline.check()
        for of_target in self.targets.values():
            of_target.check()


UNCALIBRATED = Calibration()


def fit_breslow(
    risk: npt.NDArray[Any], target: npt.NDArray[Any], report_times: Sequence[float] | None = None
) -> BreslowBaseline:
    """The baseline of a trained Cox model.

    Args:
        risk: (N,) log hazard ratios of the training bags.
        target: (N, 2), (time, event) of the training bags.
        report_times: Where survival is to be reported; the quartiles of the times with an event
            where not given.

    Returns:
        The baseline: at each time with d events, the hazard grows by d over the summed exp(risk)
        of the bags still at risk.

    Raises:
        LabelError: Where no bag has an event.
    """
    time, event = target[:, 0], target[:, 1] > 0
    if not event.any():
        raise LabelError(
            "no event among the training bags", expected="at least one, to fit a baseline hazard"
        )
    times, events = np.unique(time[event], return_counts=True)
    order = np.argsort(time)
    at_risk = np.cumsum(np.exp(risk[order].astype(np.float64))[::-1])[::-1]
    hazard = np.cumsum(events / at_risk[np.searchsorted(time[order], times)])
    if report_times is None:
        report_times = survival_report_times(target)
    return BreslowBaseline(
        tuple(times.tolist()), tuple(hazard.tolist()), tuple(float(t) for t in report_times)
    )


def survival_report_times(target: npt.NDArray[Any]) -> tuple[float, ...]:
    """Where the survival of a cohort is reported: the quartiles of the times with an event.

    Args:
        target: (N, 2), (time, event), with an event.
    """
    return event_time_quantiles(target[target[:, 1] > 0, 0], REPORT_QUANTILES)


def event_time_quantiles(
    times: npt.NDArray[np.floating], shares: Sequence[float] | npt.NDArray[np.floating]
) -> tuple[float, ...]:
    """Different quantiles of the times with an event, ascending.

    Args:
        times: (N,), at least one, in the precision of targets (float32) or above.
        shares: Which quantiles, between 0 and 1.
    """
    quantiles = np.unique(np.quantile(times, shares).astype(np.float32))
    # By way of text: 4.87 in float32 is 4.869999885559082 in float64, before the event at 4.87.
    return tuple(float(str(quantile)) for quantile in quantiles)
