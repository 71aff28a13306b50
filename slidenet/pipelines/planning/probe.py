"""What this machine can do, measured by the verbs themselves on a few tiles of a few slides.

`embed-tiles` runs on tile sets that were cut short, in a temporary folder: with few tiles per slide
and with more, which tells what a slide costs from what a tile costs; with the encoder, and with one
that does nothing, which is all but encoding. What a run does at the same time is so measured at the
same time. Everything is done once before it is timed; medians of several turns count.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from slidenet.core.errors import WorkerError
from slidenet.core.records import SlideRow, TileSet
from slidenet.data import TileStream
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.planning.tissue_sample import bytes_below, quiet
from slidenet.pipelines.progress.parts import Parts
from slidenet.pipelines.settings import EmbedSlidesSettings, EmbedTilesSettings
from slidenet.slide_encoders import SlideEncoder
from slidenet.slides import open_slide, read_tiles
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.stores import read_tile_set, write_tile_set
from slidenet.stores.features.writer import stored_rows
from slidenet.stores.objects import is_uri
from slidenet.tile_encoders import TileEncoder, TileEncoderSpec

MOST_TURNS = 5
MOST_SLIDES = 4


class _Nothing(torch.nn.Module):
    """Features that are zeros, in no time."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.new_zeros(len(images), self.feature_dim)


def encoder_of_nothing(spec: TileEncoderSpec) -> TileEncoder:
    """An encoder that costs nothing, and takes and gives what another one does."""
    module = _Nothing(spec.output_dim)
    return TileEncoder.from_module(module, name=spec.name, transform=spec.transform)


@dataclass(frozen=True, slots=True)
class Turns:
    """One thing done several times.

    Attributes:
        seconds: Of each turn.
        tiles: Of each turn.
        slides: Of each turn.
    """

    seconds: Sequence[float]
    tiles: int
    slides: int

    @property
    def median(self) -> float:
        """Seconds of the turn in the middle."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Tiles per second."""
        return self.tiles / self.median


@dataclass(frozen=True, slots=True)
class Probed:
    """What was measured.

    Attributes:
        decode: Tiles per second of everything but encoding.
        decode_megapixels: Million pixels per second that are read from slides for that.
        encode: Tiles per second of encoding alone; None where it was not measured.
        together: Tiles per second of `embed-tiles` as it is; None where it was not measured.
        slide_s: Seconds of a slide in `embed-tiles` that are not of its tiles.
        embedding_slide_s: Seconds of a slide in `embed-slides` that are not of its tiles.
        embedding_tile_s: Seconds of a tile there.
        row_bytes: Bytes written by both verbs per row that features have room for.
        slide_bytes: Bytes written per slide by both verbs, beside those of its rows.
        read_tile_bytes: Bytes read from the slide per tile; None where the system does not say.
        num_tiles: Tiles of a turn.
        num_turns: Turns of the slowest part.
        seconds: How long all took.
    """

    decode: float
    decode_megapixels: float
    encode: float | None
    together: float | None
    slide_s: float
    embedding_slide_s: float
    embedding_tile_s: float
    row_bytes: float
    slide_bytes: float
    read_tile_bytes: float | None
    num_tiles: int
    num_turns: int
    seconds: float


