"""Deletion and insertion: does the score follow the order a map gives, better than by chance?

Tiles are removed from the bag, the highest of the map first (deletion), or only the highest are
kept (insertion); removed tiles are gone, nothing takes their place. What is said is "beats random"
only: on planted lesions a map of 0.76 and one of 0.99 differed by less than a tenth here, and
attention scored better than the truth, since the model is asked about its own favourites.

Source: Petsiuk, Das and Saenko 2018, "RISE", section 4.2 (deletion and insertion). Ours: scores are
logits, tiles leave the bag, and 20 random orders, the same for all maps of a bag, stand beside.

Shapes: N tiles.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slidenet.core.arrays import Float64Array, FloatArray, IntArray
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError
from slidenet.explanation.methods import Details
from slidenet.explanation.occlusion import scores_of
from slidenet.explanation.subject import Subject
from slidenet.tasks import ExplainedTarget

SHARES = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)
"""Of the tiles that are removed, or kept. Symmetric: an order backwards deletes what it inserts."""

NUM_ORDERS = 20


class Faithfulness:
    """Deletion and insertion of any map of one bag and target.

    Args:
        subject: The bag, of at least two tiles.
        target: What is explained.
        num_orders: Random orders to compare with.
        seed: Of these.

    Attributes:
        random: (num_orders, 2), deletion and insertion of each random order.

    Raises:
        ConfigError: A bag of one tile, or no order.
    """

    def __init__(
        self,
        subject: Subject,
        target: ExplainedTarget,
        *,
        num_orders: int = NUM_ORDERS,
        seed: int = 0,
    ) -> None:
        check_whole(num_orders=num_orders)
        if len(subject) < 2:
            raise ConfigError(
                "deletion and insertion of a bag of one tile",
                expected="at least two tiles, one to remove and one to keep",
            )
        self.subject = subject
        self.target = target
        count, orders = len(subject), -(-num_orders // 2)
        steps = {min(max(round(share * count), 1), count - 1) for share in SHARES}
        self.steps = sorted(steps | {count - step for step in steps})
        draw = np.random.default_rng(seed)
        with torch.no_grad():
            self.bag = float(subject.score(target))
            found = subject.once(
                f"logits of {orders} random orders, seed {seed}",
                lambda: [self._logits(draw.permutation(count)) for _ in range(orders)],
            )
        # Backwards an order is as random, and its scores are known.
        scores = [scores_of(logits, target) for logits in found]
        both = [pair for kept, left in scores for pair in ((kept, left), (left[::-1], kept[::-1]))]
        self.random = np.array([self._summary(*pair) for pair in both[:num_orders]])

    def of(self, values: npt.ArrayLike) -> Details:
        """How the score follows a map.

        Args:
            values: (N,), one number per tile; the highest come first.

        Returns:
            `deletion`: mean loss of the score after removing 1 to 99 % of the tiles, in logits;
            `insertion`: mean score of these shares alone, minus that of the bag; higher is better.
            With `random_` in front the means of the random orders, and `_beats` says of how many of
            them the map is ahead.

        Raises:
            ConfigError: Another number of values than tiles, or NaN.
        """
        array: FloatArray = np.asarray(values, dtype=np.float64)
        if array.shape != (len(self.subject),) or np.isnan(array).any():
            raise ConfigError(
                f"a map of shape {array.shape} with {int(np.isnan(array).sum())} NaN",
                expected=f"one number for each of the {len(self.subject)} tiles of the bag",
            )
        order = np.argsort(-array, kind="stable")
        deletion, insertion = self._summary(*scores_of(self._logits(order), self.target))
        details: Details = {"random_orders": len(self.random)}
        for name, value, chance in zip(
            ("deletion", "insertion"), (deletion, insertion), self.random.T, strict=True
        ):
            details[name] = float(value)
            details[f"random_{name}"] = float(chance.mean())
            details[f"{name}_beats"] = int((value > chance).sum())
        return details

    @torch.no_grad()
    def _logits(self, order: IntArray) -> Tensor:
        """Of the first tiles of an order alone, and of the others alone: (2, steps, K)."""
        # In the order of the bag: the order of removal is no order of tiles.
        parts = [
            torch.stack([self.subject.logits(np.sort(kept)) for kept in side])
            for side in (
                [order[:step] for step in self.steps],
                [order[step:] for step in self.steps],
            )
        ]
        return torch.stack(parts)

    def _summary(self, first: Float64Array, others: Float64Array) -> tuple[float, float]:
        return self.bag - float(others.mean()), float(first.mean()) - self.bag
