"""What a run does where its settings leave it open: how long it trains, and when it may stop.

The other open settings (learning rate, weight decay, scale of the features) are the network's:
`TrainingRecipe`. Both were measured by `scripts/benchmarks/bench_small_cohorts.py`.

Learning takes steps of the optimiser, not epochs: an epoch of 32 slides in batches of 8 has four,
one of 4,000 slides five hundred.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Defaults = Literal[1, 2]
"""Which defaults a run was begun with: 1 those of files that do not say, 2 those of today."""

MARK = "defaults"
"""Where files say which."""

LEAST_STEPS, LEAST_EPOCHS = 300, 20
"""A fit lasts so many steps, and no fewer than so many epochs."""

PATIENCE_STEPS, PATIENCE_EPOCHS = 150, 5
"""Without improvement, after which a fit stops; whichever is longer."""

KEPT_SHARE, KEPT_STEPS = 0.5, 150
"""An epoch may be kept once this share of the fit, or so many steps, lie behind it."""

OLD_MODEL: Mapping[str, Any] = {
    "learning_rate": 2e-4,
    "weight_decay": 1e-2,
    "warmup_epochs": 0.0,
    "feature_scaling": "none",
}
OLD_NETWORKS: Mapping[str, Mapping[str, Any]] = {"abmil": {"dropout": 0.0}}
OLD_EPOCHS, OLD_PATIENCE = 50, 20


@dataclass(frozen=True)
class FitLength:
    """How long a fit lasts, in epochs.

    Attributes:
        max_epochs: At most; None where a number of steps ends it.
        patience: Without improvement, after which it stops; None = never.
        least_epochs: Before any may be kept, or stop the fit. With the few bags of a small
            validation set its loss wavers by chance, and often no later epoch is below the first
            ones, which have learnt nothing.
    """

    max_epochs: int | None
    patience: int | None
    least_epochs: int


def fit_length(
    steps: int,
    *,
    max_epochs: int | None,
    max_steps: int,
    patience: int | Literal["auto"] | None,
    defaults: Defaults,
) -> FitLength:
    """The length of a fit, from the settings given and the number of bags.

    Args:
        steps: Of the optimiser in one epoch.
        max_epochs: As given.
        max_steps: As given; -1 = no limit.
        patience: As given.
        defaults: See `Defaults`.
    """
    if defaults == 1:
        epochs = OLD_EPOCHS if max_epochs is None else max_epochs
        return FitLength(epochs, OLD_PATIENCE if patience == "auto" else patience, 1)
    if max_epochs is None and max_steps < 0:
        max_epochs = max(LEAST_EPOCHS, -(-LEAST_STEPS // steps))
    ends = [max_steps] if max_steps >= 0 else []
    ends += [steps * max_epochs] if max_epochs is not None and max_epochs >= 0 else []
    least = min([KEPT_STEPS, *(int(KEPT_SHARE * end) for end in ends)])
    if patience == "auto":
        patience = max(PATIENCE_EPOCHS, -(-PATIENCE_STEPS // steps))
    return FitLength(max_epochs, patience, max(1, least // steps))
