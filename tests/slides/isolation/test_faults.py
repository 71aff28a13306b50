"""What a slide does to its process is an error of this slide, with its cause."""

import struct
import time
import zlib

import numpy as np
import pytest

from slidenet.core.errors import SlideTimeoutError, UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tiles
from slidenet.slides.isolation import process
from slidenet.slides.limits import ReadingLimits, TimeLimit, time_limit

LIMITS = ReadingLimits(max_open_cpu_s=0.2, max_megapixel_cpu_s=0.1, max_memory_bytes=200_000_000)
CRASH = "a library crashed on it"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("abort", rf"{CRASH} \(SIGABRT: GLib-ERROR: the list is corrupt\)"),
        pytest.param("segfault", rf"{CRASH} \(SIGSEGV\)", marks=pytest.mark.slow),
        pytest.param("exit", rf"{CRASH} \(its process ended with code 3\)", marks=pytest.mark.slow),
        pytest.param(
            "memory", r"reading it takes more than 0.2 GB of memory", marks=pytest.mark.slow
        ),
        pytest.param(
            "out-of-memory-abort",
            r"more than 0.2 GB of memory \(GLib-ERROR: failed to allocate 99 bytes\)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "loop",
            r"one of its regions took more than 0.2 s of CPU time, and the slide stores 0.0 MB",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_fault_while_reading(faulty, fault, found):
    path, reader = faulty(fault)
    slide = open_slide(path, mpp=1.0, reader=reader, isolate=True, limits=LIMITS)
    with slide, pytest.raises(UnreadableSlideError, match=f"slide '{fault}.fault': .*{found}"):
        slide.read_region((0, 0), 0, (8, 8))
    with open_slide(path, mpp=1.0, reader=reader, isolate=True, limits=LIMITS) as slide:
        assert slide.level_dimensions == ((64, 64),)  # another process


@pytest.mark.slow
def test_a_fault_while_opening(faulty):
    path, reader = faulty("loop", "open")
    with pytest.raises(UnreadableSlideError, match=r"opening it took more than 0\.2 s of CPU time"):
        open_slide(path, reader=reader, isolate=True, limits=LIMITS)


@pytest.mark.slow
def test_a_fault_in_a_batch_of_tiles(faulty):
    path, reader = faulty("abort")
    with open_slide(path, mpp=1.0, reader=reader, isolate=True, limits=LIMITS) as slide:
        plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=32)
        with pytest.raises(UnreadableSlideError, match=CRASH):
            list(read_tiles(slide, plan, np.zeros((40, 2), np.int64), batch_size=8))


@pytest.mark.slow
def test_a_disk_that_does_not_answer(faulty):
    path, reader = faulty("sleep")
    limits = ReadingLimits(max_stall_s=1.0)
    with open_slide(path, mpp=1.0, reader=reader, isolate=True, limits=limits) as slide:
        started = time.monotonic()
        with pytest.raises(UnreadableSlideError, match="for 1 s nothing of it could be read"):
            slide.thumbnail(32)
        assert time.monotonic() - started < 20


@pytest.mark.slow
def test_a_library_that_hangs_is_ended_when_the_time_of_the_slide_is_over(faulty):
    path, reader = faulty("sleep")
    with open_slide(path, mpp=1.0, reader=reader, isolate=True) as slide:
        slide._time_limit, started = TimeLimit(0.5), time.monotonic()
        with pytest.raises(SlideTimeoutError, match=r"more than 0\.5 s, and had come to its overv"):
            slide.thumbnail(32)
        assert time.monotonic() - started < 10
    with time_limit(60), open_slide(path, mpp=1.0, reader=reader, isolate=True) as slide:
        plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=32)
        assert 30 < slide._time_limit.left_s < 60
        slide._time_limit = TimeLimit(0.5)
        with pytest.raises(SlideTimeoutError, match=r"had come to a batch of its tiles"):
            list(read_tiles(slide, plan, np.zeros((40, 2), np.int64), batch_size=8))


