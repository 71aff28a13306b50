"""Swap: what the score loses when a tile and another one change places.

The bag holds the same tiles before and after, so only where they lie can matter. It answers what
removal cannot: of lesions that lie near each other, removing one leaves the others as near as they
were, and each still counts once.

A tile is swapped with a few plain tiles, the same ones for all, and the median change counts, so
that a swap with a tile that matters itself, or that lies close by, is outvoted.

Shapes: N tiles, D feature length, K outputs.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import NoMapError
from slidenet.explanation.gradients import bag_mean
from slidenet.explanation.groups import Groups, blocks
from slidenet.explanation.methods import EXPLAINERS, Explanation
from slidenet.explanation.occlusion import MOST_NUMBERS, MOST_TILES, scores_of
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

NUM_PARTNERS = 5


class Swap:
    """The median drop of the score over swaps of a tile with plain ones.

    On slides of many tiles, blocks of neighbours are swapped.

    Args:
        num_partners: Swaps of each tile.
        seed: Of the choice of partners.
    """

    name = "swap"
    signed = True
    unit: Unit = "logit"
    is_evidence = True

    def __init__(self, num_partners: int = NUM_PARTNERS, seed: int = 0) -> None:
        self.num_partners = num_partners
        self.seed = seed

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return "" if network.needs_places else "where tiles lie plays no part in it"

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`.

        Raises:
            NoMapError: A bag of one tile, which has nothing to change places with.
        """
        if len(subject) == 1:
            raise NoMapError(
                "a bag of one tile, which has no other to change places with",
                expected="at least two tiles",
                remedy="take another method for this slide",
            )
        most = max(MOST_TILES // len(subject) // self.num_partners, 16)
        side, cells = 1, subject.grid_xy.cpu().numpy()
        groups = [np.array([i]) for i in range(len(subject))]
        while len(groups) > most:
            side += 1
            groups = blocks(cells, side)
        partners = plain_groups(subject.features, groups, self.num_partners + 1, self.seed)
        values = np.zeros(len(subject))
        lost = subject.once(self.name, lambda: swap_logit_drops(subject, groups, partners))
        for group, drop in zip(groups, median_scores(lost, target), strict=True):
            values[group] = drop
        return values.astype(np.float32), {
            "swapped": "single tiles" if side == 1 else f"blocks of {side} x {side} tiles",
            "groups": len(groups),
            "partners": min(self.num_partners, len(groups) - 1),
            "seed": self.seed,
        }


def plain_groups(features: Tensor, groups: Groups, count: int, seed: int) -> list[int]:
    """Numbers of groups drawn from the half whose tiles are nearest to the mean of the bag."""
    distances = (features - bag_mean(features)).norm(dim=1).cpu().numpy()
    far = np.array([distances[group].max() for group in groups])
    plain = np.argsort(far, kind="stable")[: max(count, len(groups) // 2)]
    drawn = np.random.default_rng(seed).permutation(plain)[:count]
    return [int(number) for number in drawn]


@torch.no_grad()
def swap_logit_drops(subject: Subject, groups: Groups, partners: list[int]) -> Tensor:
    """Logits of the bag minus those after a group and another one have changed places.

    Args:
        subject: The bag.
        groups: Each int64 (n,). Of two of different size the first tiles of the larger one move.
        partners: Numbers of the groups to swap with, at least two. One is not swapped with itself,
            so each is swapped with all partners but one.

    Returns:
        float64 (number of groups, number of partners - 1, K).
    """
    count = len(partners) - 1
    pairs = [
        (number, other)
        for number in range(len(groups))
        for other in [p for p in partners if p != number][:count]
    ]
    after = torch.cat(list(_swapped(subject, groups, pairs))).double()
    return (subject.logits().double() - after).reshape(len(groups), count, -1)


def median_scores(lost: Tensor, target: ExplainedTarget) -> Float64Array:
    """The median over the partners of what (groups, partners, K) says of a target, (groups,)."""
    return np.median(scores_of(lost, target), axis=1)


def _swapped(subject: Subject, groups: Groups, pairs: list[tuple[int, int]]) -> Iterator[Tensor]:
    """Logits (B, K) of the bag after each swap, a batch at a time."""
    features, cells = subject.features, subject.grid_xy
    size = max(1, MOST_NUMBERS // features.numel())
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        order = torch.arange(len(features)).repeat(len(some), 1)
        for row, (one, other) in zip(order, some, strict=True):
            moved = min(len(groups[one]), len(groups[other]))
            here, there = (torch.from_numpy(groups[g][:moved]) for g in (one, other))
            row[here], row[there] = there, here
        bags = features[order.to(features.device)]
        yield subject.logits_of_bags(bags, cells.expand(len(some), *cells.shape))


EXPLAINERS.add(Swap.name, Swap())
