import hashlib
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from slidenet.core.errors import (
    ClaimedElsewhere,
    ConfigError,
    EncoderError,
    LostClaim,
    OutputError,
    StoreError,
    UnreadableSlideError,
)
from slidenet.stores import FeatureWriter, disk_needed, existing_output, read_features
from slidenet.stores.claims import claim, claim_file
from slidenet.stores.features.spool import spool_files, spool_folder

HERE = Path(__file__).parents[1]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def spool_of(path):
    """The rows that were kept; where there are none, what there could be."""
    return next(iter(spool_files(path)), spool_folder(path) / "none.partial")


@pytest.fixture
def whole(toy, tmp_path):
    """The file of a run that nobody interrupted."""
    return toy.write_features(
        tmp_path / "whole" / "slide_1.h5", toy.make_tile_set(), unreadable=(5, 300)
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "slide_1.h5"


def test_rows_are_stored_as_given(features_file, toy):
    wanted = toy.features_of(0, 600).astype(np.float16)
    wanted[[5, 300]] = 0
    with h5py.File(features_file) as h5:
        np.testing.assert_array_equal(h5["features"][:], wanted)
        assert np.flatnonzero(h5["slidenet/status"][:]).tolist() == [5, 300]
        assert h5["slidenet"].attrs["num_unreadable"] == 2
        assert h5["features"].chunks == (256, toy.FEATURE_DIM)


def test_float32_is_stored_bit_for_bit(toy, path):
    toy.write_features(path, toy.make_tile_set(70), dtype="float32")
    with read_features(path) as file:
        np.testing.assert_array_equal(file.features[:], toy.features_of(0, 70))
        assert file.features.dtype == np.float32


@pytest.mark.parametrize("num_tiles", [0, 1, 31, 32, 33, 256, 257])
def test_any_number_of_tiles(toy, path, num_tiles):
    toy.write_features(path, toy.make_tile_set(num_tiles), dtype="float32")
    with read_features(path) as file:
        np.testing.assert_array_equal(file.features[:], toy.features_of(0, num_tiles))


def test_same_input_same_bytes(toy, whole, path):
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)


def test_a_finished_file_leaves_nothing_beside_it(whole):
    assert [p.name for p in whole.parent.iterdir()] == ["slide_1.h5"]


def test_resume_goes_on_at_the_last_whole_batch(toy, path, whole):
    tiles = toy.make_tile_set()
    with toy.open_writer(path, tiles) as writer:
        writer.append(toy.features_of(0, 64))
        writer.append(toy.features_of(64, 90))  # less than a batch: done again
    with toy.open_writer(path, tiles) as writer:
        assert writer.num_done == 64
    assert not path.exists()


def test_resume_after_all_rows_only_finishes(toy, path, whole):
    tiles = toy.make_tile_set()
    with toy.open_writer(path, tiles) as writer:
        status = np.isin(np.arange(600), (5, 300)).astype(np.uint8)
        writer.append(toy.features_of(0, 600), status)
    with toy.open_writer(path, tiles) as writer:
        assert writer.num_done == 600
        writer.finish()
    assert sha256(path) == sha256(whole)


@pytest.mark.slow
@pytest.mark.parametrize("batches", [(1, 1), (7, 3), (17,)])
def test_killed_between_batches_and_run_again(toy, path, whole, batches):
    for count in batches:
        kill_when(path, "batches", lines=count)
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        assert sum(batches) * toy.BATCH_SIZE <= writer.num_done <= 600
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def test_killed_before_the_rename(toy, path, whole):
    kill_when(path, "rename", lines=1)
    assert not path.exists()
    assert not existing_output(path, toy.RECIPE, "sha256:feed")
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def test_killed_between_the_rename_and_the_clean_up(toy, path, whole):
    kill_when(path, "clean-up", lines=1)
    assert sha256(path) == sha256(whole)
    assert spool_of(path).exists()
    with claim(path):
        assert existing_output(path, toy.RECIPE, "sha256:feed")
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def kill_when(path, pause, *, lines):
    """Starts a run, reads so many lines of what it says, and kills it with SIGKILL."""
    command = [sys.executable, str(HERE / "killed_run.py"), str(path), pause]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        for _ in range(lines):
            if not run.stdout.readline():
                break
        os.kill(run.pid, signal.SIGKILL)


