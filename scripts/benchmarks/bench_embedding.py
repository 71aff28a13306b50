"""How fast `embed-tiles` is, beside the sum of its parts and beside the path it had before.

bench_embedding.py [SLIDE] [--slides 2] [--turns 3] [--encoder efficientnet_lite0]    (with nothing
else on the machine, and without OMP_NUM_THREADS)

Without a slide it writes a JPEG pyramid of 0.25 mpp with real texture (see bench_reading.py). Its
256 px tiles at 0.5 mpp are embedded, `--slides` times under other names, so that borders of slides
count. In every turn, in this order:

- parts: CPU time per tile of reading (one thread, shrinking included), of preparing and of encoding
  (one call after the other), each alone;
- slidenet: `embed_tiles` on all slides, from opening the first to the last finished file;
- before: the same tiles of one slide as slidenet embedded them before: openslide and Pillow, one
  future per tile, PyTorch in batches of 64 in the main thread, features written in between.

The bound is the rate of a machine whose cores do nothing but the parts. Other work on the machine
takes cores away; the column "of the CPU left" counts only the time it left (from /proc/stat).
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from bench_reading import textured_pyramid
from openslide import OpenSlide
from torchvision.transforms import v2

from slidenet.core.records import SlideRow, TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.slides import open_slide, read_tiles
from slidenet.stores import FeatureWriter, read_tile_set
from slidenet.tile_encoders import TileEncoder, load_tile_encoder
from slidenet.tile_encoders.architecture import features_of, folded_copy
from slidenet.tile_encoders.engines.choice import choose_engine

BATCH_BEFORE = 64
CORES = len(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", nargs="?", type=Path)
    parser.add_argument("--slides", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--side", type=int, default=12_000, help="of the generated slide")
    options = parser.parse_args()
    encoder = load_tile_encoder(options.encoder, device=options.device)
    encoder = encoder.with_engine(choose_engine(encoder, options.engine).engine)
    settings = EmbedTilesSettings(batch_size=encoder.engine.batch_size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = options.slide or textured_pyramid(folder, options.side)
        rows = copies_of(slide, folder, options.slides)
        preprocess(rows, folder / "out", PreprocessSettings(segmenter="all", drop_blank=False))
        tile_set = read_tile_set(OutputLayout(folder / "out").tiles("slide_0"))
        turns = [
            Turn(
                parts_of(tile_set, encoder),
                timed(lambda: embed(rows, folder / "out", settings, encoder)),
                timed(lambda: embed_as_before(tile_set, folder / "before.h5", encoder)),
                tile_set.num_tiles,
                len(rows),
            )
            for _ in range(options.turns)
        ]
    engine = encoder.engine
    print(
        f"{options.encoder} by {engine.name} {engine.version} on {encoder.device}, {CORES} cores, "
        f"{len(rows)} x {tile_set.num_tiles} tiles of {tile_set.geometry.read_size_px} px shrunk "
        f"to {tile_set.geometry.tile_size_px}\n"
    )
    print_parts(turns)
    print_rates(turns)


@dataclass(frozen=True)
class Taken:
    """What one run took.

    Attributes:
        wall: Seconds.
        cpu: Seconds of CPU time of this process and its children.
        left: Seconds of CPU time that other work on the machine left to it.
    """

    wall: float
    cpu: float
    left: float


@dataclass(frozen=True)
class Turn:
    """One turn of all measurements; parts in seconds of CPU per tile."""

    parts: tuple[float, float, float]
    slidenet: Taken
    before: Taken
    num_tiles: int
    num_slides: int

    @property
    def rate(self) -> float:
        """Tiles per second."""
        return self.num_tiles * self.num_slides / self.slidenet.wall

    @property
    def rate_before(self) -> float:
        """Tiles per second."""
        return self.num_tiles / self.before.wall

    @property
    def bound(self) -> float:
        """Tiles per second of cores that do nothing but the parts."""
        return CORES / sum(self.parts)

    @property
    def share_of_left(self) -> float:
        """CPU time of the parts, of the CPU time that others left."""
        return self.num_tiles * self.num_slides * sum(self.parts) / self.slidenet.left


def timed(work: Callable[[], object]) -> Taken:
    """Runs it and looks at three clocks."""
    wall, cpu, busy = time.perf_counter(), cpu_seconds(), busy_seconds()
    work()
    wall, cpu, busy = time.perf_counter() - wall, cpu_seconds() - cpu, busy_seconds() - busy
    return Taken(wall, cpu, CORES * wall - max(0.0, busy - cpu))


def cpu_seconds() -> float:
    """CPU time of this process and of its children, those that live included (Linux)."""
    total = sum(os.times()[:4])
    for path in Path("/proc/self/task").glob("*/children"):
        for child in path.read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / TICKS
    return total


def busy_seconds() -> float:
    """CPU time of the whole machine (Linux), stolen time included."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS


def copies_of(slide: Path, folder: Path, count: int) -> list[SlideRow]:
    """Rows of one slide under several names."""
    rows = []
    for number in range(count):
        path = folder / f"slide_{number}{slide.suffix}"
        path.symlink_to(slide.resolve())
        rows.append(SlideRow(f"slide_{number}", str(path)))
    return rows


