"""An isolated slide is the same slide, and its process is used again."""

import os
import pickle

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, SlideError, UnknownNameError, UnreadableSlideError
from slidenet.slides import READERS, Slide, open_slide, plan_tiles, read_tiles
from slidenet.slides.isolation import IsolatedSlide, memory, pool
from slidenet.testing import corrupt_tile
from slidenet.testing.layouts import write_layout


@pytest.fixture
def both(noise_slide):
    """The same slide, isolated and not."""
    with open_slide(noise_slide, isolate=True) as isolated, open_slide(noise_slide) as direct:
        yield isolated, direct


def lattice(side, step):
    xs, ys = np.meshgrid(np.arange(0, side, step), np.arange(0, side, step))
    return np.stack([xs, ys], axis=-1).reshape(-1, 2).astype(np.int64)


def test_it_is_the_same_slide(both):
    isolated, direct = both
    facts = [name for name, member in vars(Slide).items() if isinstance(member, property)]
    assert {"levels", "slide_mpp", "fingerprint"} <= set(facts)
    for name in facts:
        assert getattr(isolated, name) == getattr(direct, name), name
    region = ((-7, 31), 1, (50, 40))
    for name in ("read_region", "read_level"):
        np.testing.assert_array_equal(
            getattr(isolated, name)(*region), getattr(direct, name)(*region)
        )
    np.testing.assert_array_equal(
        isolated.read_shrunk((8, 8), 0, (64, 64), 2), direct.read_shrunk((8, 8), 0, (64, 64), 2)
    )
    np.testing.assert_array_equal(isolated.thumbnail(300), direct.thumbnail(300))
    assert isolated.has_stored((0, 0), 0, (8, 8)) is direct.has_stored((0, 0), 0, (8, 8))
    with pytest.raises(ConfigError, match="level 9 was asked for"):
        isolated.read_region((0, 0), 9, (5, 5))


@pytest.mark.parametrize(
    "shared",
    [
        pytest.param(True, id="shared memory"),
        pytest.param(False, id="pipe", marks=pytest.mark.slow),
    ],
)
def test_tiles_are_the_same(noise_slide, shared, monkeypatch, caplog):
    if not shared:
        pool.end_all_processes()

        def no_memory():
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(memory, "_unnamed_file", no_memory)
    with open_slide(noise_slide) as direct:
        plan = plan_tiles(direct, target_mpp=0.5, tile_size_px=64)
        coords = lattice(1400, 130)
        want = list(read_tiles(direct, plan, coords, batch_size=16, start=5))
    with open_slide(noise_slide, isolate=True) as isolated:
        found = list(read_tiles(isolated, plan, coords, batch_size=16, start=5))
        assert (isolated._process.places.total > 0) is shared
    assert [batch.start for batch in found] == [batch.start for batch in want]
    for one, other in zip(found, want, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.status, other.status)
    assert ("they go through a pipe" in caplog.text) is not shared
    if not shared:
        pool.end_all_processes()


def test_kept_tiles_are_never_written_over(both):
    isolated, _ = both
    plan = plan_tiles(isolated, target_mpp=0.5, tile_size_px=64)
    coords = lattice(1400, 130)
    kept = [batch.pixels[:1] for batch in read_tiles(isolated, plan, coords, batch_size=8)]
    copies = [tiles.copy() for tiles in kept]
    list(read_tiles(isolated, plan, coords[::-1].copy(), batch_size=8))
    for tiles, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(tiles, copy)
    total = isolated._process.places.total
    del kept, tiles
    list(read_tiles(isolated, plan, coords, batch_size=8))
    assert isolated._process.places.total == total


def open_files():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files by /proc")
def test_batches_in_flight_cost_no_open_files(both):
    """As many as a machine of 64 cores holds would be more than a process may have open."""
    isolated, _ = both
    plan = plan_tiles(isolated, target_mpp=0.5, tile_size_px=64)
    before = open_files()
    kept = list(read_tiles(isolated, plan, lattice(1400, 130), batch_size=4))
    assert len(kept) > 20
    assert open_files() == before


