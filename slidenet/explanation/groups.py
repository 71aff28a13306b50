"""Tiles put together: windows and blocks on the lattice, and clusters of alike tiles.

A group is an int64 array of tiles. Removing one tile of many that say the same changes nothing, so
questions of "what if this were not there" are asked about groups.
"""

import warnings
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.checks import check_whole

Groups = list[IntArray]


def lattice_step(grid_xy: IntArray) -> int:
    """Cells from a tile to its neighbour: the most common gap within a row, 1 where there is none.

    Args:
        grid_xy: (N, 2), (column, row) cells of 256 px at 0.5 mpp; tiles of another size leave gaps.
    """
    order = np.lexsort((grid_xy[:, 0], grid_xy[:, 1]))
    gaps = np.diff(grid_xy[order], axis=0)
    beside = gaps[(gaps[:, 1] == 0) & (gaps[:, 0] > 0), 0]
    return int(np.bincount(beside).argmax()) if len(beside) else 1


def windows(grid_xy: IntArray, side: int = 3) -> Groups:
    """Around each tile those of a square of `side` x `side` places, itself included.

    Args:
        grid_xy: (N, 2), cells.
        side: Odd number of places.

    Returns:
        N groups, in the order of the tiles.

    Raises:
        ConfigError: For a side below 1.
    """
    check_whole(side=side)
    reach = (side // 2 + 0.5) * lattice_step(grid_xy)
    tree = cKDTree(grid_xy)
    near = tree.query_ball_point(grid_xy, reach, p=np.inf, return_sorted=True)
    return [np.asarray(group, dtype=np.int64) for group in near]


def blocks(grid_xy: IntArray, side: int = 3) -> Groups:
    """The lattice cut into squares of `side` x `side` places, each tile in one.

    Raises:
        ConfigError: For a side below 1.
    """
    check_whole(side=side)
    places = (grid_xy - grid_xy.min(axis=0)) // (side * lattice_step(grid_xy))
    _, labels = np.unique(places, axis=0, return_inverse=True)
    return by_label(labels)


def clusters(features: FloatArray, count: int = 8, *, seed: int = 0) -> Groups:
    """Tiles that look alike to the tile encoder, by k-means.

    Args:
        features: (N, D).
        count: How many; no more than there are tiles.
        seed: Of the start.

    Raises:
        ConfigError: For a count below 1.
    """
    check_whole(count=count)
    model = KMeans(min(count, len(features)), n_init=1, random_state=seed)
    with warnings.catch_warnings():  # tiles that are all alike make fewer groups, which is right
        warnings.simplefilter("ignore", ConvergenceWarning)
        return by_label(model.fit_predict(np.asarray(features, dtype=np.float32)))


def by_label(labels: IntArray) -> Groups:
    """The tiles of each label, ascending; tiles of a negative label are in no group.

    Args:
        labels: (N,), whole numbers: clusters, or the drawn region that each tile lies in.
    """
    order = np.argsort(labels, kind="stable").astype(np.int64)
    order = order[labels[order] >= 0]
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return [order[a:b] for a, b in pairwise([*starts, len(order)])]