@pytest.mark.slow
def test_a_process_that_not_even_a_kill_ends_keeps_nobody_waiting(faulty, monkeypatch):
    """As one that waits for a disk of the network does."""
    monkeypatch.setattr(process, "_DYING_S", 0.5)
    path, reader = faulty("sleep")
    with open_slide(path, mpp=1.0, reader=reader, isolate=True) as slide:
        child, slide._time_limit = slide._process._process, TimeLimit(0.5)
        ends = child.kill
        monkeypatch.setattr(child, "kill", lambda: None)
        with pytest.raises(SlideTimeoutError, match=r"had come to its overview"):
            slide.thumbnail(32)
        ends()


def test_tiles_read_here_are_in_time_too(faulty):
    path, reader = faulty("none")
    with time_limit(1e-9), open_slide(path, mpp=1.0, reader=reader) as slide:
        plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=32)
        with pytest.raises(SlideTimeoutError, match=r"1e-09 s, and had come to a batch"):
            list(read_tiles(slide, plan, np.zeros((40, 2), np.int64), batch_size=8))
    with open_slide(path, mpp=1.0, reader=reader) as slide:
        assert len(list(read_tiles(slide, plan, np.zeros((40, 2), np.int64), batch_size=8))) == 5


@pytest.mark.slow
def test_other_errors_keep_their_kind(faulty):
    path, reader = faulty("oserror")
    with open_slide(path, reader=reader, isolate=True) as slide:
        with pytest.raises(OSError, match="Input/output error") as caught:
            slide.read_region((0, 0), 0, (8, 8))
        assert caught.value.errno == 5
    path, reader = faulty("bug")
    bug = r"KeyError: 'no such tag'\n(?s:.*)in misbehave"
    slide = open_slide(path, reader=reader, isolate=True)
    with slide, pytest.raises(RuntimeError, match=bug):
        slide.read_region((0, 0), 0, (8, 8))


@pytest.mark.slow
def test_its_log_is_ours(faulty, caplog):
    path, reader = faulty("warns")
    with open_slide(path, reader=reader, isolate=True) as slide:
        slide.read_region((0, 0), 0, (8, 8))
    assert ("slidenet.slides.faulty", 30, "level 3 is odd") in caplog.record_tuples


@pytest.mark.slow
def test_an_overview_costs_by_the_bytes_stored_not_by_the_pixels_claimed(tmp_path):
    """All 6,400 tiles are the same 60 bytes."""
    path = write_repeated_tile(tmp_path / "a.tif", side_px=20_480)
    with open_slide(path, isolate=True, limits=ReadingLimits(max_open_cpu_s=0.3)) as slide:
        assert slide.level_dimensions == ((20_480, 20_480),)
        with pytest.raises(UnreadableSlideError, match=r"its overview took more than 0\.3 s"):
            slide.thumbnail(512)


def write_repeated_tile(path, side_px, tile_px=256):
    """A BigTIFF of one level whose offsets all name the same deflated white tile."""
    payload = zlib.compress(bytes([255]) * (3 * tile_px**2), 9)
    count = (side_px // tile_px) ** 2
    bits = 8 | 8 << 16 | 8 << 32
    fields = [(256, 4, side_px), (257, 4, side_px), (258, 3, bits), (259, 3, 8), (262, 3, 2)]
    fields += [(277, 3, 3), (284, 3, 1), (322, 4, tile_px), (323, 4, tile_px)]
    lists = 16 + 8 + 20 * (len(fields) + 2) + 8
    fields += [(324, 16, lists), (325, 16, lists + 8 * count)]
    counts = {258: 3, 324: count, 325: count}
    data = struct.pack("<2sHHHQQ", b"II", 43, 8, 0, 16, len(fields))
    for tag, kind, value in fields:
        data += struct.pack("<HHQQ", tag, kind, counts.get(tag, 1), value)
    data += struct.pack("<Q", 0)
    pixels = lists + 16 * count
    data += struct.pack("<Q", pixels) * count + struct.pack("<Q", len(payload)) * count
    path.write_bytes(data + payload)
    return path
