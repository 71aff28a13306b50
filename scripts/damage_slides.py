"""Damages slides in many ways, by seed, and tells what slidenet does with each.

damage_slides.py [--faults 300] [--seed 0] [--no-isolate] [SLIDE ...]

Each fault damages a fresh copy of a slide, which is then opened and read whole in a process of its
own. What is wrong, and ends the script with code 1: a process that dies, one that takes longer
than its time, an error that is not slidenet's, and a tile called ok whose pixels are not those of
the undamaged slide although a strict JPEG decoder or openslide would have noticed. Tiles that no
decoder can tell from good ones (a bit flip that still decodes) are counted: only a checksum of
the slide finds them.
"""

import argparse
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import simplejpeg
import tifffile

from slidenet.core.errors import SlidenetError
from slidenet.core.status import OK
from slidenet.slides import Slide, open_slide, plan_tiles, read_tiles
from slidenet.testing import write_pyramid
from slidenet.testing.slide_damage import HEADER_FAULTS, PAYLOAD_FAULTS, damage_slide

REAL = Path(__file__).parents[2] / "shared" / "data" / "slides"
TIME_LIMIT_S = 60
JPEG = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-isolate", action="store_true", help="read in the process itself")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return answer(isolate=not options.no_isolate)
    with tempfile.TemporaryDirectory() as folder:
        slides = options.slides or some_slides(Path(folder))
        found = Tally()
        with Child(options.no_isolate) as child:
            for number in range(options.faults):
                kinds = [*PAYLOAD_FAULTS, *HEADER_FAULTS]
                slide = slides[number // len(kinds) % len(slides)]
                damaged = Path(folder) / f"damaged{slide.suffix}"
                shutil.copyfile(slide, damaged)
                kind = kinds[number % len(kinds)]
                damage = damage_slide(damaged, kind, options.seed + number)
                outcome = child.ask(slide, damaged)
                words = f"{slide.name}: {damage.words} (fault {number})"
                found.add(kind, slide.name, words, outcome)
    print(found.table())
    return 1 if found.wrong else 0


def some_slides(folder: Path) -> list[Path]:
    """Generated ones of two codecs, and the real ones that are small."""
    rng = np.random.default_rng(0)
    texture = rng.normal(size=(96, 96, 3))
    picture = noisy_picture(texture)

    def paint(x: int, y: int, width: int, height: int) -> np.ndarray:
        return picture[y : y + height, x : x + width]

    side = len(picture)
    made = [
        write_pyramid(folder / "jpeg.tif", side, side, 0.5, paint, jpeg_quality=85),
        write_pyramid(folder / "deflate.tif", side, side, 0.5, paint),
    ]
    real = [REAL / "cmu_small_region.svs", REAL / "tcga-cr-7395-01a-01-ts1.svs"]
    return [*made, *(path for path in real if path.is_file())]


def noisy_picture(texture: np.ndarray, side: int = 1536) -> np.ndarray:
    """Noise of several sizes, uint8 (side, side, 3): no two tiles alike, none flat."""
    import cv2

    large = cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)
    fine = np.random.default_rng(1).normal(size=(side, side, 3))
    return np.clip(150 + 40 * large + 12 * fine, 0, 255).astype(np.uint8)


