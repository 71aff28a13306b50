"""Attention alone: where the network looked, which is not what it found there.

It has no sign, and sits on evidence against a class as gladly as on evidence for it. It found
planted lesions as well as evidence did in some models (ABMIL 0.99) and worse than a control without
any model in others (ABMIL 0.76, TransMIL 0.63, against 0.85 to 0.92); no map says which.
"""

import torch
from torch import Tensor

from slidenet.core.errors import ExplanationError
from slidenet.explanation.methods import EXPLAINERS, Explanation, tile_values
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

TRIAL_TILES = 3


class Attention:
    """The attention of the network's pooling; of several maps that of the target."""

    name = "attention"
    signed = False
    unit: Unit = "share"
    is_evidence = False

    @torch.no_grad()
    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`: a small bag is tried."""
        like = next((t for t in (*network.parameters(), *network.buffers())), torch.empty(0))
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(1, TRIAL_TILES, network.feature_dim, generator=draw).to(like)
        cells = torch.arange(2 * TRIAL_TILES, device=x.device).reshape(1, -1, 2)
        mask = torch.ones(1, TRIAL_TILES, dtype=torch.bool, device=x.device)
        was_training = network.training
        attention = network.eval()(x, cells, mask).tile_attention
        network.train(was_training)
        if attention is None:
            return "it has no attention over tiles"
        if torch.equal(attention, attention[..., :1].expand_as(attention)):
            return "it weighs all tiles alike"
        return ""

    @torch.no_grad()
    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        x = subject.features[None]
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        maps = subject.network(x, subject.grid_xy[None], mask).tile_attention
        if maps is None:
            raise ExplanationError(
                "the network gave no attention for this bag", expected="one number per tile"
            )
        values = map_of(maps[0].float(), target)
        return tile_values(values), {"maps": maps.shape[1], "sum": float(values.sum())}


def map_of(maps: Tensor, target: ExplainedTarget) -> Tensor:
    """The map (N,) of a target among the maps (A, N) of a network.

    A is 1, or one per output, or two for CLAM-MB with one logit, the last of which is the positive
    class's. Where several outputs speak for the target it is the mean of their maps.
    """
    if len(maps) == 1:
        return maps[0]
    weights = maps.new_tensor(target.weights).clamp(min=0)
    return weights @ maps[-len(weights) :] / weights.sum()


EXPLAINERS.add(Attention.name, Attention())