@pytest.mark.parametrize("cut", [1, 20, 29 * 3 + 5])
def test_torn_rows_are_done_again(toy, path, whole, cut):
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300), stop_at=320)
    spool = spool_of(path)
    os.truncate(spool, spool.stat().st_size - cut)
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        assert writer.num_done == 288
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)


@pytest.mark.parametrize("fill", [b"\x00", b"\xff"])
def test_rows_that_never_reached_the_disk_are_done_again(toy, path, whole, fill):
    # After a power cut a file may have its length but not its contents.
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300), stop_at=320)
    with spool_of(path).open("rb+") as file:
        file.seek(4096 + 100 * 29)
        file.write(fill * 29 * 220)
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        assert writer.num_done == 96
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)


@pytest.mark.parametrize("change", ["identity", "batch_size", "dtype", "tiles"])
def test_rows_of_other_work_are_not_taken(toy, path, change):
    tiles = toy.make_tile_set()
    toy.write_features(path, tiles, stop_at=320)
    settings = {
        "identity": {"identity": {**toy.RECIPE, "seed": 1}},
        "batch_size": {"batch_size": 16},
        "dtype": {"dtype": "float32"},
        "tiles": {},
    }[change]
    other = toy.make_tile_set(599) if change == "tiles" else tiles
    with toy.open_writer(path, other, **settings) as writer:
        assert writer.num_done == 0


def test_two_processes_cannot_write_the_same_file(toy, path):
    command = [sys.executable, str(HERE / "killed_run.py"), str(path), "batches"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        run.stdout.readline()
        with pytest.raises(ClaimedElsewhere, match=f"process {run.pid} on .* is working on"):
            toy.open_writer(path, toy.make_tile_set())
        run.kill()


def test_rows_are_copied_at_take_over_and_who_slept_writes_into_nothing(toy, path, whole):
    asleep = toy.open_writer(path, toy.make_tile_set())
    asleep.append(toy.features_of(0, 64), np.arange(64) == 5)
    claim_file(path).unlink()  # taken over, for its age
    with claim(path, slide="slide_1"):
        with toy.open_writer(path, toy.make_tile_set()) as writer:
            assert writer.num_done == 64
            (own,) = spool_files(path)
            asleep.append(np.ones((32, toy.FEATURE_DIM), np.float32))
            asleep.append(np.ones((504, toy.FEATURE_DIM), np.float32))
            assert spool_files(path) == [own]
            with pytest.raises(LostClaim):
                asleep.finish()
        asleep.discard()
        toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
        assert claim_file(path).exists(), "it is given back by who took it"
    assert sha256(path) == sha256(whole)
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def test_rows_of_an_older_version_are_gone_on_with(toy, path, whole):
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300), stop_at=320)
    spool_of(path).rename(path.with_name(f".{path.name}.partial"))
    spool_folder(path).rmdir()
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        assert writer.num_done == 320
    toy.write_features(path, toy.make_tile_set(), unreadable=(5, 300))
    assert sha256(path) == sha256(whole)
    assert [p.name for p in path.parent.iterdir()] == ["slide_1.h5"]


def test_finish_wants_every_tile(toy, path):
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        writer.append(toy.features_of(0, 32))
        with pytest.raises(StoreError, match="32 of 600 tiles"):
            writer.finish()
    assert not path.exists()


