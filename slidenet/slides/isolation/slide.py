"""A slide that lives in another process."""

import logging
import os
import sys
import threading
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from slidenet.core import status
from slidenet.core.arrays import IntArray
from slidenet.core.errors import SlideError, SlidenetError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.slides.isolation import deaths
from slidenet.slides.isolation.facts import SlideFacts
from slidenet.slides.isolation.messages import Request
from slidenet.slides.isolation.pool import give_back, take_process
from slidenet.slides.isolation.process import ChildProcess
from slidenet.slides.isolation.waiting import Patience
from slidenet.slides.limits import LIMITS, ReadingLimits, current_time_limit
from slidenet.slides.protocol import Pixels, Places, Size
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.slides.tile_images.listing import DEEPZOOM_FOLDER, is_tile_folder
from slidenet.slides.tiles import TilePixels, batches_ahead

_COMPANIONS = {".mrxs", ".vms", ".vmu", ".dcm"}
_MAX_COMPANIONS = 10_000
_FILE_BYTES = 4096
"""Reading the header of a tile image costs about as much as decoding so many bytes."""


def open_isolated(
    path: str | os.PathLike[str],
    mpp: DeclaredMpp | None = None,
    *,
    icc: bool = False,
    reader: str | None = None,
    tiles: TileDeclaration | None = None,
    limits: ReadingLimits = LIMITS,
) -> "IsolatedSlide":
    """Opens a slide in a process of its own; see `open_slide` for the arguments.

    Raises:
        ConfigError: This system cannot limit a process.
        SlideError: No process can be started.
        UnreadableSlideError: As `open_slide`; also where the slide exceeds its limits or crashes
            a library.
    """
    return IsolatedSlide(Path(path), mpp, icc=icc, reader=reader, tiles=tiles, limits=limits)