def test_limits_follow_the_tiles_there_are_not_the_batch_size(both, monkeypatch):
    isolated, _ = both
    plan = plan_tiles(isolated, target_mpp=0.5, tile_size_px=64)
    asked = {}
    stream = lambda *_, **limits: asked.update(limits) or iter(())  # noqa: E731
    monkeypatch.setattr(isolated._process, "stream", stream)
    list(isolated.read_tiles(plan, lattice(1400, 130)[:10], batch_size=10**6, start=4))
    assert asked["batch_bytes"] == 6 * 3 * 64**2
    assert asked["memory_bytes"] < 100_000_000


def test_an_error_leaves_the_memory_for_pixels_free(both):
    isolated, _ = both
    isolated.read_region((0, 0), 0, (40, 40))
    total = isolated._process.places.total
    for _ in range(3):
        with pytest.raises(ConfigError, match="level 9"):
            isolated.read_region((0, 0), 9, (40, 40))
    assert isolated._process.places.total == total


@pytest.mark.slow
def test_a_stream_may_end_early_and_a_slide_travels(both):
    isolated, direct = both
    plan = plan_tiles(isolated, target_mpp=0.5, tile_size_px=64)
    batches = read_tiles(isolated, plan, lattice(1400, 130), batch_size=8)
    next(batches)
    batches.close()
    again = pickle.loads(pickle.dumps(isolated))
    assert isinstance(again, IsolatedSlide)
    with again:
        assert again.fingerprint == direct.fingerprint
    with pytest.raises(SlideError, match="the slide is closed"):
        again.read_region((0, 0), 0, (5, 5))
    again.close()


def test_a_process_is_used_again_but_not_after_damage(noise_slide, faulty):
    numbers = []
    for _ in range(2):
        with open_slide(noise_slide, isolate=True) as slide:
            numbers.append(slide._process.pid)
    assert numbers[0] == numbers[1]
    path, reader = faulty("unreadable")
    with open_slide(path, mpp=1.0, reader=reader, isolate=True) as slide:
        assert slide._process.pid == numbers[0]
        plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=32)
        (batch,) = read_tiles(slide, plan, np.zeros((2, 2), np.int64), batch_size=8)
        assert batch.status.tolist() == [1, 1]
    with open_slide(noise_slide, isolate=True) as slide:
        assert slide._process.pid != numbers[0]


def test_where_no_process_can_be_limited(noise_slide, monkeypatch):
    monkeypatch.setattr(pool, "can_isolate", lambda: False)
    with pytest.raises(ConfigError, match="To fix: give --no-isolate"):
        open_slide(noise_slide, isolate=True)


def test_what_is_no_slide_is_refused_as_ever(tmp_path):
    (tmp_path / "a.svs").write_text("slide_id,label\n")
    with pytest.raises(UnreadableSlideError, match="it is not a slide but plain text"):
        open_slide(tmp_path / "a.svs", isolate=True)


def test_a_reader_that_only_this_process_knows(noise_slide, monkeypatch):
    monkeypatch.setitem(READERS._loaded, "mine", READERS["openslide"])
    with pytest.raises(ConfigError, match="'mine' is known to this process only"):
        open_slide(noise_slide, reader="mine", isolate=True)
    with pytest.raises(UnknownNameError, match="unknown slide reader 'yours'"):
        open_slide(noise_slide, reader="yours", isolate=True)


def test_what_is_missing_comes_through(tmp_path):
    picture = np.full((256, 256, 3), 130, np.uint8)
    path = write_layout(tmp_path / "hurt.tif", [picture], missing={0: [1]})
    corrupt_tile(path, (200, 200))
    with open_slide(path, isolate=True) as isolated:
        assert isolated.storage_note == "1 of 16 tiles of level 0 have no stored bytes"
        assert isolated.unreadable_places == ()
        isolated.thumbnail(64)
        assert isolated.unreadable_places == ((0.5, 0.5, 1.0, 1.0),)  # to 128 px
