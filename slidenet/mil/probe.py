"""A probe as a model on bags: what a simple model of bag statistics says, in torch.

It is fitted by scikit-learn (`slidenet.evaluation.probes`), not trained: its numbers are buffers,
and there is nothing to learn in it. A bag is the mean of its tiles' features, or their mean and
standard deviation; each is standardised by what was found over the training bags.

Shapes: B bags, L tiles, D feature length, C columns (D, or 2 D with the deviations), R training
bags kept, S scores, K outputs.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import ConfigError
from slidenet.layers import checked_mask, zero_masked
from slidenet.mil.contract import BagModel, BagOutput
from slidenet.mil.pooling import uniform_attention
from slidenet.mil.recipe import TrainingRecipe
from slidenet.mil.tile_scores import tile_scores

ProbeKind = Literal["logistic", "svm", "ridge", "cox", "knn"]
BagColumns = Literal["mean", "mean_std"]
Predicts = Literal["labels", "classes", "order", "value", "risk", "hazards"]
"""What scores mean: logits of labels that are yes or no, logs of the shares of classes (for "order"
turned into CORN's conditional logits), a value, a log hazard ratio (for "hazards" turned into
logits of hazards per bin of time)."""

LINEAR: tuple[ProbeKind, ...] = ("logistic", "ridge", "cox")
PER_TILE: tuple[Predicts | None, ...] = ("labels", "classes", "value", "risk")
"""Where the score of a linear probe of means is the mean of scores of tiles."""
UNKNOWN = -1.0
MOST_DEVIATIONS = 10.0
"""From the training mean, that a column counts at most: the bags of another stain or scanner would
else all be of one class for sure."""
LEAST_SHARE = 1e-9
"""Nearest neighbours can be of one mind; a logit must be finite."""


class ProbeModel(BagModel):
    """A fitted probe.

    Linear probes of the mean alone give `tile_logits`, whose mean over the tiles of a bag is the
    bag's logits: the share of each tile in what is said. (Not where a column has long tails, which
    are drawn in, and not of a bag so far from the training bags that a column is cut off.)

    Args:
        feature_dim: Length of a feature vector.
        num_outputs: Length of the logits.
        kind: Which model; "auto" until it is chosen on the training bags.
        columns: What a bag is described by; "auto" until it is chosen.
        predicts: What its scores mean; None until it is fitted.
        num_rows: R, training bags kept by "svm" and "knn".

    Raises:
        ConfigError: For settings out of range.
    """

    needs_places = False
    recipe = TrainingRecipe(feature_scaling="none")

    centre: Tensor
    centre_rest: Tensor
    bending: Tensor
    mean: Tensor
    inverse_scale: Tensor
    weight: Tensor
    bias: Tensor
    rows: Tensor
    gamma: Tensor
    slope: Tensor
    values: Tensor
    neighbours: Tensor
    increments: Tensor

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        kind: ProbeKind | Literal["auto"] = "auto",
        columns: BagColumns | Literal["auto"] = "auto",
        predicts: Predicts | None = None,
        num_rows: int = 0,
    ) -> None:
        super().__init__(feature_dim, num_outputs)
        check_choice(("auto", *get_args(ProbeKind)), kind=kind)
        check_choice(("auto", *get_args(BagColumns)), columns=columns)
        check_whole(least=0, num_rows=num_rows)
        if predicts is not None:
            check_choice(get_args(Predicts), predicts=predicts)
        self.kind, self.columns, self.predicts = kind, columns, predicts
        width = 2 * feature_dim if columns == "mean_std" else feature_dim
        scores = {"order": num_outputs + 1, "hazards": 1}.get(predicts or "", num_outputs)
        shapes: dict[str, tuple[int, ...]] = {}
        if predicts is not None:
            shapes = dict.fromkeys(
                ("centre", "centre_rest", "bending", "mean", "inverse_scale"), (width,)
            )
            if kind in LINEAR:
                shapes |= {"weight": (width, scores), "bias": (scores,)}
            elif kind == "svm":
                of_scores = dict.fromkeys(("bias", "gamma", "slope"), (scores,))
                shapes |= {"rows": (num_rows, width), "values": (num_rows, scores), **of_scores}
            else:
                shapes |= {"rows": (num_rows, width), "values": (num_rows, scores)}
                shapes["neighbours"] = (scores,)
            if predicts == "hazards":
                shapes["increments"] = (num_outputs,)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def fitted(self) -> bool:
        """Whether it has been fitted, or is about to be filled with what was."""
        return self.predicts is not None

    @property
    def says_tiles(self) -> bool:
        """Whether what it says of a bag is the mean of what it says of its tiles."""
        linear = self.kind in LINEAR and self.columns == "mean" and self.predicts in PER_TILE
        return linear and not bool((self.bending > 0).any())

    def forward(self, features: Tensor, grid_xy: Tensor, mask: Tensor) -> BagOutput:
        """See `BagModel.forward`.

        Raises:
            ConfigError: It has not been fitted.
        """
        if not self.fitted:
            raise ConfigError(
                "a probe that has not been fitted",
                expected="one of `slidenet train` or `slidenet crossval`",
                remedy="fit it with slidenet.evaluation.fit_bag_probes, or load its bundle",
            )
        real = checked_mask(features, mask, self.feature_dim)
        assert real is not None
        with torch.autocast(features.device.type, enabled=False):
            x = zero_masked(features, real)
            x = x.float() if x.dtype != torch.float64 else x
            described = bag_columns(x, mask, with_deviation=self.columns == "mean_std")
            logits = self.logits(described).to(self.mean.dtype)
            tile_logits = None
            if self.says_tiles:
                tile_logits = self.logits(x, cut=False).to(logits)
        return BagOutput(logits, uniform_attention(mask, self.mean.dtype), tile_logits)

    @property
    def has_contributions(self) -> bool:
        """See `BagModel.has_contributions`: where it says something of tiles."""
        return self.says_tiles

    def contributions(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor, *, relative: bool = False
    ) -> Tensor | None:
        """See `BagModel.contributions`; what is cut off of a bag is cut off of its tiles alike."""
        if not self.has_contributions:
            return None
        real = checked_mask(features, mask, self.feature_dim)
        assert real is not None
        x = zero_masked(features, real)
        z = self.standardised(x)
        bag = self.standardised(bag_columns(x, mask, with_deviation=False))
        cut = bag.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        kept = torch.where(bag == cut, 1.0, cut / bag).to(z)
        scores = tile_scores(z * kept[:, None], self.weight.T, mask, relative=relative)
        return (scores / mask.sum(dim=1)[:, None, None]).to(self.mean.dtype)

    def logits(self, described: Tensor, *, cut: bool = True) -> Tensor:
        """Logits (B, K) of bags as columns (B, C), in their dtype; linear probes take any shape.

        Args:
            described: The bags.
            cut: Whether columns are cut off at `MOST_DEVIATIONS`. Single tiles, which lie much
                further out than means do, are not.
        """
        z = self.standardised(described)
        if cut:
            z = z.clamp(-MOST_DEVIATIONS, MOST_DEVIATIONS)
        if self.kind in LINEAR:
            scores = z @ self.weight.to(z) + self.bias.to(z)
        elif self.kind == "svm":
            scores = self._kernel_scores(z)
        else:
            scores = self._neighbour_scores(z)
        return self.logits_of_scores(scores)

    def logits_of_scores(self, scores: Tensor) -> Tensor:
        """What scores (..., S) mean: logits (..., K)."""
        if self.predicts == "order":
            return conditional_logits(scores)
        if self.predicts == "hazards":
            growth = scores.exp() * self.increments.to(scores)
            return torch.expm1(growth.clamp(1e-12, 500)).log()
        return scores

    def standardised(self, described: Tensor) -> Tensor:
        """Columns with mean 0 and deviation 1 over the training bags; 0 where they did not vary.

        Those with long tails are drawn in at their ends first.
        """
        # The centre in two parts, so that a mean of 1e6 keeps the digits that tell bags apart.
        x = described - self.centre.to(described) - self.centre_rest.to(described)
        bending = self.bending.to(x)
        x = torch.where(bending > 0, torch.asinh(x * bending), x)
        return (x - self.mean.to(x)) * self.inverse_scale.to(x)

    def _kernel_scores(self, z: Tensor) -> Tensor:
        """Calibrated decisions of a support vector machine per score, one against the rest."""
        apart = torch.cdist(z, self.rows.to(z), compute_mode="donot_use_mm_for_euclid_dist")
        kernels = torch.exp(-apart[..., None].square() * self.gamma.to(z))
        decision = (kernels * self.values.to(z)).sum(dim=1)
        logit = decision * self.slope.to(z) + self.bias.to(z)
        return logit if self.predicts == "labels" else F.logsigmoid(logit)

    def _neighbour_scores(self, z: Tensor) -> Tensor:
        """Nearest training bags by cosine, weighted by the inverse of their distance."""
        apart = 1 - F.normalize(z, dim=1) @ F.normalize(self.rows.to(z), dim=1).T
        apart = apart.clamp(min=0)
        values = self.values.to(z)
        everyone = values.new_ones(len(values), dtype=torch.bool)
        found = []
        for column in range(values.shape[1]):
            # A label need not be known of every bag; UNKNOWN stands for it.
            known = values[:, column] > UNKNOWN if self.predicts == "labels" else everyone
            count = min(int(self.neighbours[column]), int(known.sum()))
            nearest = apart[:, known].topk(count, dim=1, largest=False)
            # A bag at no distance at all decides alone.
            weights = 1 / nearest.values.clamp(min=1e-9)
            each = values[known, column][nearest.indices]
            found.append((weights * each).sum(dim=1) / weights.sum(dim=1))
        mean = torch.stack(found, dim=1)
        if self.predicts == "labels":
            return mean.clamp(LEAST_SHARE, 1 - LEAST_SHARE).logit()
        return mean if self.predicts == "value" else mean.clamp(min=LEAST_SHARE).log()


def bag_columns(features: Tensor, mask: Tensor, *, with_deviation: bool) -> Tensor:
    """Bags as columns: the mean of their tiles and, if asked for, the standard deviation.

    Args:
        features: (B, L, D), zero where masked.
        mask: Bool (B, L).
        with_deviation: Whether the deviations follow the means.

    Returns:
        (B, C), summed in float64 where the device can: raw features may be large, and their mean
        must not lose what tells bags apart.
    """
    exact = torch.float32 if features.device.type == "mps" else torch.float64
    count = mask.sum(dim=1)[:, None].to(exact)
    mean = features.sum(dim=1, dtype=exact) / count
    if not with_deviation:
        return mean
    near = mean.to(features.dtype)
    squares = zero_masked(features - near[:, None], mask).square().sum(dim=1, dtype=exact)
    variance = squares / count - (mean - near.to(exact)).square()
    return torch.cat([mean, variance.clamp(min=1e-24).sqrt()], dim=1)


def conditional_logits(scores: Tensor) -> Tensor:
    """CORN's logits of P(y > k | y >= k), (B, S - 1), from logs of the shares of S classes."""
    beyond = scores.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:]
    return beyond - scores[:, :-1]
