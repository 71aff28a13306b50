"""How fast tiles are read, beside decoding alone and beside openslide with Pillow.

bench_reading.py [SLIDE ...] [--turns 5] [--threads 1 2]

Without a slide it writes a JPEG pyramid of 0.25 mpp with real texture (that of ../shared/data where
it is there, else slidenet's own), and adds the real slides beside it. Per slide a block of the
slide's own tiles is read in four ways, CPU time per tile, all in turn; the ratios are medians over
the turns:

- aligned: tiles that are the file's own;
- unaligned: the same block, 100 px to the right and 70 px down, row by row;
- half: squares of twice the side, shrunk to one half by area averaging;
- half, scaled: the same by scaled JPEG decoding.

`bare` decodes the stored bytes of the block once each and does nothing else (for halves: and
averages areas). `slidenet` and `openslide` read one tile after another and keep none, as `bare`
does: openslide by read_region and Pillow, halves as slidenet did before it had a reader of its own,
without Pillow's conversion. `in batches` is what a cohort does: `read_tiles` in arrays of 64 tiles,
several of them at a time, so that all pixels are written to memory.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from openslide import OpenSlide

from slidenet.slides import Slide, open_slide, plan_tiles, read_tiles
from slidenet.testing import write_pyramid
from slidenet.testing.synthetic import Blob, SyntheticSlide

REAL = Path(__file__).parents[3] / "shared" / "data" / "slides"
SHIFT = (100, 70)
SIDE_TILES = 20
JPEG_CODES = {6, 7}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        slides = options.slides or [textured_pyramid(Path(folder)), *sorted(REAL.glob("*.*"))]
        print(
            "| slide | tiles | reading | bare, ms | slidenet, ms | in batches, ms | openslide, ms "
            "| share of bare | in batches | times openslide |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for path in slides:
            block = Block.of(path)
            for name, ways in block.cases().items():
                print_row(block, name, ways, options.turns)
        print()
        print_threads(slides[0], options.threads, options.turns)


@dataclass(frozen=True)
class Ways:
    """Ways to read the same pixels; each reads the whole block once.

    The slide is opened anew for each turn, outside the time, so that no cache is warm.
    """

    bare: Callable[[None], None]
    slidenet: Callable[[Slide], None]
    batches: Callable[[Slide], None]
    openslide: Callable[[OpenSlide], None]
    num_tiles: int

    def cpu_seconds(self, path: Path) -> tuple[float, float, float, float]:
        """Of each, in the order above."""
        with (
            open_slide(path, mpp=0.25) as first,
            open_slide(path, mpp=0.25) as second,
            OpenSlide(path) as other,
        ):
            return (
                seconds(self.bare, None),
                seconds(self.slidenet, first),
                seconds(self.batches, second),
                seconds(self.openslide, other),
            )


@dataclass(frozen=True)
class Block:
    """A rectangle of the slide's own tiles, in its middle."""

    path: Path
    side: int
    left: int
    top: int
    columns: int
    rows: int
    payloads: tuple[bytes, ...]
    is_jpeg: bool
    rgb_jpeg: bool

    @classmethod
    def of(cls, path: Path) -> "Block":
        """The largest one that leaves room for the shift."""
        with tifffile.TiffFile(path) as tiff:
            page = tiff.pages[0]
            side = page.tilewidth
            assert page.tilelength == side, "square tiles"
            across, down = page.imagewidth // side, page.imagelength // side
            # An even number of whole tiles, one to spare on the right and below for the shift.
            columns, rows = (min(SIDE_TILES, (n - 1) // 2 * 2) for n in (across, down))
            left, top = (across - columns) // 2 // 2 * 2, (down - rows) // 2 // 2 * 2
            stride = -(-page.imagewidth // side)
            tables = page.jpegtables
            payloads = []
            for row in range(top, top + rows):
                for column in range(left, left + columns):
                    index = row * stride + column
                    tiff.filehandle.seek(page.dataoffsets[index])
                    payloads.append(tiff.filehandle.read(page.databytecounts[index]))
            is_jpeg, rgb = page.compression in JPEG_CODES, page.photometric.name == "RGB"
        if is_jpeg:
            payloads = [whole_jpeg(data, tables, rgb) for data in payloads]
        return cls(path, side, left, top, columns, rows, tuple(payloads), is_jpeg, rgb)

    def decode(self, data: bytes) -> np.ndarray:
        """One tile of the file."""
        if self.is_jpeg:
            return simplejpeg.decode_jpeg(data, strict=True)
        return imagecodecs.imread(data)

    def corners(self, step: int, shift: tuple[int, int] = (0, 0)) -> np.ndarray:
        """Top-left corners of squares of `step` file tiles, row by row."""
        x = (self.left + np.arange(0, self.columns, step)) * self.side + shift[0]
        y = (self.top + np.arange(0, self.rows, step)) * self.side + shift[1]
        return np.stack(np.broadcast_arrays(x, y[:, None]), axis=2).reshape(-1, 2).astype(np.int64)

    def cases(self) -> dict[str, Ways]:
        """The ways of reading by name."""
        found = {
            "aligned": self.ways(1, (0, 0)),
            "unaligned": self.ways(1, SHIFT),
            "half": self.ways(2, (0, 0)),
        }
        if self.is_jpeg:
            found["half, scaled"] = self.ways(2, (0, 0), shrinking="jpeg")
        return found

    def ways(self, step: int, shift: tuple[int, int], shrinking: str = "area") -> Ways:
        """Squares of `step` file tiles, read by each; shrunk to one where step is 2."""
        corners, size = self.corners(step, shift), self.side * step

        def bare(_: None) -> None:
            for data in self.payloads:
                tile = self.decode(data)
                if step == 2:
                    cv2.resize(tile, (self.side // 2, self.side // 2), interpolation=cv2.INTER_AREA)

        def with_openslide(slide: OpenSlide) -> None:
            for x, y in corners:
                region = slide.read_region((int(x), int(y)), 0, (size, size))
                if step == 1:
                    np.asarray(region.convert("RGB"))
                else:
                    pixels = cv2.cvtColor(np.asarray(region), cv2.COLOR_RGBA2RGB)
                    cv2.resize(pixels, (self.side, self.side), interpolation=cv2.INTER_AREA)

        def with_slidenet(slide: Slide) -> None:
            scaled = shrinking == "jpeg"
            for x, y in corners:
                slide.read_shrunk((int(x), int(y)), 0, (size, size), step, scaled_jpeg=scaled)

        def in_batches(slide: Slide) -> None:
            read_all(slide, self.side, step, corners, 1, shrinking)

        return Ways(bare, with_slidenet, in_batches, with_openslide, len(corners))


def read_all(
    slide: Slide, side: int, step: int, corners: np.ndarray, threads: int, shrinking: str = "area"
) -> None:
    geometry = plan_tiles(slide, target_mpp=0.25 * step, tile_size_px=side)
    # Level 0 also where another level would do, so that all read the same bytes.
    geometry = replace(
        geometry, level=0, read_mpp=0.25, read_size_px=side * step, shrinking=shrinking
    )
    for _ in read_tiles(slide, geometry, corners, batch_size=64, num_readers=threads):
        pass


def print_row(block: Block, name: str, ways: Ways, turns: int) -> None:
    taken = [ways.cpu_seconds(block.path) for _ in range(turns)]
    bare, mine, batches, other = (
        1e3 * statistics.median(column) / ways.num_tiles for column in zip(*taken, strict=True)
    )
    share = statistics.median(b / m for b, m, _, _ in taken)
    batch_share = statistics.median(b / m for b, _, m, _ in taken)
    times = statistics.median(o / m for _, m, _, o in taken)
    print(
        f"| {block.path.name} | {ways.num_tiles} of {block.side} px | {name} | {bare:.2f} "
        f"| {mine:.2f} | {batches:.2f} | {other:.2f} | {share:.2f} | {batch_share:.2f} "
        f"| {times:.1f} |",
        flush=True,
    )


def print_threads(path: Path, counts: list[int], turns: int) -> None:
    """Wall time with more threads, pixels only."""
    block = Block.of(path)
    print("| threads | aligned tiles per second | times one thread |\n|---|---|---|")
    with open_slide(path, mpp=0.25) as slide:
        taken = []
        for _ in range(turns):
            row = []
            for threads in counts:
                started = time.perf_counter()
                read_all(slide, block.side, 1, block.corners(1), threads)
                row.append(time.perf_counter() - started)
            taken.append(row)
    for column, threads in enumerate(counts):
        seconds = statistics.median(row[column] for row in taken)
        gain = statistics.median(row[0] / row[column] for row in taken)
        print(f"| {threads} | {len(block.corners(1)) / seconds:.0f} | {gain:.2f} |")


def whole_jpeg(data: bytes, tables: bytes | None, rgb: bool) -> bytes:
    """A JPEG that stands alone: its tables, and a marker that says whether it is RGB or YCbCr."""
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x00" if rgb else b"\x01")
    return b"\xff\xd8" + adobe + (tables[2:-2] if tables else b"") + data[2:]


def seconds(way: Callable[[Any], None], slide: Any) -> float:
    """CPU time of one turn, all threads together."""
    started = time.process_time()
    way(slide)
    return time.process_time() - started


def textured_pyramid(folder: Path, side: int = 12_000) -> Path:
    """A JPEG pyramid as a scanner writes it, 0.25 mpp, levels 4 apart."""
    real = REAL / "cmu_small_region.svs"
    if real.is_file():
        with OpenSlide(real) as slide:
            picture = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
        tile = np.concatenate([picture, picture[::-1]])
        tile = np.concatenate([tile, tile[:, ::-1]], axis=1)  # mirrored, so that no seam shows

        def paint(x: int, y: int, width: int, height: int) -> np.ndarray:
            rows = np.arange(y, y + height) % tile.shape[0]
            columns = np.arange(x, x + width) % tile.shape[1]
            return tile[rows][:, columns]

    else:
        paint = SyntheticSlide(side, side, (Blob(side / 2, side / 2, 2 * side, 2 * side),))
    return write_pyramid(folder / "textured.tif", side, side, 0.25, paint, jpeg_quality=85)


if __name__ == "__main__":
    main()
