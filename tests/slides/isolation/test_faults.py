"""What a slide does to its process is an error of this slide, with its cause."""

import time

import numpy as np
import pytest

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tiles
from slidenet.slides.limits import ReadingLimits

LIMITS = ReadingLimits(max_open_cpu_s=0.2, max_tile_cpu_s=0.1, max_memory_bytes=200_000_000)
CRASH = "a library crashed on it"


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("abort", rf"{CRASH} \(SIGABRT: GLib-ERROR: the list is corrupt\)"),
        pytest.param("segfault", rf"{CRASH} \(SIGSEGV\)", marks=pytest.mark.slow),
        pytest.param("exit", rf"{CRASH} \(its process ended with code 3\)", marks=pytest.mark.slow),
        ("memory", r"reading it takes more than 0.2 GB of memory"),
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


def test_a_fault_while_opening(faulty):
    path, reader = faulty("loop", "open")
    with pytest.raises(UnreadableSlideError, match=r"opening it took more than 0\.2 s of CPU time"):
        open_slide(path, reader=reader, isolate=True, limits=LIMITS)


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


def test_its_log_is_ours(faulty, caplog):
    path, reader = faulty("warns")
    with open_slide(path, reader=reader, isolate=True) as slide:
        slide.read_region((0, 0), 0, (8, 8))
    assert ("slidenet.slides.faulty", 30, "level 3 is odd") in caplog.record_tuples
