"""Bags as columns of one scale, and the few directions in which training bags differ at all."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.utils.extmath import randomized_svd

from slidenet.core.arrays import Float64Array, FloatArray

MOST_DIRECTIONS = 512
NO_SPREAD = 1e-6
"""A column whose deviation is a smaller share of its size does not vary; float32 has 7 digits."""
LEAST_SPREAD = 1e-30
"""Its inverse is still a float32."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Training bags, standardised.

    Attributes:
        mean: (C,).
        inverse_scale: (C,), one over the standard deviation; 0 for a column that does not vary.
        z: (N, C), mean 0 and deviation 1.
    """

    mean: Float64Array
    inverse_scale: Float64Array
    z: Float64Array

    @classmethod
    def of(cls, values: FloatArray) -> "Columns":
        """From bags (N, C) as they are."""
        values = values.astype(np.float64)
        mean = values.mean(axis=0)
        centred = values - mean
        # In two steps: the squares of values beyond 1e154 would overflow.
        size = np.abs(centred).max(axis=0)
        spread = size * np.sqrt(np.mean((centred / np.where(size > 0, size, 1)) ** 2, axis=0))
        varies = (spread > NO_SPREAD * np.abs(values).max(axis=0)) & (spread > LEAST_SPREAD)
        inverse = np.divide(1, spread, out=np.zeros_like(spread), where=varies)
        return cls(mean, inverse, centred * inverse)

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
