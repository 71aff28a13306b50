"""What it costs that a slide is read in a process of its own: CPU time beside reading it here.

bench_isolation.py [SLIDE] [--turns 7] [--threads 2]

Without a slide it writes the JPEG pyramid of bench_reading.py. The same tiles of 256 px are read at
level 0 (the file's own tiles, the cheapest there are) and at half its resolution, here and in a
child process in turn; CPU time of both processes per tile, of which every pixel is looked at once.
Medians over the turns; the ratio is that of each turn. The start of the child, opening and closing
come once per slide, the start only for the first; they have rows of their own.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from bench_reading import textured_pyramid

from slidenet.slides import open_slide, plan_tiles, read_tiles
from slidenet.slides.isolation.pool import end_all_processes

SIDE, BATCH = 256, 64
MAX_TILES = 1200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = options.slide or textured_pyramid(Path(folder))
        print("| CPU time of | here, ms | isolated, ms | ratio |\n|---|---|---|---|")
        for step, name in ((1, "a tile, 256 px"), (2, "a tile, 512 px to 256")):
            tiles = Tiles(path, step, options.threads)
            print_row(name, tiles.cpu_seconds, options.turns)
        print_row("opening and closing", lambda isolate: opening(path, isolate), options.turns)
        end_all_processes()
        started = time.perf_counter()
        with open_slide(path, isolate=True):
            wall = time.perf_counter() - started
        print(f"\nfirst slide: open after {1e3 * wall:.0f} ms, the start of the process included")


class Tiles:
    """Some tiles of a slide, in reading order."""

    def __init__(self, path: Path, step: int, threads: int) -> None:
        self.path, self.threads = path, threads
        with open_slide(path, mpp=0.25) as slide:
            plan = plan_tiles(slide, target_mpp=0.25 * step, tile_size_px=SIDE)
            width, height = slide.level_dimensions[0]
        self.plan = replace(plan, level=0, read_mpp=0.25, read_size_px=SIDE * step)
        xs, ys = np.arange(0, width - 511, SIDE * step), np.arange(0, height - 511, SIDE * step)
        both = np.stack(np.broadcast_arrays(xs, ys[:, None]), axis=2)
        self.coords = both.reshape(-1, 2).astype(np.int64)[:MAX_TILES]

    def cpu_seconds(self, isolate: bool) -> float:
        """Of both processes, per tile."""

        def read() -> None:
            total = 0
            for batch in read_tiles(
                slide, self.plan, self.coords, batch_size=BATCH, num_readers=self.threads
            ):
                total += int(batch.pixels.max())
            assert total

        with open_slide(self.path, mpp=0.25, isolate=isolate) as slide:
            return used(slide, read) / len(self.coords)


def used(slide: object, work: Callable[[], None]) -> float:
    """CPU seconds of this process and of the child that holds the slide, to the hundredth."""
    process = getattr(slide, "_process", None)

    def now() -> float:
        child = 0.0
        if process is not None:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            child = (int(fields[11]) + int(fields[12])) / 100
        return time.process_time() + child

    before = now()
    work()
    return now() - before


def opening(path: Path, isolate: bool, times: int = 15) -> float:
    """CPU seconds of both processes to open and close a slide, the start of the child apart."""
    end_all_processes()  # one is replaced after some number of slides
    with open_slide(path, mpp=0.25, isolate=isolate) as first:
        process = Waiting(getattr(first, "_process", None))

    def work() -> None:
        for _ in range(times):
            with open_slide(path, mpp=0.25, isolate=isolate) as slide:
                assert slide.levels  # compared with each other when they are asked for

    return used(process, work) / times


class Waiting:
    """Stands for a slide that is closed, whose process is used again."""

    def __init__(self, process: object) -> None:
        self._process = process


def print_row(name: str, measure: Callable[[bool], float], turns: int) -> None:
    pairs = [(measure(False), measure(True)) for _ in range(turns)]
    here, there = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(other / own for own, other in pairs)
    print(f"| {name} | {here:.3f} | {there:.3f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
