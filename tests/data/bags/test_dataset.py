"""Bags hold the real tiles of their files in order, and the same tiles for the same draw."""

import math
import pickle

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, CoordinateError, StoreError
from slidenet.data import BagDataset, BagSource, collate_bags
from slidenet.data.bags.lattice import side_by_side
from slidenet.stores import FeatureMemory


@pytest.fixture
def dataset_of(cohort_kit, tmp_path):
    def make(*bags, targets=None, **settings):
        sources = [
            BagSource(
                bag_id,
                tuple(cohort_kit.open_slide(tmp_path, s, n, **change) for s, n, change in slides),
            )
            for bag_id, slides in bags
        ]
        return BagDataset(sources, targets, **settings)

    return make


def test_a_bag_is_the_file_as_float32(dataset_of, cohort_kit):
    dataset = dataset_of(("s1", [("s1", 9, {"mpp": 0.25})]), targets=np.array([1]))
    bag = dataset[0]
    assert bag.features.dtype == torch.float32
    np.testing.assert_array_equal(bag.features.numpy(), cohort_kit.features_of("s1", 9))
    np.testing.assert_array_equal(bag.coords.numpy(), cohort_kit.coords_of(9, 512))
    np.testing.assert_array_equal(bag.grid_xy.numpy(), cohort_kit.coords_of(9, 1))
    assert (bag.bag_id, bag.slide_ids) == ("s1", ("s1",))
    assert bag.target.dtype == torch.int64
    assert bag.target.item() == 1


def test_unreadable_tiles_are_left_out(dataset_of, cohort_kit):
    bag = dataset_of(("s1", [("s1", 9, {"unreadable": (0, 4)})]))[0]
    kept = [1, 2, 3, 5, 6, 7, 8]
    np.testing.assert_array_equal(bag.features.numpy(), cohort_kit.features_of("s1", 9)[kept])
    np.testing.assert_array_equal(bag.coords.numpy(), cohort_kit.coords_of(9)[kept])
    assert bag.target is None


def test_a_slide_without_any_readable_tile_is_refused(dataset_of):
    dataset = dataset_of(("s1", [("s1", 2, {"unreadable": (0, 1)})]))
    with pytest.raises(StoreError, match=r"s1.h5: none of its 2 tiles could be read"):
        dataset[0]


def test_slides_of_a_patient_lie_side_by_side_with_a_gap(dataset_of, cohort_kit):
    bag = dataset_of(("p", [("s1", 5, {}), ("s2", 3, {"mpp": 0.25})]))[0]
    assert bag.slide_ids == ("s1", "s2")
    wanted = [cohort_kit.features_of("s1", 5), cohort_kit.features_of("s2", 3)]
    np.testing.assert_array_equal(bag.features.numpy(), np.concatenate(wanted))
    first = [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)]  # four columns, then a gap of eight
    assert [tuple(c) for c in bag.grid_xy.tolist()] == [*first, (12, 0), (13, 0), (14, 0)]
    assert bag.coords[5:].tolist() == [[0, 0], [512, 0], [1024, 0]]


def test_max_tiles_draws_without_replacement_in_order(dataset_of):
    dataset = dataset_of(("s1", [("s1", 40, {})]), ("s2", [("s2", 7, {})]), max_tiles=10, seed=3)
    assert dataset.lengths == (10, 7)
    whole = dataset_of(("s1", [("s1", 40, {})]))[0].coords
    position = {tuple(c): i for i, c in enumerate(whole.tolist())}
    draws = [[position[tuple(c)] for c in dataset.read(0, d).coords.tolist()] for d in range(200)]
    assert all(rows == sorted(set(rows)) and len(rows) == 10 for rows in draws)
    assert draws[0] != draws[1]
    assert draws[0] == [position[tuple(c)] for c in dataset[0].coords.tolist()]
    counts = np.bincount(np.concatenate(draws), minlength=40)
    assert 25 < counts.min() <= counts.max() < 80  # each tile about 50 times
    assert len(dataset[1].coords) == 7


def test_a_draw_depends_on_the_bag_not_on_its_place(dataset_of):
    slides = [("s1", [("s1", 40, {})]), ("s2", [("s2", 40, {})])]
    here = dataset_of(*slides, max_tiles=5, seed=1)
    there = dataset_of(*slides[::-1], max_tiles=5, seed=1)
    np.testing.assert_array_equal(here.read(0, 7).coords, there.read(1, 7).coords)
    assert (here.read(0, 7).coords != here.read(1, 7).coords).any()
    other = dataset_of(*slides, max_tiles=5, seed=2)
    assert (here.read(0, 7).coords != other.read(0, 7).coords).any()