def test_an_interruption_keeps_the_rows_and_an_error_removes_them(toy, path):
    def interrupt(writer):
        writer.append(toy.features_of(0, 32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), toy.open_writer(path, toy.make_tile_set()) as writer:
        interrupt(writer)
    assert spool_of(path).exists()
    bad = np.full((32, toy.FEATURE_DIM), np.nan)
    with pytest.raises(EncoderError), toy.open_writer(path, toy.make_tile_set()) as writer:
        writer.append(bad)
    assert list(path.parent.iterdir()) == []


def test_rows_of_a_slide_that_cannot_be_read_for_now_are_kept(toy, path):
    """Its process was killed, Ctrl-C ended it, or the disk was away for a while."""

    def break_off(num_rows):
        with toy.open_writer(path, toy.make_tile_set()) as writer:
            if num_rows:
                writer.append(toy.features_of(writer.num_done, writer.num_done + num_rows))
            raise UnreadableSlideError("the process that read it was killed from outside")

    for num_rows, kept in ((0, None), (64, 64), (0, 64), (32, 96)):
        with pytest.raises(UnreadableSlideError):
            break_off(num_rows)
        assert spool_of(path).exists() is (kept is not None)
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        assert writer.num_done == kept


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_names_slide_and_tile(toy, path, bad):
    rows = toy.features_of(0, 32)
    rows[7, 3] = bad
    with toy.open_writer(path, toy.make_tile_set()) as writer:
        with pytest.raises(EncoderError, match=r"'slide_1': NaN or infinite .* tile 7 at"):
            writer.append(rows)
        rows[7, 3] = 0
        writer.append(rows)


def test_an_unreadable_tile_may_hold_anything(toy, path):
    rows = toy.features_of(0, 4)
    rows[2] = np.nan
    with toy.open_writer(path, toy.make_tile_set(4)) as writer:
        writer.append(rows, np.array([0, 0, 1, 0], np.uint8))
        writer.finish()
    with read_features(path) as file:
        assert not file.features[2].any()
        assert file.mask.tolist() == [True, True, False, True]
        assert file.num_unreadable == 1


def test_float16_overflow_says_float32(toy, path):
    rows = toy.features_of(0, 32)
    rows[1, 1] = 70000.0
    writer = toy.open_writer(path, toy.make_tile_set())
    with pytest.raises(EncoderError, match=r"too large for float16 .*dtype float32"):
        writer.append(rows)
    writer.discard()
    with toy.open_writer(path, toy.make_tile_set(), dtype="float32") as writer:
        writer.append(rows)


@pytest.mark.parametrize(
    ("shape", "status", "message"),
    [
        ((32, 11), None, r"shape \(32, 11\)"),
        ((12,), None, r"shape \(12,\)"),
        ((601, 12), None, "601 more tiles"),
        ((32, 12), np.zeros(31, np.uint8), "status codes"),
        ((2, 12), np.array([0, 3], np.uint8), "status codes"),
    ],
)
def test_wrong_shapes(toy, path, shape, status, message):
    writer = toy.open_writer(path, toy.make_tile_set())
    with pytest.raises(EncoderError, match=message):
        writer.append(np.zeros(shape, np.float32), status)
    writer.discard()


@pytest.mark.parametrize(
    "settings", [(12, "float64", 32), (12, "bfloat16", 32), (0, "float16", 32), (12, "float16", 0)]
)
def test_wrong_settings(toy, path, settings):
    dim, dtype, batch_size = settings
    with pytest.raises(ConfigError):
        FeatureWriter(path, toy.make_tile_set(), dim, dtype, toy.RECIPE, toy.ENCODER, batch_size)


def test_memory_does_not_grow_with_the_number_of_tiles(toy, tmp_path):
    def peak(num_tiles):
        cells = np.arange(num_tiles, dtype=np.int64)
        small = toy.make_tile_set(1)
        tiles = type(small)(
            slide_id="big",
            slide_path="big.svs",
            fingerprint="f",
            geometry=small.geometry,
            coords=np.stack([cells % 100, cells // 100], axis=1),
            tissue_fraction=np.ones(num_tiles, np.float32),
            identity={},
        )
        rows = np.ones((256, 256), np.float32)
        path = tmp_path / f"{num_tiles}.h5"
        tracemalloc.start()
        with FeatureWriter(path, tiles, 256, "float32", {}, {}, 256) as writer:
            while writer.num_done < num_tiles:
                writer.append(rows[: num_tiles - writer.num_done])
            writer.finish()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(256)
    # 20,000 tiles are 20 MB of features; their coordinates and status are 0.4 MB.
    assert peak(20_000) - peak(1_000) < 2_000_000


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 5_000, 21_000, 30_000])
def test_a_disk_that_fills_up(tmp_path, limit):
    path = tmp_path / "out" / "slide_1.h5"
    command = [sys.executable, str(HERE / "full_disk_run.py"), str(path), str(limit)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "slide 'slide_1': no room left while writing" in run.stdout
    assert "free some disk space" in run.stdout
    assert list(path.parent.iterdir()) == []


def test_too_little_room_is_said_before_the_work(toy, path, monkeypatch):
    free = disk_needed(600, toy.FEATURE_DIM, "float16") - 1
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr("slidenet.stores.atomic.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"MB free; expected .* MB for slide_1.h5"):
        toy.open_writer(path, toy.make_tile_set())
    assert list(path.parent.iterdir()) == []


def test_the_room_asked_for_is_enough_and_not_absurd(toy, whole, path):
    toy.write_features(path, toy.make_tile_set(), stop_at=600)
    used = spool_of(path).stat().st_size + whole.stat().st_size
    assert used <= disk_needed(600, toy.FEATURE_DIM, "float16") <= used + 100_000
