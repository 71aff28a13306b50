"""Floor 6: what a model looked at, what its predictions rest on, and how features lie."""

from slidenet.explanation.agreement import Agreement, agreement
from slidenet.explanation.controls import Distance, Untrained
from slidenet.explanation.faithfulness import Faithfulness
from slidenet.explanation.gradients import GradientXInput, PathGradients
from slidenet.explanation.looking import Attention
from slidenet.explanation.members import over_members
from slidenet.explanation.methods import (
    EXPLAINERS,
    Explainer,
    default_method,
    default_methods,
    explain_target,
    meant_by,
)
from slidenet.explanation.occlusion import Occlusion, drops
from slidenet.explanation.rollout import Rollout
from slidenet.explanation.single_tiles import SingleTiles
from slidenet.explanation.subject import Subject, subjects_of
from slidenet.explanation.swap import Swap
from slidenet.explanation.tile_evidence import TileEvidence

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "Agreement",
    "Attention",
    "Distance",
    "EXPLAINERS",
    "Explainer",
    "Faithfulness",
    "GradientXInput",
    "Occlusion",
    "PathGradients",
    "Rollout",
    "SingleTiles",
    "Subject",
    "Swap",
    "TileEvidence",
    "Untrained",
    "agreement",
    "default_method",
    "default_methods",
    "drops",
    "explain_target",
    "meant_by",
    "over_members",
    "subjects_of",
]
