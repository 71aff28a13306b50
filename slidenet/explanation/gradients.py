"""Gradients at the tiles of a bag: gradient x (input - bag mean), and integrated gradients.

Both compare the bag with one whose tiles all are the mean of its tiles. A baseline of zeros lies
far from all tissue, and models say anything there.

Source: Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks": integrated
gradients (equation 1) and completeness (proposition 1), the attributions sum to the difference of
the two scores. Instead of a fixed number of steps, the path is halved where the sum is furthest
from the difference, since a saturated softmax turns over within a small part of the path.

Shapes: N tiles, D feature length.
"""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from slidenet.attention import DilatedAttention
from slidenet.core.arrays import Float64Array
from slidenet.core.checks import check_share, check_whole
from slidenet.explanation.methods import EXPLAINERS, Explanation
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.block import SelfAttention
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

Score = Callable[[Tensor], Tensor]
"""Features (N, D) of a bag to one number, a logit or a sum of logits; differentiable."""

TOLERANCE = 0.01
MAX_STEPS = 512
RECOMPUTED_ABOVE = 1 << 26
"""Numbers in the states of all blocks (256 MB) from which a LongNet recomputes its blocks."""


@dataclass(frozen=True, eq=False)
class PathPoint:
    """The score at one place of the path, and how it changes there by the features of each tile.

    Attributes:
        place: From 0, the baseline, to 1, the bag.
        score: Of the model.
        slopes: (N,), gradient times (input - baseline), summed over features.
    """

    place: float
    score: float
    slopes: Float64Array


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """What `integrated_gradients` found.

    Attributes:
        values: (N,), their sum is the difference but for the gap.
        steps: Forward and backward passes it took.
        difference: Score of the bag minus that of the baseline.
        gap: |sum of the values - difference| / |difference|.
        is_complete: Whether the tolerance was reached within the steps allowed.
    """

    values: Float64Array
    steps: int
    difference: float
    gap: float
    is_complete: bool


def bag_mean(features: Tensor) -> Tensor:
    """Mean of the tiles of a bag, (N, D) -> (D,), accumulated in float64."""
    return features.mean(dim=0, dtype=torch.float64).to(features.dtype)


def gradient_x_input(score: Score, features: Tensor, baseline: Tensor) -> Float64Array:
    """Gradient times (input - baseline), summed over the features of each tile: one pass.

    Args:
        score: The model.
        features: (N, D).
        baseline: (D,).

    Returns:
        (N,), with the sign it has. The sign is not to be believed: where a softmax is saturated the
        gradient of a decisive tile says how little more of it would change.
    """
    return _at(1.0, score, features - baseline, baseline).slopes


def integrated_gradients(
    score: Score,
    features: Tensor,
    baseline: Tensor,
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = MAX_STEPS,
) -> IntegratedGradients:
    """Gradients along the straight line from the baseline to the bag, by Simpson's rule.

    Between two places of the path the slopes must add up to the change of the score. The part that
    misses it most is halved, until the parts together miss at most `tolerance` of all changes along
    the path, the sum of all tiles misses at most `tolerance` of the difference, and halving changes
    single tiles little.

    Args:
        score: The model.
        features: (N, D).
        baseline: (D,), for every tile.
        tolerance: See above.
        max_steps: Passes after which it stops, at least 9.

    Raises:
        ConfigError: For settings out of range.
    """
    check_share(above_zero=True, tolerance=tolerance)
    check_whole(least=9, max_steps=max_steps)
    offsets = features - baseline
    points = [_at(place, score, offsets, baseline) for place in (0.0, 0.25, 0.5, 0.75, 1.0)]
    difference, steps = points[-1].score - points[0].score, len(points)
    # Float32 cannot tell smaller changes, and would have the path halved without end.
    noise = 4 * np.finfo(np.float32).eps * max(abs(point.score) for point in points)
    parts = [_Part(*points[:3]), _Part(*points[2:])]
    while True:
        values = np.sum([part.integral for part in parts], axis=0)
        missed = abs(float(values.sum()) - difference)
        along = sum(abs(part.change) for part in parts)
        is_complete = (
            missed <= tolerance * abs(difference) + noise
            and sum(part.error for part in parts) <= tolerance * along + noise
            and sum(part.shift for part in parts) <= 10 * tolerance * np.abs(values).sum() + noise
        )
        if is_complete or steps + 2 > max_steps:
            # A bag that says what its baseline says has nothing to share out.
            gap = missed / abs(difference) if difference else float(missed > 0)
            return IntegratedGradients(values, steps, difference, gap, bool(is_complete))
        whole = heapq.heappop(parts)
        low, middle, high = whole.points
        halves = [
            _Part(first, _at((first.place + last.place) / 2, score, offsets, baseline), last)
            for first, last in ((low, middle), (middle, high))
        ]
        shift = float(np.abs(whole.integral - halves[0].integral - halves[1].integral).sum())
        for half in halves:
            half.shift = shift / 2
            heapq.heappush(parts, half)
        steps += 2


