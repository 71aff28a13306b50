"""Controls: maps that know nothing of what was learned. A map is worth what it is better by.

Tiles that are out of the ordinary stand out without any model (0.90 on planted lesions), and an
untrained network draws maps too.
"""

import torch
from torch import Tensor

from slidenet.explanation.methods import (
    EXPLAINERS,
    UNTRAINED,
    Explanation,
    default_method,
    tile_values,
)
from slidenet.explanation.subject import UNTRAINED_SEED, Subject
from slidenet.mil import BagModel
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

BLOCK = 4096
"""Tiles at a time."""


class Distance:
    """How far the features of a tile lie from the mean of the bag; no model at all."""

    name = "control"
    signed = False
    unit: Unit = "distance"
    is_evidence = False

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return ""

    @torch.no_grad()
    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        return tile_values(distance_from_mean(subject.features)), {}


def distance_from_mean(features: Tensor) -> Tensor:
    """Euclidean distance of each of (N, D) from their mean, (N,)."""
    mean = features.mean(dim=0, dtype=torch.float64).to(features.dtype)
    return torch.cat([(rows - mean).norm(dim=1) for rows in torch.split(features, BLOCK)])


class Untrained:
    """The best map of this kind of network, drawn by one of the same settings and random weights.

    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", section 3.
    """

    name = UNTRAINED
    signed = True
    unit: Unit = "logit"
    is_evidence = False

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        if any(True for _ in network.parameters()):
            return ""
        return "it is fitted and not trained"

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        assert subject.fresh is not None, "a network with weights has an untrained form"
        fresh = subject.fresh
        other = subject.once(self.name, lambda: subject.with_network(fresh()))
        method = default_method(other.network)
        values, details = EXPLAINERS[method].explain(other, target)
        return values, {"method": method, "seed": UNTRAINED_SEED, **details}


EXPLAINERS.add(Distance.name, Distance())
EXPLAINERS.add(Untrained.name, Untrained())