def parts_of(tile_set: TileSet, encoder: TileEncoder) -> tuple[float, float, float]:
    """CPU seconds per tile of reading, preparing and encoding."""
    geometry, coords = tile_set.geometry, tile_set.coords
    clocks = [time.process_time()]
    with open_slide(tile_set.slide_path) as slide:
        clocks[0] = time.process_time()
        size = encoder.engine.batch_size
        batches = list(read_tiles(slide, geometry, coords, batch_size=size, num_readers=1))
    clocks.append(time.process_time())
    prepared = [
        encoder.prepare(torch.from_numpy(batch.pixels).permute(0, 3, 1, 2)) for batch in batches
    ]
    clocks.append(time.process_time())
    for images in prepared:
        encoder.engine.run(images).float().cpu()
    clocks.append(time.process_time())
    read, prepare, encode = np.diff(clocks) / tile_set.num_tiles
    return read, prepare, encode


def embed(
    rows: list[SlideRow], out: Path, settings: EmbedTilesSettings, encoder: TileEncoder
) -> None:
    """The verb, from nothing."""
    shutil.rmtree(out / "tile_features", ignore_errors=True)
    report = embed_tiles(rows, out, settings, tile_encoder=encoder)
    assert not report.failed, report.table()


def embed_as_before(tile_set: TileSet, path: Path, encoder: TileEncoder) -> None:
    """One slide as slidenet embedded it before it had a stream; kept for comparison only."""
    module = folded_copy(encoder.module)
    spec, geometry = encoder.spec, tile_set.geometry
    resize = v2.Resize(
        spec.transform.resize_px,
        interpolation=v2.InterpolationMode(spec.transform.interpolation),
        antialias=True,
    )
    geometric = v2.Compose([resize, v2.CenterCrop(spec.transform.input_px)])
    numeric = v2.Compose(
        [
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(spec.transform.mean), std=list(spec.transform.std)),
        ]
    )
    identity = {"benchmark": "as before"}
    with (
        OpenSlide(tile_set.slide_path) as slide,
        FeatureWriter(
            path, tile_set, encoder.feature_dim, "float16", identity, identity, BATCH_BEFORE
        ) as writer,
        torch.inference_mode(),
    ):

        def read(location: np.ndarray) -> np.ndarray:
            size = (geometry.read_size_px,) * 2
            region = slide.read_region((int(location[0]), int(location[1])), geometry.level, size)
            pixels = cv2.cvtColor(np.asarray(region), cv2.COLOR_RGBA2RGB)
            assert np.asarray(region)[..., 3].min() == 255, "nothing is left out on this slide"
            side = (geometry.tile_size_px,) * 2
            return cv2.resize(pixels, side, interpolation=cv2.INTER_AREA)

        for tiles in read_by_futures(read, tile_set.coords):
            images = numeric(geometric(torch.from_numpy(tiles).permute(0, 3, 1, 2)))
            features = features_of(module, images.to(encoder.device), spec.pooling).float().cpu()
            assert torch.isfinite(features).all()
            writer.append(features.numpy())
        writer.finish()


def read_by_futures(
    read: Callable[[np.ndarray], np.ndarray], coords: np.ndarray
) -> Iterator[np.ndarray]:
    """Batches of tiles, one future per tile, three batches ahead, two threads."""
    starts = iter(range(0, len(coords), BATCH_BEFORE))
    pending = []
    with ThreadPoolExecutor(2) as pool:

        def submit_next_batch() -> None:
            start = next(starts, None)
            if start is not None:
                rows = coords[start : start + BATCH_BEFORE]
                pending.append([pool.submit(read, row) for row in rows])

        for _ in range(3):
            submit_next_batch()
        while pending:
            tiles = [one.result() for one in pending.pop(0)]
            submit_next_batch()
            yield np.stack(tiles)


def print_parts(turns: list[Turn]) -> None:
    """Where the time of a tile goes."""
    print("| CPU ms per tile | read | prepare | encode | sum | slidenet | before |")
    print("|---|---|---|---|---|---|---|")
    read, prepare, encode = (
        1e3 * statistics.median(turn.parts[part] for turn in turns) for part in range(3)
    )
    mine = statistics.median(t.slidenet.cpu / (t.num_tiles * t.num_slides) for t in turns)
    before = statistics.median(t.before.cpu / t.num_tiles for t in turns)
    print(
        f"| | {read:.2f} | {prepare:.2f} | {encode:.2f} | {read + prepare + encode:.2f} "
        f"| {1e3 * mine:.2f} | {1e3 * before:.2f} |\n"
    )


def print_rates(turns: list[Turn]) -> None:
    """End to end."""
    print(
        "| turn | bound, tiles/s | slidenet | before | of the bound | of the CPU left "
        "| times before | times before, CPU |"
    )
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for turn in turns:
        cpu = turn.before.cpu / turn.num_tiles
        cpu /= turn.slidenet.cpu / (turn.num_tiles * turn.num_slides)
        rows.append(
            [
                turn.bound,
                turn.rate,
                turn.rate_before,
                turn.rate / turn.bound,
                turn.share_of_left,
                turn.rate / turn.rate_before,
                cpu,
            ]
        )
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    for name, row in [*enumerate(rows, 1), ("median", medians)]:
        cells = [f"{x:.0f}" for x in row[:3]] + [f"{x:.2f}" for x in row[3:]]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
