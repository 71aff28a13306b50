"""Rows of tiles that could not be read: found again, replaced, kept while a disk is away."""

import errno

import numpy as np
import pytest

from slidenet.core.errors import OutputError, StoreError, SystemFaultError, UnreadableSlideError
from slidenet.stores.features.spool import spool_files

NUM_TILES = 200


@pytest.fixture
def tiles(toy):
    return toy.make_tile_set(NUM_TILES)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "slide_1.h5"


def write_and_raise(toy, path, tiles, error):
    with toy.open_writer(path, tiles) as writer:
        writer.append(toy.features_of(0, 64))
        raise error


def partial(path):
    return spool_files(path)


def test_rows_read_at_last_give_the_bytes_of_a_run_without_loss(toy, tiles, path, tmp_path):
    whole = toy.write_features(tmp_path / "whole" / "slide_1.h5", tiles)
    toy.write_features(path, tiles, unreadable=(3, 64, 65), stop_at=96)
    with toy.open_writer(path, tiles) as writer:
        assert writer.unreadable.tolist() == [3, 64, 65]
        writer.replace(np.array([3, 65]), toy.features_of(0, 200)[[3, 65]], [0, 0])
        assert writer.unreadable.tolist() == [64]
    with toy.open_writer(path, tiles) as writer:
        assert (writer.num_done, writer.unreadable.tolist()) == (96, [64])
        writer.replace(np.array([64]), toy.features_of(64, 65), [0])
    toy.write_features(path, tiles)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        UnreadableSlideError("the share is away"),
        SystemFaultError("Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        MemoryError(),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_rows_survive_what_may_pass(toy, tiles, path, error):
    with pytest.raises(type(error)):
        write_and_raise(toy, path, tiles, error)
    with toy.open_writer(path, tiles) as writer:
        assert writer.num_done == 64


@pytest.mark.parametrize(("number", "kept"), [(errno.EIO, 1), (errno.ESTALE, 1), (errno.ENOSPC, 0)])
def test_rows_survive_an_output_disk_that_goes_away(toy, tiles, path, monkeypatch, number, kept):
    def fail(*_):
        raise OSError(number, "the disk")

    toy.write_features(path, tiles, stop_at=64)
    monkeypatch.setattr("slidenet.stores.features.spool.Spool.append", fail)
    with pytest.raises(OutputError, match="slide 'slide_1'"):
        toy.write_features(path, tiles)
    assert len(partial(path)) == kept


def test_rows_that_would_come_again_are_removed(toy, tiles, path):
    with pytest.raises(StoreError):
        write_and_raise(toy, path, tiles, StoreError("other settings"))
    assert partial(path) == []
