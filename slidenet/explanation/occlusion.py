"""Occlusion: what the score loses when tiles are not there.

It is exact for the model and still no map of evidence where evidence is redundant: of eight lesion
tiles each can be spared (tile AUROC 0.44), all eight together cost seven logits. So the question is
asked about groups: the neighbourhood of each tile, or all tiles that look alike. A group's drop is
given to each of its tiles (of a neighbourhood, to the tile in its middle).

Tiles are removed where that is all it does. Where the order of tiles or their places play a part
(TransMIL lays them in a square, dilated attention takes every second or fourth), a removed tile
shifts all that follow; there a plain tile, the one nearest to the mean of the bag, takes its place.

For ABMIL, CLAM and the mean there is a closed form, in float64: the attention of the tiles that
stay is scaled up, so z without G = (z - sum_G a h) / (1 - sum_G a). Where a group holds most of the
attention the rest is summed up instead, as 1 - sum_G a would have no digits left.

Shapes: N tiles, D feature length, K outputs, A attention maps.
"""

import copy
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import NoMapError
from slidenet.explanation.gradients import bag_mean
from slidenet.explanation.groups import Groups, blocks, clusters, windows
from slidenet.explanation.methods import EXPLAINERS, Explanation
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.mil.clam import ClusteringMIL
from slidenet.mil.pooling import AttentionMIL, MeanPooling
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

MOST_TILES = 1 << 22
"""Tiles the network is given in all: a slide of more than 2,048 is asked about blocks of tiles."""

MOST_NUMBERS = 1 << 22
"""Feature values of one batch of bags."""

Grouping = Literal["tiles", "regions", "clusters"]


