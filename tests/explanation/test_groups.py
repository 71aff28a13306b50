"""Windows, blocks, clusters and labels of tiles."""

import numpy as np
import pytest

from slidenet.core.errors import ConfigError
from slidenet.explanation.groups import blocks, by_label, clusters, lattice_step, windows


def lattice(columns, rows, step=1):
    return np.array([[x * step, y * step] for y in range(rows) for x in range(columns)])


@pytest.mark.parametrize("step", [1, 2])
def test_windows_hold_the_neighbours_of_each_tile(step):
    cells = lattice(4, 3, step) + 7
    assert lattice_step(cells) == step
    found = windows(cells)
    assert [list(found[i]) for i in (0, 5, 11)] == [
        [0, 1, 4, 5],
        [0, 1, 2, 4, 5, 6, 8, 9, 10],
        [6, 7, 10, 11],
    ]
    assert [list(group) for group in windows(cells, 1)] == [[i] for i in range(12)]


def test_blocks_hold_every_tile_once():
    cells = lattice(7, 5)[::-1]
    found = blocks(cells, 3)
    assert sorted(map(len, found)) == sorted([9, 9, 3, 6, 6, 2])
    assert sorted(np.concatenate(found)) == list(range(35))
    for group in found:
        assert (np.ptp(cells[group], axis=0) < 3).all()


def test_tiles_without_neighbours_stay_alone():
    cells = np.array([[0, 0], [5, 9], [900, 3]])
    assert lattice_step(cells) == 1
    assert [list(group) for group in windows(cells)] == [[0], [1], [2]]
    assert lattice_step(cells[:1]) == 1


def test_clusters_put_alike_tiles_together():
    draw = np.random.default_rng(0)
    features = np.repeat(np.eye(5), 6, axis=0) * 10 + draw.normal(0, 0.1, (30, 5))
    found = clusters(features, 5)
    assert sorted(tuple(group) for group in found) == [
        tuple(range(6 * i, 6 * i + 6)) for i in range(5)
    ]
    assert all((a == b).all() for a, b in zip(found, clusters(features, 5), strict=True))
    assert len(clusters(features[:3], 8)) == 3, "no more clusters than tiles"


def test_labels_below_zero_are_in_no_group():
    found = by_label(np.array([-1, 2, 0, 2, -1, 0]))
    assert [list(group) for group in found] == [[2, 5], [1, 3]]
    assert by_label(np.array([-1, -1])) == []


def test_bad_sides_are_named():
    with pytest.raises(ConfigError, match="side is 0"):
        windows(lattice(2, 2), 0)
    with pytest.raises(ConfigError, match="count is 0"):
        clusters(np.eye(3), 0)
