"""Whether a fit has learnt anything, in words for those who wait for its results."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args

import numpy as np

from slidenet.core.arrays import FloatArray
from slidenet.core.errors import StoreError
from slidenet.evaluation import Predictions
from slidenet.pipelines.fitting.defaults import FitLength
from slidenet.pipelines.results.sections import Section

FLAT = 0.05
"""Probabilities of all bags that lie closer together than this tell no bag from another."""


Finding = Literal["", "learnt_nothing", "overfits", "too_short"]

LITTLE, MUCH = 0.05, 0.1
"""Shares: of its first value, by which the monitor changes where nothing is learnt; and of all that
it gains, which matters at the end of a fit."""


@dataclass(frozen=True)
class Learning:
    """How a fit went. Epochs are counted from 1.

    Attributes:
        kept_epoch: Whose weights are the model.
        num_epochs: Trained.
        max_epochs: It would have trained at most; None = no limit of epochs.
        least_epochs: The first that could be kept.
        monitor: Value by which it was chosen; None where the last epoch is kept.
        score: That value of the epoch kept; None where the last epoch is kept.
        finding: What the choice tells: the first epoch that could be kept is no better than the
            very first, or all later ones are worse, or the last one is still much better.
    """

    kept_epoch: int
    num_epochs: int
    max_epochs: int | None
    least_epochs: int
    monitor: str | None
    score: float | None
    finding: Finding = ""

    @classmethod
    def of_file(cls, found: object, source: Path) -> "Learning":
        """What `identity` gave, out of a file that somebody may have changed.

        Args:
            found: The entry of the file.
            source: The file, for the message.

        Raises:
            StoreError: It is something else.
        """
        counts = ("kept_epoch", "num_epochs", "least_epochs")
        kinds: dict[str, tuple[type, ...]] = dict.fromkeys(counts, (int,))
        kinds |= {"max_epochs": (int, NoneType), "monitor": (str, NoneType)}
        kinds |= {"score": (int, float, NoneType), "finding": (str,)}
        entries = found if isinstance(found, dict) else {}
        fits = sorted(entries) == sorted(kinds) and entries["finding"] in get_args(Finding)
        if not fits or not all(type(entries[name]) in kind for name, kind in kinds.items()):
            raise StoreError(
                f"{source} does not say how its fit went",
                expected="what slidenet wrote there",
                remedy="delete it, and the fold is done again from its checkpoints",
            )
        return cls(**entries)

    @classmethod
    def of_curve(
        cls,
        epochs: Sequence[Mapping[str, float]],
        monitor: str,
        length: FitLength,
        *,
        lower_is_better: bool | None,
    ) -> "Learning":
        """From the values of the epochs.

        Args:
            epochs: Logged values of each, and its number from 0 under "epoch".
            monitor: By which the epoch kept was chosen.
            length: Of the fit.
            lower_is_better: Of the monitor; None where the last epoch is kept.
        """
        last = int(epochs[-1]["epoch"]) + 1
        if lower_is_better is None:
            return cls(last, last, length.max_epochs, 1, None, None)
        sign = 1 if lower_is_better else -1
        logged = [
            (sign * epoch[monitor], int(epoch["epoch"]) + 1) for epoch in epochs if monitor in epoch
        ]
        # An epoch where the monitor is not defined is not kept, as long as there is another one.
        values = [(v, number) for v, number in logged if not math.isnan(v)] or logged
        late = [(v, number) for v, number in values if number >= length.least_epochs]
        late = late or [(v, number) for v, number in logged if number >= length.least_epochs]
        score, kept = min(late)
        gain = values[0][0] - score
        finding: Finding = ""
        later = [v for v, number in values if number > kept]
        if kept <= length.least_epochs and later:
            if gain <= LITTLE * abs(values[0][0]) and min(later) > score:
                finding = "learnt_nothing"
            elif min(later) - score > MUCH * abs(gain):
                finding = "overfits"
        elif kept == last == length.max_epochs:
            before = [v for v, number in values if number <= 0.8 * last]
            if before and min(before) - score > MUCH * abs(gain):
                finding = "too_short"
        return cls(
            kept, last, length.max_epochs, length.least_epochs, monitor, sign * score, finding
        )

    @property
    def warning(self) -> str | None:
        """What the choice of the epoch says against the model, and what to do; None: nothing."""
        kept = f"kept epoch {self.kept_epoch} of {self.num_epochs}, the"
        if self.finding == "learnt_nothing":
            return (
                f"{kept} first that could be kept: {self.monitor} was hardly better than at the "
                "start, and no better later: little was learnt that holds for val. Try a simpler "
                "model (--model.network probe) or a lower --model.learning-rate"
            )
        if self.finding == "overfits":
            return (
                f"{kept} first that could be kept: {self.monitor} was worse in all later ones. Try "
                "a lower --model.learning-rate or a simpler model (--model.network probe)"
            )
        if self.finding == "too_short":
            return (
                f"{kept} last: {self.monitor} was still getting better. Try "
                f"--trainer.max-epochs {2 * self.num_epochs}"
            )
        return None

    @property
    def place(self) -> str:
        """Whether the epoch kept is the first that could be, or the last."""
        if self.monitor is not None and self.kept_epoch <= self.least_epochs < self.num_epochs:
            return "the first that could be kept"
        return "the last" if self.kept_epoch == self.num_epochs else ""

    def identity(self) -> dict[str, Any]:
        """As JSON, which `of_file` reads."""
        return asdict(self)


def flat_probabilities(probabilities: FloatArray | None) -> str | None:
    """Says so where the probabilities of all bags are nearly the same.

    Args:
        probabilities: float (N, K) of N bags, or None for a task without.
    """
    if probabilities is None or len(probabilities) < 2:
        return None
    spread = np.nanmax(probabilities, axis=0) - np.nanmin(probabilities, axis=0)
    widest = float(np.nanmax(spread))
    if math.isnan(widest) or widest >= FLAT:
        return None
    return (
        f"the probabilities of all {len(probabilities)} bags lie within {widest:.3f} of each "
        "other: the model tells hardly any bag from another. Train longer (--trainer.max-epochs) "
        "or at a higher --model.learning-rate, and look at learning_curve.png"
    )


def flat_targets(found: Mapping[str, Predictions]) -> str | None:
    """`flat_probabilities` of the targets of a model (`split_predictions`), each by its name."""
    lines = []
    for target, one in found.items():
        line = flat_probabilities(one.predicted.probabilities) if len(one) else None
        if line is not None:
            lines.append(f"{target}: {line}" if target else line)
    return "; ".join(lines) or None


def learning_section(fits: Mapping[str, Learning], flat: Mapping[str, str | None]) -> Section:
    """The epochs kept, with what speaks against them.

    Args:
        fits: By name ("" where there is one only).
        flat: Of `flat_probabilities`, by the same names.
    """
    lines = [
        f"{name}: {line}" if name else f"{line[0].upper()}{line[1:]}"
        for name, learning in fits.items()
        for line in (learning.warning, flat.get(name))
        if line is not None
    ]
    rows = tuple(
        (
            name or "fit",
            str(learning.kept_epoch),
            str(learning.num_epochs),
            "" if learning.score is None else f"{learning.score:.4f}",
            learning.place,
        )
        for name, learning in fits.items()
    )
    monitors = sorted({learning.monitor or "score" for learning in fits.values()})
    return Section("Epochs kept", tuple(lines), ("", "kept", "of", ", ".join(monitors), ""), rows)