class Occlusion:
    """The drop of the score without a group of tiles.

    Args:
        name: Of the method.
        grouping: What is taken away at a time.
    """

    signed = True
    unit: Unit = "logit"
    is_evidence = True

    def __init__(self, name: str, grouping: Grouping) -> None:
        self.name = name
        self.grouping = grouping

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return ""

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`.

        Raises:
            NoMapError: A bag of one tile, of which nothing would remain.
        """
        groups, what, centred = subject.once(f"{self.name} groups", lambda: self._groups(subject))
        lost = subject.once(self.name, lambda: logit_drops(subject, groups))
        values = np.zeros(len(subject))
        for i, (group, drop) in enumerate(zip(groups, scores_of(lost, target), strict=True)):
            values[i if centred else group] = drop
        return values.astype(np.float32), {
            "groups": len(groups),
            "grouping": what,
            "largest_group": max(map(len, groups)),
            "effect": "replaced by a plain tile" if subject.network.needs_places else "removed",
            "closed_form": has_closed_form(subject.network),
        }

    def _groups(self, subject: Subject) -> tuple[Groups, str, bool]:
        """The groups, their name, and whether each belongs to the tile of its number."""
        if self.grouping == "clusters":
            alike = clusters(subject.features.cpu().numpy())
            return alike, f"{len(alike)} clusters of alike tiles (k-means)", False
        cells, side = subject.grid_xy.cpu().numpy(), 3 if self.grouping == "regions" else 1
        most = max(MOST_TILES // len(subject), 16)
        if has_closed_form(subject.network) or len(subject) <= most:
            singles = [np.array([i]) for i in range(len(subject))]
            if side == 1:  # tiles smaller than a cell share one, and are told apart all the same
                return singles, "each tile", True
            around = windows(cells, side)
            largest = max(map(len, around))
            if 2 * largest <= len(subject):
                what = "tiles" if largest <= side**2 else "cells of 128 µm"
                return around, f"{side} x {side} {what} around each tile", True
            # A biopsy core of a few tiles: little would be left of it.
            return singles, "each tile, as there are so few", True
        found = blocks(cells, side)
        while len(found) > most:
            side += 1
            found = blocks(cells, side)
        return found, f"blocks of {side} x {side} tiles, as there are so many", False


def drops(subject: Subject, target: ExplainedTarget, groups: Groups) -> Float64Array:
    """Score of the bag minus its score without each group: "what if this were not there".

    Args:
        subject: The bag.
        target: What is explained.
        groups: Each int64 (n,), tiles of the bag (`slidenet.explanation.groups`).

    Returns:
        float64 (number of groups,); positive where the group speaks for the target.

    Raises:
        NoMapError: A group that holds the whole bag.
    """
    return scores_of(logit_drops(subject, groups), target)


@torch.no_grad()
def logit_drops(subject: Subject, groups: Groups) -> Tensor:
    """Logits of the bag minus those without each group: float64 (number of groups, K).

    Raises:
        NoMapError: As `drops`.
    """
    whole = [i for i, group in enumerate(groups) if len(group) == len(subject)]
    if whole:
        raise NoMapError(
            f"group {whole[0]} of the occlusion holds all {len(subject)} tiles of the bag",
            expected="groups without which a bag remains",
            remedy="take smaller groups, or another method: a bag of one tile, or of tiles that "
            "are all alike, is explained by what the model says of it",
        )
    if has_closed_form(subject.network):
        return _drops_in_closed_form(subject, groups)
    return subject.logits().double() - torch.cat(list(_without(subject, groups))).double()


def scores_of(logits: Tensor, target: ExplainedTarget) -> Float64Array:
    """What logits (..., K) say of a target, as an array (...)."""
    return target.score(logits.double()).cpu().numpy()


def has_closed_form(network: BagModel) -> bool:
    """Whether a tile's attention depends on the others by the sum of the softmax alone."""
    return isinstance(network, (AttentionMIL, ClusteringMIL, MeanPooling))


def plain_tile(features: Tensor) -> Tensor:
    """The tile of a bag that is nearest to their mean: features (N, D) to (D,)."""
    return features[int((features - bag_mean(features)).square().sum(dim=1).argmin())]


def _without(subject: Subject, groups: Groups) -> Iterator[Tensor]:
    """Logits (B, K) of the bag without each group, a batch at a time."""
    features, cells = subject.features, subject.grid_xy
    count = max(1, MOST_NUMBERS // features.numel())
    plain = plain_tile(features)
    for start in range(0, len(groups), count):
        taken = torch.zeros(len(groups[start : start + count]), len(features), dtype=torch.bool)
        for row, group in zip(taken, groups[start:], strict=False):
            row[torch.from_numpy(group)] = True
        taken = taken.to(features.device)
        bags, places = (x.expand(len(taken), *x.shape) for x in (features, cells))
        if subject.network.needs_places:
            bags = torch.where(taken[..., None], plain, bags)
            yield subject.logits_of_bags(bags, places)
        else:
            yield subject.logits_of_bags(bags, places, ~taken)


def _drops_in_closed_form(subject: Subject, groups: Groups) -> Tensor:
    """See the top of the file; one forward of the tiles."""
    network = copy.deepcopy(subject.network).double()
    hidden = subject.features.double()[None]
    if isinstance(network, AttentionMIL | ClusteringMIL):
        hidden = network.embed(hidden)
    assert isinstance(network, AttentionMIL | ClusteringMIL | MeanPooling)
    scores = network.head.weight @ hidden[0].T  # (K, N), of CLAM-MB (A, N)

    def attention(stay: Tensor) -> Tensor:
        if isinstance(network, MeanPooling):
            return stay[None] / stay.sum()
        maps: Tensor = network.attention(hidden, stay[None])
        return maps[0]

    everywhere = torch.ones(len(subject), dtype=torch.bool, device=hidden.device)
    weights = attention(everywhere).expand_as(scores)
    order = torch.from_numpy(np.concatenate(groups)).to(hidden.device)
    of_group = torch.from_numpy(np.repeat(np.arange(len(groups)), list(map(len, groups))))
    sums = scores.new_zeros(2, len(scores), len(groups))
    picked = torch.stack([weights, weights * scores])[..., order]
    sums.index_add_(2, of_group.to(hidden.device), picked)
    held, taken = sums
    total = (weights * scores).sum(dim=1, keepdim=True)
    found: Tensor = total - (total - taken) / (1 - held)
    for i in (held >= 0.5).any(dim=0).nonzero()[:, 0].tolist():
        stay = everywhere.clone()
        stay[torch.from_numpy(groups[i])] = False
        found[:, i] = total[:, 0] - (attention(stay) * scores).sum(dim=1)
    if len(found) > subject.network.num_outputs:  # CLAM-MB of one logit: positive less negative
        found = found[1:] - found[:1]
    return found.T * subject.scale


for one in (
    Occlusion("occlusion", "tiles"),
    Occlusion("occlusion_regions", "regions"),
    Occlusion("occlusion_clusters", "clusters"),
):
    EXPLAINERS.add(one.name, one)