class _Part:
    """A part of the path, from its two ends and its middle; the heap gives the worst one first.

    Attributes:
        points: In order.
        integral: (N,), of the slopes, by Simpson's rule.
        change: Of the score, from end to end.
        error: How far the sum of the integral is from it.
        shift: By how much the tiles changed when it came to be, half of a larger part; their errors
            may cancel in the sum. Simpson's rule leaves a fifteenth of it.
    """

    def __init__(self, low: PathPoint, middle: PathPoint, high: PathPoint) -> None:
        self.points = (low, middle, high)
        total = low.slopes + 4 * middle.slopes + high.slopes
        self.integral = total * ((high.place - low.place) / 6)
        self.change = high.score - low.score
        self.error = abs(float(self.integral.sum()) - self.change)
        self.shift = np.inf

    def __lt__(self, other: "_Part") -> bool:
        return self.error + self.shift > other.error + other.shift


def _at(place: float, score: Score, offsets: Tensor, baseline: Tensor) -> PathPoint:
    """One forward and one backward pass at a place of the path."""
    with torch.enable_grad():
        point = torch.add(baseline, offsets, alpha=place).requires_grad_()
        value = score(point)
        (gradient,) = torch.autograd.grad(value, point)
    slopes = torch.einsum("nd,nd->n", gradient, offsets)
    return PathPoint(place, float(value.detach()), slopes.double().cpu().numpy())


@contextmanager
def for_gradients_of_tiles(network: nn.Module, num_tiles: int) -> Iterator[None]:
    """Within the block gradients are those of the logits, and only tiles need memory for them.

    Released dilated attention sends no gradient through the weights that mix its branches: what it
    learns by is not the slope of what it says, and would never add up to it. What a linear layer
    keeps for the gradient of its weights is as large as its input, and what blocks keep for the
    backward would not fit for thousands of tiles: large slides have them recomputed.

    Args:
        network: Any model; as it was afterwards.
        num_tiles: Of the bag.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    layers = [m for m in network.modules() if isinstance(m, SelfAttention)]
    encoders = [m for m in network.modules() if isinstance(m, LongNetViT)]
    patterns = [layer.pattern for layer in layers]
    recomputed = [encoder.checkpoint_activations for encoder in encoders]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        for layer in layers:
            if isinstance(layer.pattern, DilatedAttention):
                layer.pattern = replace(layer.pattern, mixing_gradient="true")
        for encoder in encoders:
            states = num_tiles * encoder.config.embed_dim * encoder.config.depth
            encoder.checkpoint_activations |= states > RECOMPUTED_ABOVE
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for layer, pattern in zip(layers, patterns, strict=True):
            layer.pattern = pattern
        for encoder, was in zip(encoders, recomputed, strict=True):
            encoder.checkpoint_activations = was


class GradientXInput:
    """|gradient x (input - bag mean)| of each tile: one forward and backward pass."""

    name = "gradient_x_input"
    signed = False
    unit: Unit = "logit"
    is_evidence = False

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return no_gradient(network)

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        with for_gradients_of_tiles(subject.network, len(subject)):
            values = gradient_x_input(
                lambda x: subject.score(target, features=x),
                subject.features,
                bag_mean(subject.features),
            )
        return np.abs(values).astype(np.float32), {"baseline": BASELINE, "absolute": True}


class PathGradients:
    """Integrated gradients from the mean of the bag; their sum is what the bag says beyond it."""

    name = "integrated_gradients"
    signed = True
    unit: Unit = "logit"
    is_evidence = True

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return no_gradient(network)

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`."""
        with for_gradients_of_tiles(subject.network, len(subject)):
            found = integrated_gradients(
                lambda x: subject.score(target, features=x),
                subject.features,
                bag_mean(subject.features),
            )
        return found.values.astype(np.float32), {
            "baseline": BASELINE,
            "steps": found.steps,
            "most_steps": MAX_STEPS,
            "difference": found.difference,
            "completeness_gap": found.gap,
            "complete": found.is_complete,
        }


BASELINE = "mean of the bag's tiles"


def no_gradient(network: BagModel) -> str:
    """Empty, or why the logits of a network have no gradient at its tiles."""
    return "" if any(True for _ in network.parameters()) else "it is fitted and has no gradient"


EXPLAINERS.add(GradientXInput.name, GradientXInput())
EXPLAINERS.add(PathGradients.name, PathGradients())
