"""How the features of a training cohort lie, to tell a slide that is unlike all of them.

A model answers for every slide, also for one of another stain, scanner or organ. What it takes is
compared with what it was trained on by one vector per bag, the mean over its tiles. Features are
brought to one scale by median and median deviation. The leading components and what they leave over
are judged apart (Hotelling's T2 and the residual Q, Jackson and Mudholkar 1979), each in deviations
of its logarithm among training bags; the larger counts. Training bags are measured by components
that were fitted without their patients, so that a bag of a new patient is as far away as they are.

N bags, D features, K components.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from slidenet.core.arrays import BoolArray, Float64Array, FloatArray
from slidenet.core.errors import StoreError
from slidenet.mil import BagBatch

LEAST_BAGS = 10
MOST_BAGS = 1000
"""Fewer tell nothing; of more, so many are taken, evenly spread over the table."""

MOST_COMPONENTS = 16
BAGS_PER_COMPONENT = 4
NUM_GROUPS = 5
"""Groups of training bags, each measured by the components of the others."""

WIDEST = 10.0
"""Deviations that a single feature counts at most: one broken feature is no other cohort."""

LEAST_SQUARE, LEAST_SPREAD = 1e-6, 1e-3
"""What is smaller is rounding: with as many components as features nothing is left over."""

FAR = 0.01
"""A bag is far from the training cohort where at most this share of its bags is as far."""


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Where the training bags lie, and how far from there they lie themselves.

    Attributes:
        centre: float32 (D,) median of the features.
        scale: float32 (D,) spread of the features, above 0.
        basis: float32 (K, D) leading components of the scaled features.
        variance: float32 (K,) of each of them, above 0.
        usual: float32 (2,) median of log T2 and of log Q among the training bags.
        spread: float32 (2,) their deviations, above 0.
        distances: float32 (N,) of the training bags, ascending.
    """

    centre: Tensor
    scale: Tensor
    basis: Tensor
    variance: Tensor
    usual: Tensor
    spread: Tensor
    distances: Tensor

    @property
    def least_share(self) -> float:
        """The smallest share that `shares_as_far` can give."""
        return 1 / (len(self.distances) + 1)

    def distance(self, rows: FloatArray) -> Float64Array:
        """How many deviations bags lie farther out than the middle of the training cohort.

        Args:
            rows: (M, D) mean features of bags.
        """
        scaled = _scaled(rows, _array(self.centre), _array(self.scale))
        parts = _parts(scaled, _array(self.basis), _array(self.variance))
        return np.asarray(((parts - _array(self.usual)) / _array(self.spread)).max(axis=1))

    def shares_as_far(self, rows: FloatArray) -> Float64Array:
        """Share of the training bags, with the bag itself, that lie as far out as it or farther.

        For a bag drawn as the training bags were, the chance of a share of at most p is at most
        about p (a conformal p-value; Bates et al. 2023).

        Args:
            rows: (M, D) mean features of bags.

        Returns:
            (M,) above 0 and at most 1.
        """
        below = np.searchsorted(_array(self.distances), self.distance(rows), side="left")
        count = len(self.distances)
        return np.asarray((count - below + 1) / (count + 1))

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, for a file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(
        cls, found: object, feature_dim: int, *, source: str
    ) -> "FeatureStatistics | None":
        """What `tensors` gave, checked.

        Args:
            found: Of a file; None where it has none.
            feature_dim: Length D of the features that the model takes.
            source: The file, for messages.

        Raises:
            StoreError: It is something else, or does not fit the model.
        """
        if found is None:
            return None
        names = [f.name for f in fields(cls)]
        if not (isinstance(found, Mapping) and sorted(map(str, found)) == sorted(names)):
            raise _unfit(source, "they are not complete")
        tensors = {name: found[name] for name in names}
        if not all(isinstance(t, Tensor) and t.dtype == torch.float32 for t in tensors.values()):
            raise _unfit(source, "they are no tensors of float32")
        components, bags = tensors["variance"].numel(), tensors["distances"].numel()
        wanted = {
            "centre": (feature_dim,),
            "scale": (feature_dim,),
            "basis": (components, feature_dim),
            "variance": (components,),
            "usual": (2,),
            "spread": (2,),
            "distances": (max(bags, 1),),
        }
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != wanted[name]:
                raise _unfit(source, f"{name} has the shape {tuple(tensor.shape)}")
            if not bool(tensor.isfinite().all()):
                raise _unfit(source, f"{name} is not finite")
        positive = ("scale", "variance", "spread")
        if not all(bool((tensors[name] > 0).all()) for name in positive):
            raise _unfit(source, f"{', '.join(positive)} are not above 0")
        if bool((tensors["distances"].diff() < 0).any()):
            raise _unfit(source, "distances are not in order")
        return cls(**tensors)


