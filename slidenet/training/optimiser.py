"""AdamW with layer-wise learning rates, and the warm-up and half-cosine of every iteration.

Source: the fine-tuning of BEiT and MAE, as the published Prov-GigaPath fine-tuning uses it
(`finetune/utils.py`: `param_groups_lrd`, `adjust_learning_rate`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import nn

from slidenet.core.checks import check_choice, check_not_negative, check_positive, check_share
from slidenet.core.errors import ConfigError
from slidenet.mil.recipe import TrainingRecipe

Schedule = Literal["cosine", "constant"]
REFERENCE_BAGS = 256
"""Bags per optimiser step at which a scaled learning rate is the one given."""

WARMUP_SHARE, MOST_WARMUP = 0.1, 500
"""Of the steps of a fit, and steps: the warm-up where none is given."""


PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""Lightning's other ones convert whole batches, targets included."""


@dataclass(frozen=True, slots=True)
class OptimiserSettings:
    """How the weights are changed.

    Attributes:
        learning_rate: Of the head; per 256 bags where `scale_learning_rate` is set. Default: what
            suits the network.
        weight_decay: Of AdamW; parameters of one dimension (biases, norms) have none. Default: what
            suits the network.
        layer_decay: Each level below the head learns at this share of the one above it; 1 = alike.
        warmup_epochs: Epochs of linear growth from 0; may be a fraction. Default: a tenth of all
            steps, at most 500.
        schedule: "cosine" falls to `min_learning_rate` at the last iteration.
        min_learning_rate: Where the cosine ends.
        scale_learning_rate: Multiply the rate by bags per optimiser step / 256.

    Raises:
        ConfigError: For a setting out of range.
    """

    learning_rate: float | None = None
    weight_decay: float | None = None
    layer_decay: float = 1.0
    warmup_epochs: float | None = None
    schedule: Schedule = "cosine"
    min_learning_rate: float = 0.0
    scale_learning_rate: bool = False

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            check_positive(learning_rate=self.learning_rate)
        check_not_negative(
            weight_decay=self.weight_decay or 0.0,
            warmup_epochs=self.warmup_epochs or 0.0,
            min_learning_rate=self.min_learning_rate,
        )
        check_share(above_zero=True, layer_decay=self.layer_decay)
        check_choice(get_args(Schedule), schedule=self.schedule)

    def completed(self, recipe: TrainingRecipe) -> "OptimiserSettings":
        """With what a network asks for where nothing was given."""
        open_ones = [n for n in ("learning_rate", "weight_decay") if getattr(self, n) is None]
        return replace(self, **{name: getattr(recipe, name) for name in open_ones})


def parameter_groups(
    network: nn.Module, levels: Mapping[str, int] | None, settings: OptimiserSettings, rate: float
) -> list[dict[str, Any]]:
    """Parameters grouped by level and by whether they decay.

    Args:
        network: Whose parameters that learn are grouped.
        levels: Level of each parameter by name, the head's the highest; None for no levels.
        settings: Decay of weights and levels.
        rate: Learning rate of the head.

    Returns:
        Groups as a torch optimiser takes them, in order of level, then decaying ones first.

    Raises:
        ConfigError: Where levels are to learn at different rates and there are none.
    """
    if settings.layer_decay < 1 and levels is None:
        raise ConfigError(
            f"layer_decay {settings.layer_decay} for a network without levels",
            expected="layer_decay 1 (only longnet and gigapath have levels)",
        )
    top = max(levels.values(), default=0) if levels else 0
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            level = levels[name] if levels else 0
            groups.setdefault((level, parameter.ndim <= 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * settings.layer_decay ** (top - level),
            "weight_decay": 0.0 if flat else settings.weight_decay,
        }
        for (level, flat), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def rate_factor(
    settings: OptimiserSettings, *, rate: float, total_steps: float, steps_per_epoch: float
) -> Callable[[int], float]:
    """The learning rate of each optimiser step, as a factor of the group's own rate.

    Args:
        settings: Warm-up, schedule and its end.
        rate: Learning rate of the head, which `min_learning_rate` is a share of.
        total_steps: Optimiser steps of the whole fit.
        steps_per_epoch: Optimiser steps of one epoch.

    Returns:
        Factor by step, from 0: a line from 0 to 1 over the warm-up, then half a cosine from 1 to
        min_learning_rate / rate at `total_steps`, or 1.

    Raises:
        ConfigError: Where a cosine has no end, or ends above its start, or warms up for longer.
    """
    if settings.warmup_epochs is None:
        warmup = min(WARMUP_SHARE * total_steps, MOST_WARMUP)
    else:
        warmup = settings.warmup_epochs * steps_per_epoch
    floor = settings.min_learning_rate / rate
    if settings.schedule == "cosine":
        _check_cosine(total_steps, warmup, floor)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        if settings.schedule == "constant":
            return 1.0
        share = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share))

    return factor


def _check_cosine(total_steps: float, warmup: float, floor: float) -> None:
    if math.isinf(total_steps):
        raise ConfigError(
            "a cosine schedule without an end",
            expected="a number of epochs or steps",
            remedy="set trainer.max_epochs, or schedule constant",
        )
    if warmup >= total_steps:
        raise ConfigError(
            f"a warm-up of {warmup:g} steps in a fit of {total_steps:g}",
            expected="fewer warmup_epochs than epochs",
        )
    if floor > 1:
        raise ConfigError(
            f"min_learning_rate is {floor:g} times the learning rate",
            expected="at most the learning rate (after scaling by the batch size)",
        )


def check_precision(precision: str) -> None:
    """Refuses precisions that would round labels and times along with the features.

    Raises:
        ConfigError: Naming the one to take instead.
    """
    if precision not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision {precision}",
            expected=f"one of {', '.join(PRECISIONS)}",
            remedy="take bf16-mixed: weights, labels and times stay float32",
        )
