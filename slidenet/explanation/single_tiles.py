"""A bag of that tile alone, f({k}): what the model says of each tile by itself.

It needs nothing of a network but its logits, and found planted lesions as well as evidence did
(0.98 to 0.997). It is blind to whatever depends on several tiles, such as where they lie.
"""

import torch
from torch import Tensor

from slidenet.explanation.methods import (
    EXPLAINERS,
    Explanation,
    from_median,
    tile_values,
)
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.mil.probe import ProbeModel
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

MOST_BAGS = 1024
MOST_NUMBERS = 2**21
"""Bags and feature values of one batch."""


class SingleTiles:
    """The score of bags of one tile each; every tile keeps its place."""

    name = "single_tile"
    signed = True
    unit: Unit = "logit"
    is_evidence = True

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        if isinstance(network, ProbeModel) and network.columns == "mean_std":
            return "it describes a bag by the spread of its tiles, which a single tile has not"
        return ""

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        logits = subject.once(self.name, lambda: single_tile_logits(subject))
        values = from_median(target.score(logits), target)
        return tile_values(values), {
            "bags": len(subject),
            "counted_from": "median of the bag" if target.relative else "zero",
        }


@torch.no_grad()
def single_tile_logits(subject: Subject) -> Tensor:
    """What the network alone says of each tile: float32 (N, K), in the unit of the task.

    Without the offset of the subject: covariates and other feature sets say nothing of a tile.
    """
    count = max(1, min(MOST_BAGS, MOST_NUMBERS // subject.features.shape[1]))
    parts = [
        subject.logits_of_bags(x[:, None], cells[:, None])
        for x, cells in zip(
            torch.split(subject.features, count), torch.split(subject.grid_xy, count), strict=True
        )
    ]
    return torch.cat(parts) - subject.offset


EXPLAINERS.add(SingleTiles.name, SingleTiles())
