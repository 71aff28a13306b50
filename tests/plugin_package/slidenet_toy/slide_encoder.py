"""A slide encoder that is no LongNet: the largest and the smallest value of every feature."""

import torch


class ExtremesEncoder:
    """Follows the `SlideEncoder` protocol without inheriting from anything."""

    name = "toy_extremes"
    feature_dim = None  # takes features of any length

    def __init__(self, *, weights=None, device="cpu") -> None:
        self.device = device

    def embed(self, features: torch.Tensor, **where) -> torch.Tensor:
        """(N, D) features of one slide to (2 D,)."""
        return torch.cat([features.amax(0), features.amin(0)])

    def identity(self) -> dict:
        """What made an embedding."""
        return {"name": self.name, "weights": "none"}
