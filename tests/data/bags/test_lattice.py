"""Bags mirrored and turned in training."""

import numpy as np

from slidenet.data.bags.lattice import turned


def test_all_eight_ways_and_distances_kept():
    cells = np.array([[3, 5], [4, 5], [3, 7], [6, 9]])
    seen = {turned(cells, np.random.default_rng(seed)).tobytes() for seed in range(100)}
    assert len(seen) == 8
    for seed in range(8):
        moved = turned(cells, np.random.default_rng(seed))
        assert moved.min(axis=0).tolist() == [3, 5]
        np.testing.assert_allclose(_distances(moved), _distances(cells))


def _distances(cells):
    return np.linalg.norm(cells[:, None] - cells[None], axis=-1)