def test_a_reader_that_keeps_reads_each_file_once(dataset_of, tmp_path):
    dataset = dataset_of(("s1", [("s1", 9, {})]), memory=FeatureMemory(math.inf))
    first = dataset[0].features
    (tmp_path / "s1.h5").unlink()
    again = dataset[0].features
    np.testing.assert_array_equal(first, again)
    again.zero_()  # what a caller does to a bag must not reach what is kept
    np.testing.assert_array_equal(dataset[0].features, first)
    with pytest.raises(StoreError, match=r"s1.h5 does not exist"):
        pickle.loads(pickle.dumps(dataset))[0]


def test_nan_in_a_bag_is_found_when_it_is_read(dataset_of, tmp_path):
    import h5py

    dataset = dataset_of(("s1", [("s1", 9, {})]))
    with h5py.File(tmp_path / "s1.h5", "r+") as h5:
        h5["features"][4, 2] = np.nan
    with pytest.raises(StoreError, match=r"s1.h5 holds NaN or infinite features in row 4 of 9"):
        dataset[0]


def test_settings_out_of_range(dataset_of):
    with pytest.raises(ConfigError, match=r"max_tiles is 0"):
        dataset_of(("s1", [("s1", 9, {})]), max_tiles=0)
    with pytest.raises(ConfigError, match=r"2 targets for 1 bags"):
        dataset_of(("s1", [("s1", 9, {})]), targets=np.zeros(2))
    with pytest.raises(IndexError):
        dataset_of(("s1", [("s1", 9, {})]))[1]


def test_collate_pads_with_zeros_and_masks(dataset_of):
    dataset = dataset_of(
        ("s1", [("s1", 3, {})]), ("s2", [("s2", 5, {})]), targets=np.float32([[1, np.nan], [0, 1]])
    )
    batch = collate_bags([dataset[0], dataset[1]])
    assert batch.features.shape == (2, 5, 6)
    assert batch.coords.shape == batch.grid_xy.shape == (2, 5, 2)
    assert (batch.coords.dtype, batch.grid_xy.dtype) == (torch.int64, torch.int64)
    assert batch.mask.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    np.testing.assert_array_equal(batch.features[0, :3], dataset[0].features)
    np.testing.assert_array_equal(batch.grid_xy[1], dataset[1].grid_xy)
    assert not batch.features[0, 3:].any()
    assert not batch.coords[0, 3:].any()
    np.testing.assert_array_equal(batch.target.numpy(), np.float32([[1, np.nan], [0, 1]]))
    assert (batch.bag_ids, batch.slide_ids) == (("s1", "s2"), (("s1",), ("s2",)))
    assert len(batch) == 2


def test_collate_of_bags_without_labels_and_of_one_bag(dataset_of):
    batch = collate_bags(dataset_of(("s1", [("s1", 3, {})]))[0])
    assert batch.target is None
    assert batch.mask.all()


def box(width, height, at=(0, 0)):
    """The corner cells of a slide."""
    return np.array([(0, 0), (width - 1, height - 1)]) + at


def test_one_slide_stays_where_it_is():
    cells = box(5, 5, at=(2000, 3))
    assert side_by_side([cells]) is cells


def test_slides_go_below_where_the_lattice_ends():
    moved = side_by_side([box(600, 100, at=(50, 7)), box(300, 40), box(500, 200)])
    assert moved.tolist() == [[0, 0], [599, 99], [608, 0], [907, 39], [0, 108], [499, 307]]


def test_slides_that_do_not_fit_are_refused():
    with pytest.raises(CoordinateError, match=r"slide 'p1': its 3 slides do not fit side by side"):
        side_by_side([box(900, 600), box(900, 300), box(900, 200)], bag_id="p1")
    with pytest.raises(CoordinateError, match=r"at most 1000 x 1000 cells"):
        side_by_side([box(1001, 2), box(2, 2)])


def test_slides_that_just_fit():
    moved = side_by_side([box(496, 1000), box(496, 1000)])
    assert moved.max(axis=0).tolist() == [999, 999]