class IsolatedSlide:
    """A `Slide` whose file is opened and decoded by a child process.

    A crash of a library, a limit that is exceeded or a disk that does not answer is an
    `UnreadableSlideError` of this slide. Pixels come through shared memory.

    Args:
        path: The file.
        mpp: Resolution of level 0 declared by the user.
        icc: Whether to apply the embedded ICC profile.
        reader: Who reads it.
        tiles: What is declared of tile images.
        limits: How much work and memory it may cost.
    """

    def __init__(
        self,
        path: Path,
        mpp: DeclaredMpp | None,
        *,
        icc: bool,
        reader: str | None,
        limits: ReadingLimits,
        tiles: TileDeclaration | None = None,
    ) -> None:
        self.path = path
        self._mpp, self._icc, self._reader, self._limits = mpp, icc, reader, limits
        self._tiles = tiles
        self._time_limit = current_time_limit()
        self._stored_bytes = _stored_bytes(path)
        self._overview_cpu_s = limits.overview_cpu_s(self._stored_bytes)
        self._lock = threading.Lock()
        self._closed = False
        self._sound = True
        self._fingerprint: str | None = None
        self._pid = os.getpid()
        process, self._facts = self._opened()
        self._process: ChildProcess | None = process
        self.vendor = self._facts.vendor
        self.properties = self._facts.properties
        self.level_dimensions = self._facts.level_dimensions
        self.level_downsamples = self._facts.level_downsamples
        self.levels = self._facts.levels
        self.level_residuals = self._facts.level_residuals
        self.background_rgb = self._facts.background_rgb
        self.icc_applied = self._facts.icc_applied
        self.reader_name = self._facts.reader_name
        self.reader_note = self._facts.reader_note
        self.storage_note = self._facts.storage_note
        self.unreadable_places: Places = ()
        self.overview_problem: str | None = None
        self.has_mpp = self._facts.has_mpp
        self.cut_tiles = self._facts.cut_tiles

    def __reduce__(self) -> tuple[object, ...]:
        # A process belongs to the one that started it; the other side opens the file again.
        again = partial(
            IsolatedSlide,
            icc=self._icc,
            reader=self._reader,
            limits=self._limits,
            tiles=self._tiles,
        )
        return (again, (self.path, self._mpp))

    def __repr__(self) -> str:
        width, height = self.level_dimensions[0]
        return f"<{self.vendor} slide {self.path.name!r}, {width}x{height} px, isolated>"

    @property
    def slide_mpp(self) -> SlideMpp:
        """See `Slide.slide_mpp`."""
        if isinstance(self._facts.mpp, SlideError):
            raise self._facts.mpp
        return self._facts.mpp

    @property
    def fingerprint(self) -> str:
        """See `Slide.fingerprint`."""
        if self._fingerprint is None:
            self._fingerprint = str(self._ask("fingerprint", cpu_s=self._overview_cpu_s))
        return self._fingerprint

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""
        return self._read("read_region", location, level, size)

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_level`."""
        return self._read("read_level", location, level, size)

    def read_shrunk(
        self,
        location: Size,
        level: int,
        size: Size,
        shrink: int,
        *,
        scaled_jpeg: bool = False,
        out: Pixels | None = None,
    ) -> Pixels:
        """See `Slide.read_shrunk`."""
        pixels = self._read("read_shrunk", location, level, size, shrink, scaled_jpeg=scaled_jpeg)
        if out is None:
            return pixels
        out[...] = pixels
        return out

    def read_cut_tile(self, location: Size) -> Pixels:
        """See `tile_images.reader.TileImagesReader.read_cut_tile`."""
        pixels: Pixels = self._ask("read_cut_tile", location, cpu_s=self._overview_cpu_s)
        return pixels

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """See `Slide.has_stored`."""
        cpu_s = self._overview_cpu_s
        return bool(self._ask("has_stored", location, level, size, cpu_s=cpu_s))

    def thumbnail(self, max_side_px: int) -> Pixels:
        """See `Slide.thumbnail`."""
        cpu_s = max(1.0, self._overview_cpu_s - self._facts.opening_cpu_s)
        bound = 3 * max(1, int(max_side_px)) ** 2
        width, height = self.level_dimensions[0]
        num_bytes = min(bound, 3 * width * height)
        pixels: Pixels = self._ask("thumbnail", max_side_px, cpu_s=cpu_s, num_bytes=num_bytes)
        self.unreadable_places = self._ask("unreadable_places", cpu_s=cpu_s)
        self.overview_problem = self._ask("overview_problem", cpu_s=cpu_s)
        return pixels

    def read_tiles(
        self,
        geometry: TileGeometry,
        coords: IntArray,
        *,
        batch_size: int,
        num_readers: int = 2,
        start: int = 0,
    ) -> Generator[TilePixels, None, None]:
        """See `slides.read_tiles`: the threads are those of the child, batches come whole."""
        ahead = batches_ahead(batch_size, num_readers)
        largest = min(batch_size, max(1, len(coords) - start))  # what the limits below follow
        batch_bytes = 3 * geometry.tile_size_px**2 * largest
        region_bytes = 8 * geometry.read_size_px**2
        batches = self._child().stream(
            "read_tiles",
            geometry,
            np.asarray(coords),
            num_batches=len(range(start, len(coords), batch_size)),
            num_ahead=ahead + 2,
            batch_bytes=batch_bytes,
            # From one batch to the next; its threads read those ahead meanwhile.
            cpu_s=self._reading_cpu_s(geometry.read_size_px**2 * largest * (ahead + 1)),
            memory_bytes=(ahead + 2) * batch_bytes + num_readers * region_bytes,
            num_threads=num_readers,
            patience=self._patience("read_tiles"),
            batch_size=batch_size,
            num_readers=num_readers,
            start=start,
        )
        for batch in self._translated(batches):
            if self._time_limit is not None:
                self._time_limit.check(deaths.name_work("read_tiles"))
            self._sound = self._sound and not (batch.status == status.UNREADABLE).any()
            yield batch

    def close(self) -> None:
        """See `Slide.close`."""
        with self._lock:
            process, self._process, self._closed = self._process, None, True
        if process is None or self._pid != os.getpid():
            return
        if self._sound and process.alive and not process.busy:
            try:
                self._ask_of(process, "close", cpu_s=self._overview_cpu_s)
            except SlidenetError:
                self._sound = False
        give_back(process, sound=self._sound)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _opened(self) -> tuple[ChildProcess, SlideFacts]:
        """A process that has opened the slide, and what it found."""
        process = take_process()
        process.explain = self._died
        try:
            facts: SlideFacts = self._ask_of(
                process,
                "open",
                self.path,
                self._mpp,
                cpu_s=self._overview_cpu_s,
                icc=self._icc,
                reader=self._reader,
                tiles=self._tiles,
                limits=self._limits,
                folder=_working_folder(),
                module_path=list(sys.path),
                opencv_threads=cv2.getNumThreads(),
                log_level=logging.getLogger("slidenet").getEffectiveLevel(),
            )
        except BaseException:
            give_back(process, sound=False)
            raise
        return process, facts

    def _child(self) -> ChildProcess:
        """The process that holds the slide; another one after a fork."""
        with self._lock:
            if self._closed or self._process is None:
                raise SlideError(
                    "the slide is closed", remedy="open it again", slide=self.path.name
                )
            if self._pid != os.getpid():
                (self._process, self._facts), self._pid = self._opened(), os.getpid()
            return self._process

    def _read(
        self, name: str, location: Size, level: int, size: Size, *more: Any, **how: Any
    ) -> Pixels:
        num_bytes = 3 * max(1, size[0]) * max(1, size[1])
        cpu_s = self._reading_cpu_s(num_bytes // 3)
        pixels: Pixels = self._ask(
            name, location, level, size, *more, cpu_s=cpu_s, num_bytes=num_bytes, **how
        )
        return pixels

    def _reading_cpu_s(self, num_pixels: int) -> float:
        """What reading may take; stored tiles can be larger than the regions that touch them."""
        return self._overview_cpu_s + self._limits.max_megapixel_cpu_s * num_pixels / 1e6

    def _ask(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        return self._ask_of(self._child(), name, *arguments, **keywords)

    def _ask_of(self, process: ChildProcess, name: str, *arguments: Any, **keywords: Any) -> Any:
        """Asks, and turns what is not an error of slides into one where it is about the slide."""
        try:
            return process.ask(name, *arguments, patience=self._patience(name), **keywords)
        except BaseException as error:
            raise self._about_slide(error) from None

    def _translated(self, batches: Iterator[TilePixels]) -> Iterator[TilePixels]:
        try:
            yield from batches
        except BaseException as error:
            raise self._about_slide(error) from None

    def _about_slide(self, error: BaseException) -> BaseException:
        """The same error, or that of the memory limit; either way the process is not used again."""
        if not isinstance(error, GeneratorExit):
            self._sound = False
        if isinstance(error, MemoryError):
            return deaths.memory_exceeded(self._limits, self.path.name)
        if isinstance(error, RuntimeError) and deaths.NO_THREAD in str(error):
            return deaths.no_thread(self.path.name)
        return error

    def _died(self, code: int | None, last_words: str, working: list[Request]) -> SlidenetError:
        return deaths.explain(
            code,
            last_words,
            working,
            limits=self._limits,
            stored_bytes=self._stored_bytes,
            slide=self.path.name,
        )

    def _patience(self, name: str) -> Patience:
        doing = deaths.name_work(name)
        return Patience(self._limits.max_stall_s, self._stalled, self._time_limit, doing)

    def _stalled(self) -> SlidenetError:
        return deaths.stalled(self._limits.max_stall_s, self.path)


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted; the child stays where it is
        return None


def _stored_bytes(path: Path) -> int:
    """Bytes of the slide on disk, those of the files beside it included."""
    try:
        if is_tile_folder(path):
            return _bytes_of_folder(path)
        size = path.stat().st_size
        if path.suffix.lower() not in _COMPANIONS:
            return size
        folder = path.with_suffix("") if path.suffix.lower() == ".mrxs" else path.parent
        with os.scandir(folder) as entries:
            sizes = [
                e.stat().st_size for e, _ in zip(entries, range(_MAX_COMPANIONS), strict=False)
            ]
        return size + sum(sizes)
    except OSError:
        return 0  # opening it will say what is wrong


def _bytes_of_folder(path: Path) -> int:
    """Bytes of all tile images of a folder, and for each what opening a file costs beside."""
    folder = path.with_name(path.stem + DEEPZOOM_FOLDER) if path.is_file() else path
    total = 0
    for root, _, _ in os.walk(folder):
        with os.scandir(root) as entries:
            total += sum(e.stat().st_size + _FILE_BYTES for e in entries if e.is_file())
    return total