@dataclass
class Tally:
    """Outcomes per kind of fault and per slide."""

    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    slides: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, slide: str, words: str, outcome: dict[str, Any]) -> None:
        """Counts what became of one damaged slide."""
        for table, name in ((self.kinds, kind.replace("_", " ")), (self.slides, slide)):
            counts = table.setdefault(name, Counter())
            counts["slides"] += 1
            counts.update(outcome["counts"])
        for fault in outcome["wrong"]:
            self.wrong.append(f"{words}: {fault}")
            print("WRONG", self.wrong[-1], flush=True)

    def table(self) -> str:
        """Markdown: one row per kind of fault and per slide, then what was wrong."""
        columns = ("slides", "refused", "tiles", "unreadable", "equal", "cannot be told")
        lines = [f"| fault or slide | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        total = sum(self.kinds.values(), Counter())
        for name, counts in [*self.kinds.items(), *self.slides.items(), ("all", total)]:
            cells = " | ".join(str(counts[column]) for column in columns)
            lines.append(f"| {name} | {cells} |")
        return "\n".join([*lines, "", f"wrong: {len(self.wrong)}", *self.wrong])


class Child:
    """A process that reads damaged slides, started anew when it dies or hangs."""

    def __init__(self, no_isolate: bool) -> None:
        self.command = [sys.executable, __file__, "--child"]
        self.command += ["--no-isolate"] if no_isolate else []
        self.process: subprocess.Popen[str] | None = None

    def ask(self, undamaged: Path, damaged: Path) -> dict[str, Any]:
        """What became of one slide."""
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(self.command, stdin=pipe, stdout=pipe, text=True)
        process = self.process
        process.stdin.write(json.dumps([str(undamaged), str(damaged)]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], TIME_LIMIT_S)
        line = process.stdout.readline() if ready else ""
        if line:
            return json.loads(line)
        self.__exit__()
        fault = f"died with code {process.returncode}" if ready else f"{TIME_LIMIT_S} s and no end"
        return {"counts": {}, "wrong": [fault]}

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def answer(isolate: bool) -> int:
    """The child: one line of JSON for each pair of paths."""
    opened: dict[str, Reading] = {}
    for line in sys.stdin:
        undamaged, damaged = json.loads(line)
        if undamaged not in opened:
            opened[undamaged] = Reading(Path(undamaged))
        print(json.dumps(opened[undamaged].compare(Path(damaged), isolate)), flush=True)
    return 0


class Reading:
    """The tiles of an undamaged slide, to compare with."""

    def __init__(self, path: Path) -> None:
        with open_slide(path, mpp=0.5) as slide:
            self.dimensions = slide.level_dimensions[0]
            with tifffile.TiffFile(path) as tiff:
                self.side = tiff.pages[0].tilewidth
            self.tiles, self.status = all_tiles(slide, self.side)
        assert (self.status == OK).all(), path

    def compare(self, damaged: Path, isolate: bool) -> dict[str, Any]:
        """Counts of a damaged copy's tiles, and what was wrong."""
        started = time.process_time()
        try:
            with opened(damaged, isolate) as slide:
                if slide.level_dimensions[0] != self.dimensions:
                    return result(wrong=f"opened with {slide.level_dimensions[0]} px")
                tiles, status = all_tiles(slide, self.side)
                corners = corners_of(slide, self.side)
        except SlidenetError:
            cpu = time.process_time() - started
            return result(Counter(refused=1), f"refused after {cpu:.0f} s" if cpu > 10 else None)
        equal = (tiles == self.tiles).all(axis=(1, 2, 3))
        ok = status == OK
        counts = Counter(tiles=len(ok), unreadable=int((~ok).sum()), equal=int((ok & equal).sum()))
        noticed = [i for i in np.flatnonzero(ok & ~equal) if is_noticed(damaged, corners[i])]
        counts["cannot be told"] = int((ok & ~equal).sum()) - len(noticed)
        wrong = f"{len(noticed)} damaged tiles are called ok" if noticed else None
        return result(counts, wrong)


def result(counts: Counter[str] | None = None, wrong: str | None = None) -> dict[str, Any]:
    return {"counts": counts or {}, "wrong": [] if wrong is None else [wrong]}


def opened(path: Path, isolate: bool) -> Slide:
    if not isolate:
        return open_slide(path, mpp=0.5)
    from slidenet.slides.isolation import open_isolated

    return open_isolated(path, mpp=0.5)


def corners_of(slide: Slide, side: int) -> np.ndarray:
    """The file's own tiles, as far as they lie on the slide; whole ones only."""
    width, height = slide.level_dimensions[0]
    x, y = np.arange(0, width - side + 1, side), np.arange(0, height - side + 1, side)
    return np.stack(np.broadcast_arrays(x, y[:, None]), axis=2).reshape(-1, 2).astype(np.int64)


def all_tiles(slide: Slide, side: int) -> tuple[np.ndarray, np.ndarray]:
    geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=side)
    corners = corners_of(slide, side)
    batches = list(read_tiles(slide, geometry, corners, batch_size=64, num_readers=1))
    return np.concatenate([b.pixels for b in batches]), np.concatenate([b.status for b in batches])


def is_noticed(path: Path, corner: np.ndarray) -> bool:
    """Whether openslide, or a strict JPEG decoder of the tile there, raises."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        # No more than this tile, as the next one may be damaged, too.
        size = (page.tilewidth, page.tilelength)
        try:
            with openslide.OpenSlide(path) as slide:
                slide.read_region((int(corner[0]), int(corner[1])), 0, size)
        except openslide.OpenSlideError:
            return True
        if page.compression != JPEG:
            return False
        across = -(-page.imagewidth // page.tilewidth)
        column, row = corner[0] // page.tilewidth, corner[1] // page.tilelength
        index = int(row * across + column)
        tiff.filehandle.seek(page.dataoffsets[index])
        data = tiff.filehandle.read(page.databytecounts[index])
        tables = page.jpegtables[2:-2] if page.jpegtables else b""
    try:
        simplejpeg.decode_jpeg(b"\xff\xd8" + tables + data[2:], strict=True)
    except ValueError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
