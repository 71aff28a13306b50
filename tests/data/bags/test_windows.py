"""Bags that do not stay in memory: the same draws, read in windows, and nothing whole."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.records import WHOLE_PIXEL_READING
from slidenet.data import BagDataset, BagSource
from slidenet.stores import FeatureMemory
from slidenet.stores.features import file as feature_file
from slidenet.stores.features import proof
from slidenet.testing.cohorts.edited import edited
from slidenet.training import memory as training_memory
from slidenet.training.memory import check_whole_bag

NO_MEMORY, ALL = 0, np.inf


@pytest.fixture
def files(cohort_kit, tmp_path, monkeypatch):
    """Two slides of a patient, some tiles unreadable, in windows of four rows."""
    monkeypatch.setattr(feature_file, "WINDOW_BYTES", 4 * 6 * 2)
    monkeypatch.setattr(feature_file, "_STEP_ROWS", 4)
    monkeypatch.setattr(proof, "_PROVEN", set())
    lost = {"s1": (0, 4, 5, 6, 7, 20), "s2": (3,)}
    return tuple(
        cohort_kit.open_slide(
            tmp_path, name, 40 + i, unreadable=unreadable, reading=WHOLE_PIXEL_READING
        )
        for i, (name, unreadable) in enumerate(lost.items())
    )


def rows_read(file, monkeypatch):
    """Records how many rows of the features each read asks for."""
    found, read = [], type(file.source).read_features

    def recorded(self, handle, where):
        rows = read(self, handle, where)
        found.append(len(rows))
        return rows

    monkeypatch.setattr(type(file.source), "read_features", recorded)
    return found


@pytest.mark.parametrize("max_tiles", [1, 7, 60, 74, 75, 200])
def test_draws_are_those_of_bags_in_memory(files, max_tiles):
    bags = [BagSource("p", files), BagSource("s2", files[1:])]
    apart, kept = (
        BagDataset(bags, max_tiles=max_tiles, turn=True, memory=FeatureMemory(size))
        for size in (NO_MEMORY, ALL)
    )
    for index, draw in [(0, 0), (0, 3), (1, 0), (1, 5)]:
        found, wanted = apart.read(index, draw), kept.read(index, draw)
        for name in ("features", "coords", "grid_xy"):
            assert torch.equal(getattr(found, name), getattr(wanted, name)), name


def test_no_more_than_a_window_is_read_at_a_time(files, monkeypatch):
    found = rows_read(files[0], monkeypatch)
    dataset = BagDataset([BagSource("s1", files[:1])], max_tiles=3)
    first = dataset.read(0, 0)
    assert (max(found), sum(found)) == (4, 40), "once all of it is compared with its digest"
    found.clear()
    assert torch.equal(dataset.read(0, 0).features, first.features)
    assert sum(found) <= 3 * 4, "then only windows that hold some of the rows"


def test_a_changed_file_is_found_by_the_first_draw(files):
    with edited(files[0].path) as h5:
        h5["features"][17] = 7
    dataset = BagDataset([BagSource("s1", files[:1])], max_tiles=3)
    with pytest.raises(StoreError, match=r"s1\.h5"):
        dataset.read(0, 0)


def test_blocks_are_the_whole_bag(files, monkeypatch):
    bag = [BagSource("p", files)]
    whole = BagDataset(bag, memory=FeatureMemory(ALL))
    found = rows_read(files[0], monkeypatch)
    blocks = list(BagDataset(bag).blocks(0, 10))
    assert [len(block) for block in blocks] == [10] * 7 + [4]
    assert found[:2] == [40, 41], "compared with their digests"
    assert max(found[2:]) <= 4
    assert torch.equal(torch.cat(blocks), whole[0].features)
    again = list(whole.blocks(0, 10))
    assert all(torch.equal(a, b) for a, b in zip(blocks, again, strict=True))


def test_a_whole_bag_without_room_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(training_memory, "free_memory", lambda device: 20 * 2**30)
    check_whole_bag(1_000_000, 1536, 2, whose="bag 'a'")
    with pytest.raises(
        ConfigError, match=r"bag 'a' has 2000000 tiles of 1536 .* takes 28.6 GiB .* 20.0 GiB are"
    ):
        check_whole_bag(2_000_000, 1536, 2, whose="bag 'a'")