@dataclass
class Probe:
    """Measures on the tiles of some slides.

    Attributes:
        rows: Slides that have tiles.
        layout: Where these lie.
        folder: An empty one for what is made.
        settings: How tiles are encoded.
        embedding: How slides are.
        slide_encoder: As these settings say.
        spec: Of the tile encoder.
        encoder: Measured too, where it is given.
        budget_s: Seconds that all may take, about.
        fleet: Where objects are fetched to.
    """

    rows: Sequence[SlideRow]
    layout: OutputLayout
    folder: Path
    settings: EmbedTilesSettings
    embedding: EmbedSlidesSettings
    slide_encoder: SlideEncoder
    spec: TileEncoderSpec
    encoder: TileEncoder | None
    budget_s: float
    fleet: FleetSettings
    _began: float = field(default=0.0, init=False)
    _parts: Parts = field(init=False)
    _read: dict[Path, int] = field(default_factory=dict, init=False)

    @property
    def num_parts(self) -> int:
        """How many parts are begun."""
        return 4 if self.encoder is None else 6

    def __call__(self, parts: Parts) -> Probed:
        """Measures; the seconds of the budget are shared by what there is to measure.

        Args:
            parts: Are told what is measured.

        Raises:
            WorkerError: A slide that could be preprocessed cannot be encoded.
        """
        self._began, self._parts = time.monotonic(), parts
        nothing = encoder_of_nothing(self.spec)
        real = self.encoder or nothing
        batch = self.settings.batch_size or real.engine.batch_size
        if self.encoder is None:
            batch = self.settings.batch_size or nothing.engine.batch_size
        sets = [read_tile_set(self.layout.tiles(row.slide_id)) for row in self.rows]
        small = [min(batch, tiles.num_tiles) for tiles in sets]
        with_it = "" if self.encoder is None else " with the encoder"
        parts.begin(f"tiles{with_it} for the first time")
        few = self._cut(sets, small, "few")
        first = self._turn(few, real, batch)  # what is done for the first time is not timed
        parts.begin(f"few tiles{with_it}")
        of_few = self._turns(lambda: self._turn(few, real, batch), few, until=0.2)
        guess = of_few.rate if first else 1.0
        wanted = max(3 * of_few.tiles, guess * 0.12 * self.budget_s)
        many = self._cut(sets, _shares(sets, wanted, small), "many")
        parts.begin(f"more tiles{with_it}")
        of_many = self._turns(lambda: self._turn(many, real, batch), many, until=0.6)
        blank = of_many
        if self.encoder is not None:
            parts.begin("the same tiles without the encoder")
            self._turn(few, nothing, batch)
            blank = self._turns(lambda: self._turn(many, nothing, batch), many, until=0.8)
        slide_s, tile_s = _apart(of_few, of_many)
        blank_tiles_s = max(1e-9, blank.median - blank.slides * slide_s)
        decode = blank.tiles / max(blank_tiles_s, 0.2 * blank.median)
        parts.begin("slides with the slide encoder")
        embedding = [self._embed_slides(part) for part in (few, many)]
        sizes = [part.num_bytes() for part in (few, many)]
        row_bytes, slide_bytes = _line(few.rows, many.rows, many.slides, sizes)
        embed_tile_s, embed_slide_s = _line(few.tiles, many.tiles, many.slides, embedding)
        reads = [float(self._read[part.layout.root]) for part in (few, many)]
        read_tile_bytes = _line(few.tiles, many.tiles, 1, reads)[0] if min(reads) > 0 else None
        geometry, encode = sets[0].geometry, None
        if self.encoder is not None:
            parts.begin("the encoder alone")
            encode = self._encode(sets, batch)
        return Probed(
            decode=decode,
            decode_megapixels=decode * geometry.read_size_px**2 / 1e6,
            encode=encode,
            together=None if self.encoder is None else 1 / tile_s,
            slide_s=slide_s,
            embedding_slide_s=embed_slide_s,
            embedding_tile_s=embed_tile_s,
            row_bytes=row_bytes,
            slide_bytes=slide_bytes,
            read_tile_bytes=read_tile_bytes,
            num_tiles=of_many.tiles,
            num_turns=len(of_many.seconds),
            seconds=time.monotonic() - self._began,
        )

    def _spent(self) -> float:
        return (time.monotonic() - self._began) / self.budget_s

    def _cut(self, sets: Sequence[TileSet], counts: Sequence[int], name: str) -> "_Cut":
        """Tile sets of so many tiles, from the middle of each slide."""
        layout = OutputLayout(self.folder / name)
        for tiles, count in zip(sets, counts, strict=True):
            start = (tiles.num_tiles - count) // 2
            part = slice(start, start + count)
            kept = np.zeros(tiles.num_tiles, np.bool_)
            kept[part] = True
            short = replace(
                tiles,
                coords=tiles.coords[part].copy(),
                tissue_fraction=tiles.tissue_fraction[part].copy(),
                regions=None if tiles.regions is None else tiles.regions.take(kept),
            )
            write_tile_set(layout.tiles(tiles.slide_id), short)
        return _Cut(layout, sum(counts), sum(map(stored_rows, counts)), len(sets))

    def _turn(self, cut: "_Cut", encoder: TileEncoder, batch: int) -> float:
        """Seconds of `embed-tiles`, from nothing."""
        settings, before = replace(self.settings, batch_size=batch), _read_by_processes()
        report = embed_tiles(
            self.rows,
            cut.layout.root,
            settings,
            overwrite=True,
            tile_encoder=encoder,
            fleet=quiet(self.fleet),
        )
        if report.failed:
            raise WorkerError(
                f"the probe failed: {report.failed[0].detail}",
                remedy="see whether `slidenet embed-tiles` works on this slide, or give "
                "--probe-seconds 0",
            )
        self._read[cut.layout.root] = _read_by_processes() - before
        return report.seconds

    def _turns(self, turn: Callable[[], float], cut: "_Cut", *, until: float) -> Turns:
        """Several turns, until so much of the budget is spent; one at least."""
        seconds = [turn()]
        while len(seconds) < MOST_TURNS and self._spent() + seconds[0] / self.budget_s < until:
            self._parts.turn(len(seconds) + 1, MOST_TURNS)
            seconds.append(turn())
        return Turns(seconds, cut.tiles, cut.slides)

    def _encode(self, sets: Sequence[TileSet], batch: int) -> float:
        """Tiles per second of the encoder, on tiles that lie in memory."""
        assert self.encoder is not None, "nobody else asks"
        tiles, row, reader = sets[0], self.rows[0], self.settings.reader
        cut = tiles.geometry.tile_frame
        frame = None if cut is None else TileDeclaration(tiles.geometry.target_mpp, cut)
        staged: AbstractContextManager[str | Path] = nullcontext(row.slide_path)
        if is_uri(row.slide_path):
            staged = self.fleet.objects().staged(row.slide_path)
        with (
            staged as path,
            open_slide(
                path,
                tiles.geometry.slide_mpp.value,
                reader=reader,
                tiles=frame,
                **self.settings.how_to_open(),
            ) as slide,
        ):
            some = tiles.coords[: 4 * batch]
            read = read_tiles(slide, tiles.geometry, some, batch_size=batch)
            batches = [part.pixels.copy() for part in read]
        with TileStream(self.encoder, batch, self.settings.num_readers) as stream:
            num_tiles = sum(map(len, batches))

            def turn() -> float:
                started = time.perf_counter()
                for _ in stream.encode(batches):
                    pass
                return time.perf_counter() - started

            turn()
            return self._turns(turn, _Cut(self.layout, num_tiles, num_tiles, 1), until=0.95).rate

    def _embed_slides(self, cut: "_Cut") -> float:
        """Seconds of `embed-slides` on what the last turn made."""
        seconds = []
        for _ in range(3):
            report = embed_slides(
                self.rows,
                cut.layout.root,
                self.embedding,
                encoder=self.spec.name,
                slide_encoder=self.slide_encoder,
                overwrite=True,
                fleet=quiet(self.fleet),
            )
            if report.failed:
                raise WorkerError(f"the probe failed: {report.failed[0].detail}")
            seconds.append(report.seconds)
            if self._spent() > 1:
                break
        return statistics.median(seconds)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Tile sets that were cut short.

    Attributes:
        layout: Where they lie.
        tiles: Of all slides.
        rows: That features have room for.
        slides: How many.
    """

    layout: OutputLayout
    tiles: int
    rows: int
    slides: int

    def num_bytes(self) -> int:
        """Bytes of features and embeddings."""
        root = self.layout.root
        return bytes_below(root / "tile_features", root / "slide_embeddings")


def _shares(sets: Sequence[TileSet], wanted: float, least: Sequence[int]) -> list[int]:
    """So many tiles in all, from each slide as its share of them; never fewer than before."""
    total = sum(tiles.num_tiles for tiles in sets)
    share = min(1.0, wanted / total)
    return [
        min(tiles.num_tiles, max(few, round(tiles.num_tiles * share)))
        for tiles, few in zip(sets, least, strict=True)
    ]


def _apart(few: Turns, many: Turns) -> tuple[float, float]:
    """Seconds per slide and per tile of two measurements."""
    if many.tiles <= few.tiles:
        return 0.0, many.median / many.tiles
    tile_s = (many.median - few.median) / (many.tiles - few.tiles)
    # A turn that was disturbed must not make tiles cost nothing, or slides less than nothing.
    tile_s = min(max(tile_s, 0.3 * many.median / many.tiles), many.median / many.tiles)
    return max(0.0, many.median - many.tiles * tile_s) / many.slides, tile_s


def _line(few: int, many: int, slides: int, values: Sequence[float]) -> tuple[float, float]:
    """What one of few or many, and what a slide, adds to a number, which is neither below zero."""
    slope = max(0.0, (values[1] - values[0]) / (many - few)) if many > few else 0.0
    return slope, max(0.0, values[1] - slope * many) / slides


def _read_by_processes() -> int:
    """Bytes that this process and its children have read so far (Linux); elsewhere 0."""
    processes = ["self"]
    with suppress(OSError):
        for path in Path("/proc/self/task").glob("*/children"):
            processes += path.read_text().split()
    total = 0
    for process in processes:
        with suppress(OSError):
            lines = Path(f"/proc/{process}/io").read_text().splitlines()
            total += next((int(line.split()[1]) for line in lines if line[:6] == "rchar:"), 0)
    return total


def seconds_of_python() -> float:
    """Seconds until a new Python has imported the verbs."""
    program = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import slidenet.cli.main; "
    program += "import slidenet.pipelines.run"
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-c", program, json.dumps(sys.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return time.monotonic() - started
