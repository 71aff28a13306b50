"""Evidence of pooling models: attention times w . h, what each tile adds to the logits.

The numbers add up to what the model says, without the bias. Of ABMIL and CLAM they found planted
lesions (tile AUROC 0.995), in false negatives too, where attention alone points away.
"""

import torch

from slidenet.explanation.methods import EXPLAINERS, Explanation, tile_values
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget


class TileEvidence:
    """See `BagModel.contributions`; for a value or a risk, w . h less its median over the bag."""

    name = "evidence"
    signed = True
    unit: Unit = "logit"
    is_evidence = True

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        if network.has_contributions:
            return ""
        return "its logits are no sum over tiles"

    @torch.no_grad()
    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        x = subject.features[None]
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        each = subject.network.contributions(
            x, subject.grid_xy[None], mask, relative=target.relative
        )
        assert each is not None, "asked by applies_to"
        values = target.score(each[0].float() * subject.scale)
        return tile_values(values), {
            "sum": float(values.sum()),
            "counted_from": "median of the bag" if target.relative else "zero",
        }


EXPLAINERS.add(TileEvidence.name, TileEvidence())
