"""Evidence of pooling models: attention times w . h, what each tile adds to the logits.

The numbers add up to what the model says, without the bias. Of ABMIL and CLAM they found planted
lesions (tile AUROC 0.995), in false negatives too, where attention alone points away.
"""

import torch
from torch import Tensor

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

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        counted_from = "median of the bag" if target.relative else "zero"
        each = subject.once(
            f"{self.name} from {counted_from}",
            lambda: evidence_of_outputs(subject, relative=target.relative),
        )
        values = target.score(each)
        return tile_values(values), {"sum": float(values.sum()), "counted_from": counted_from}


@torch.no_grad()
def evidence_of_outputs(subject: Subject, *, relative: bool) -> Tensor:
    """What each tile adds to each output: float32 (N, K), in the unit of the task.

    Args:
        subject: Whose network `has_contributions`.
        relative: See `BagModel.contributions`.
    """
    x, cells = subject.features[None], subject.grid_xy[None]
    mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    each = subject.network.contributions(x, cells, mask, relative=relative)
    assert each is not None, "asked by applies_to"
    return each[0].float() * subject.scale


EXPLAINERS.add(TileEvidence.name, TileEvidence())