def mean_features(batch: BagBatch) -> Float64Array:
    """The mean over the tiles of each bag of a batch, (B, D)."""
    features, mask = batch.features.double(), batch.mask[..., None]
    total = torch.where(mask, features, torch.zeros_like(features)).sum(dim=1)
    mean: Float64Array = (total / mask.sum(dim=1)).cpu().numpy()
    return mean


def fit_statistics(
    rows: FloatArray, patients: Sequence[str] | None = None
) -> FeatureStatistics | None:
    """The statistics of a training cohort.

    Args:
        rows: (N, D) mean features of its bags.
        patients: Whose each of the N bags is; each of another where not given. Bags of a patient
            are alike: measured by components that know the patient, they would lie so near that
            nearly every new patient looked far.

    Returns:
        None where there are fewer than 10 patients, or the bags are all alike.
    """
    count = len(rows)
    names: Sequence[Hashable] = range(count) if patients is None else patients
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    if len(place) < LEAST_BAGS:
        return None
    # As many components in each fit below, or they would not measure alike.
    fewest = len(place) - math.ceil(len(place) / NUM_GROUPS)
    num_components = min(MOST_COMPONENTS, fewest // BAGS_PER_COMPONENT, rows.shape[1])
    whole = _fit(rows, num_components)
    if whole is None:
        return None
    groups = np.array([place[name] for name in names]) % NUM_GROUPS
    parts = np.empty((count, 2))
    for group in range(NUM_GROUPS):
        inside: BoolArray = groups == group
        fitted = _fit(rows[~inside], num_components)
        if fitted is None:
            return None
        centre, scale, basis, variance = fitted
        parts[inside] = _parts(_scaled(rows[inside], centre, scale), basis, variance)
    usual = np.median(parts, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(parts - usual), axis=0), LEAST_SPREAD)
    distances = np.sort(((parts - usual) / spread).max(axis=1))
    return FeatureStatistics(*map(_tensor, (*whole, usual, spread, distances)))


def _fit(
    rows: FloatArray, num_components: int
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array] | None:
    """Centre, scale, components and their variances; None where no feature varies."""
    rows = rows.astype(np.float64)
    centre: Float64Array = np.median(rows, axis=0)
    scale = 1.4826 * np.median(np.abs(rows - centre), axis=0)
    # More than half of the bags alike, as with counts: the plain deviation, which others move.
    scale = np.where(scale > 0, scale, rows.std(axis=0))
    if not (scale > 0).any():
        return None
    scale = np.maximum(scale, 1e-3 * np.median(scale[scale > 0]))
    scaled = _scaled(rows, centre, scale)
    if scaled.shape[1] <= len(scaled):
        basis = np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1][:, :num_components].T
    else:  # the same components from the smaller product
        basis = np.linalg.eigh(scaled @ scaled.T)[1][:, ::-1][:, :num_components].T @ scaled
        basis /= np.maximum(np.linalg.norm(basis, axis=1, keepdims=True), 1e-12)
    variance = np.maximum(((scaled @ basis.T) ** 2).mean(axis=0), 1e-6)
    return centre, scale, basis, variance


def _scaled(rows: FloatArray, centre: FloatArray, scale: FloatArray) -> Float64Array:
    return np.asarray(np.clip((rows.astype(np.float64) - centre) / scale, -WIDEST, WIDEST))


def _parts(scaled: FloatArray, basis: FloatArray, variance: FloatArray) -> Float64Array:
    """Logarithms of T2 and Q of each bag, (N, 2)."""
    scores = scaled @ basis.T
    residual = (scaled**2).sum(axis=1) - (scores**2).sum(axis=1)
    both = np.stack([(scores**2 / variance).sum(axis=1), residual], axis=1)
    return np.asarray(np.log(np.maximum(both, LEAST_SQUARE)))


def _array(tensor: Tensor) -> Float64Array:
    return tensor.numpy().astype(np.float64)


def _tensor(array: FloatArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _unfit(source: str, fault: str) -> StoreError:
    return StoreError(
        f"the statistics of features in {source} do not fit its model: {fault}",
        remedy="copy or make the file again",
    )
