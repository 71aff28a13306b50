"""What of a model's logits an explanation is about."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ExplainedTarget:
    """One number that a model says of a bag, as a linear function of its logits.

    Logits and not probabilities, which stand still where a model is sure.

    Attributes:
        name: A class, a label, "higher" (of ordered classes), the label column of a value, or
            "risk"; with `<target>_` in front where a task has several targets.
        weights: Of the K logits; positive ones speak for it.
        relative: Whether it has no zero of its own, as a value or a risk: what a tile says of it is
            then counted from the median of its bag.
    """

    name: str
    weights: tuple[float, ...]
    relative: bool = False

    def score(self, logits: Tensor) -> Tensor:
        """(..., K) to (...)."""
        return logits @ logits.new_tensor(self.weights)
