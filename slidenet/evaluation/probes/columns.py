"""Bags as columns of one scale, and the few directions in which training bags differ at all."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.utils.extmath import randomized_svd

from slidenet.core.arrays import Float64Array, FloatArray
from slidenet.mil.probe import MOST_DEVIATIONS

MOST_DIRECTIONS = 512
NO_SPREAD = 1e-6
"""A column whose deviation is a smaller share of its size does not vary; float32 has 7 digits."""
LONG_TAILS = 3.0
"""Excess kurtosis from which on a column has long tails."""
LEAST_SPREAD = 1e-30
"""Its inverse is still a float32."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Training bags, standardised; columns with long tails are bent first, as `bend` does.

    Raw features (areas, counts) may have them, and a few bags would then decide everything.

    Attributes:
        centre: (C,), the mean; of a column with long tails the median.
        bending: (C,), one over the spread of the middle of a column with long tails, else 0.
        mean: (C,), of the bent columns; 0 of others.
        inverse_scale: (C,), one over the standard deviation; 0 for a column that does not vary.
        z: (N, C), mean 0 and deviation 1, cut off as `ProbeModel.logits` cuts new bags off.
    """

    centre: Float64Array
    bending: Float64Array
    mean: Float64Array
    inverse_scale: Float64Array
    z: Float64Array

    @classmethod
    def of(cls, values: FloatArray) -> "Columns":
        """From bags (N, C) as they are."""
        exact: Float64Array = values.astype(np.float64)
        mean, spread = _mean_and_spread(exact)
        varies = (spread > NO_SPREAD * np.abs(exact).max(axis=0)) & (spread > LEAST_SPREAD)
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=varies)
        z = (exact - mean) * inverse
        centre, bending, offset = mean, np.zeros_like(mean), np.zeros_like(mean)
        # Excess kurtosis: 0 of a normal distribution, whose sample has a deviation of 24 / N.
        tailed = np.mean(z**4, axis=0) - 3 > max(LONG_TAILS, 5 * np.sqrt(24 / len(exact)))
        if tailed.any():
            centre = np.where(tailed, np.median(exact, axis=0), mean)
            middle = np.median(np.abs(exact - centre), axis=0)
            middle = np.where(middle > NO_SPREAD * spread, middle, spread)  # most bags alike
            bending = np.divide(1, middle, out=np.zeros_like(mean), where=tailed)
            bent = bend(exact - centre, bending)
            means, spread = _mean_and_spread(bent)
            offset = np.where(tailed, means, 0.0)
            inverse = np.where(tailed, 1 / np.where(tailed, spread, 1), inverse)
            z = (bent - offset) * inverse
        return cls(centre, bending, offset, inverse, np.clip(z, -MOST_DEVIATIONS, MOST_DEVIATIONS))

    @property
    def num_varying(self) -> int:
        """Columns that vary."""
        return int(np.count_nonzero(self.inverse_scale))

    @cached_property
    def products(self) -> Float64Array:
        """(N, N), inner products of the training bags."""
        products: Float64Array = self.z @ self.z.T
        return products

    @cached_property
    def distances(self) -> Float64Array:
        """(N, N), squared distances of the training bags."""
        sizes = np.diag(self.products)
        apart: Float64Array = np.maximum(sizes[:, None] + sizes - 2 * self.products, 0)
        return apart

    @cached_property
    def basis(self) -> Float64Array:
        """(C, r), orthonormal: the directions in which training bags differ.

        What a penalised linear model finds lies among them, so that fitting along them loses
        nothing; of more than `MOST_DIRECTIONS` those of most variance are kept.
        """
        count, width = self.z.shape
        if not self.z.any():  # bags that are all alike; scikit-learn wants a direction all the same
            return np.eye(width, 1)
        if width <= min(count, MOST_DIRECTIONS):
            return np.eye(width)
        if min(count, width) > MOST_DIRECTIONS:
            axes: Float64Array = randomized_svd(self.z, MOST_DIRECTIONS, n_iter=2, random_state=0)[
                2
            ]
            return axes.T
        # Of the smaller of the two squares; directions without variance are rounding errors.
        if count <= width:
            variance, left = np.linalg.eigh(self.products)
            kept = variance > 1e-10 * max(variance.max(initial=0), 1e-300)
            found: Float64Array = self.z.T @ (left[:, kept] / np.sqrt(variance[kept]))
            return found
        variance, axes = np.linalg.eigh(self.z.T @ self.z)
        return axes[:, variance > 1e-10 * max(variance.max(initial=0), 1e-300)]

    @cached_property
    def reduced(self) -> Float64Array:
        """(N, r), the training bags along the basis."""
        reduced: Float64Array = self.z @ self.basis
        return reduced


def bend(centred: Float64Array, bending: Float64Array) -> Float64Array:
    """Columns drawn in at their ends (inverse hyperbolic sine) where `bending` is above 0."""
    return np.where(bending > 0, np.arcsinh(centred * bending), centred)


def _mean_and_spread(values: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Of each column."""
    mean = values.mean(axis=0)
    centred = values - mean
    # In two steps: the squares of values beyond 1e154 would overflow.
    size = np.abs(centred).max(axis=0)
    spread = size * np.sqrt(np.mean((centred / np.where(size > 0, size, 1)) ** 2, axis=0))
    return mean, spread
