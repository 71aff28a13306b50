"""How a network is trained where the settings of a run leave it open."""

from dataclasses import dataclass
from typing import Literal

ScalingName = Literal["standard", "none"]


@dataclass(frozen=True, slots=True)
class TrainingRecipe:
    """What a network asks for, as `scripts/benchmarks/bench_small_cohorts.py` measured it.

    Attributes:
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.
        feature_scaling: Whether each feature is standardised over the training tiles first. A
            network that has learnt from features as they are takes them as they are.
    """

    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    feature_scaling: ScalingName = "standard"
