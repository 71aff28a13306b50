"""What readers share: resolution, fingerprint, thumbnail, closing, travel between processes."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from slidenet.core.errors import ConfigError, CoordinateError, MissingMppError
from slidenet.core.records import CutTiles, SlideMpp
from slidenet.slides.colour import WHITE
from slidenet.slides.fingerprint import fingerprint_file
from slidenet.slides.protocol import RGB, Pixels, Places, Size
from slidenet.slides.pyramid import Level, check_levels
from slidenet.slides.resampling import resized
from slidenet.slides.resolution import DeclaredMpp, declared_mpp, resolve_mpp
from slidenet.slides.thumbnail import thumbnail_of

_log = logging.getLogger(__name__)


class ReaderDeclinedError(Exception):
    """A reader knows the kind of a file but not how this one is laid out; another one may.

    The text says why, as a clause.
    """


class SlideReader(ABC):
    """A `Slide` but for reading pixels; base of every reader, also those of other packages.

    A reader sets the attributes below when it is made, and adds `can_read`, `read_region` and
    `close`. Tiles are read by whole pixels of a level: one that can go by them overrides
    `read_level` (and `level_residuals`), one that knows which places are not stored `has_stored`,
    one that can shrink while decoding `read_shrunk`. `READERS` in `slides.opening` lists
    slidenet's own.

    Args:
        path: An existing file.
        mpp: Resolution of level 0 declared by the user, one number or those of x and y.
        icc: Whether to apply the embedded ICC profile.

    Attributes:
        name: Name in the registry of readers.
        suffixes: Endings of file names, lower case, by which a folder is searched for slides.

    Raises:
        MissingMppError: The declared `mpp` cannot be.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path, mpp: DeclaredMpp | None = None, icc: bool = False) -> None:
        if mpp is not None:
            declared_mpp(mpp, slide=path.name)
        self.path = path
        self.vendor = self.name
        self.properties: Mapping[str, str] = {}
        self.level_dimensions: tuple[Size, ...] = ()
        self.level_downsamples: tuple[float, ...] = ()
        self.background_rgb: RGB = WHITE
        self.icc_applied = False
        self.reader_name = self.name
        self.reader_note = ""
        self.unreadable_places: Places = ()
        self.overview_problem: str | None = None
        self.cut_tiles: CutTiles | None = None
        self._declared_mpp = mpp
        self._icc = icc

    @classmethod
    @abstractmethod
    def can_read(cls, path: Path) -> bool:
        """Whether the content of a file is of a format this reader knows."""

    @classmethod
    def open(cls, path: Path, mpp: DeclaredMpp | None = None, *, icc: bool = False) -> Self:
        """Opens a file that `can_read` knows; where a format can be checked, this is the place.

        Raises:
            MissingMppError: The declared `mpp` cannot be.
            ReaderDeclinedError: Another reader must read this file; the next one is asked.
            UnreadableSlideError: The file is damaged.
        """
        return cls(path, mpp, icc)

    def add_notes(self, clauses: Iterable[str]) -> None:
        """Adds to what `reader_note` says of how the file is read."""
        self.reader_note = "; ".join(filter(None, (self.reader_note, *clauses)))

    def __reduce__(self) -> tuple[object, ...]:
        # Handles and locks do not travel between processes; the other side opens the file again.
        return (type(self), (self.path, self._declared_mpp, self._icc))

    def __repr__(self) -> str:
        width, height = self.level_dimensions[0]
        return f"<{self.vendor} slide {self.path.name!r}, {width}x{height} px>"

    @property
    def storage_note(self) -> str:
        """See `Slide.storage_note`; here it cannot be told."""
        return ""

    @property
    def slide_mpp(self) -> SlideMpp:
        """See `Slide.slide_mpp`."""
        return resolve_mpp(
            self.properties, self._declared_mpp, vendor=self.vendor, slide=self.path.name
        )

    @property
    def has_mpp(self) -> bool:
        """See `Slide.has_mpp`."""
        try:
            return bool(self.slide_mpp)
        except MissingMppError:
            return False

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """See `Slide.levels`."""
        return check_levels(self.level_dimensions)

    @property
    def level_residuals(self) -> tuple[float, ...]:
        """See `Slide.level_residuals`; here by the way that `read_level` goes."""
        residuals = []
        for size, downsample in zip(self.level_dimensions, self.level_downsamples, strict=True):
            places = np.arange(max(size))
            read_at = np.rint(places * downsample) / downsample
            residuals.append(float(np.abs(read_at - places).max(initial=0.0)))
        return tuple(residuals)

    @cached_property
    def fingerprint(self) -> str:
        """See `Slide.fingerprint`."""
        return fingerprint_file(
            self.path, dicom_series=self.properties.get("dicom.SeriesInstanceUID")
        )

    def check_region(self, level: int, size: Size) -> None:
        """Refuses a level the slide has not and a size without pixels.

        Raises:
            ConfigError: There is no such level.
            CoordinateError: Width or height is below 1 px.
        """
        if not 0 <= level < len(self.level_dimensions):
            raise ConfigError(
                f"level {level} was asked for",
                expected=f"a level from 0 to {len(self.level_dimensions) - 1}",
                slide=self.path.name,
            )
        if min(size) < 1:
            raise CoordinateError(
                f"a region of {size[0]}x{size[1]} px was asked for",
                expected="at least 1x1 px",
                slide=self.path.name,
            )

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_level`.

        By way of `read_region`, so as true as level-0 pixels allow: where the reader's downsample
        is not whole, a place of the level lies up to half a level-0 pixel off and is blended.
        """
        self.check_region(level, size)
        downsample = self.level_downsamples[level]
        x, y = location
        return self.read_region((round(x * downsample), round(y * downsample)), level, size)

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
        """See `Slide.read_shrunk`; here areas are always averaged."""
        if shrink < 1 or size[0] % shrink or size[1] % shrink:
            raise CoordinateError(
                f"{size[0]}x{size[1]} px are to be shrunk by {shrink}",
                expected="a whole factor of both sides",
                slide=self.path.name,
            )
        pixels = resized(
            self.read_level(location, level, size), (size[0] // shrink, size[1] // shrink)
        )
        if out is None:
            return pixels
        out[...] = pixels
        return out

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """See `Slide.has_stored`; here it cannot be told."""
        return True

    def thumbnail(self, max_side_px: int) -> Pixels:
        """See `Slide.thumbnail`."""
        overview = thumbnail_of(self, max_side_px)
        self.unreadable_places = overview.unreadable_places
        # Overviews of several sizes are made of one slide; its damage is told once.
        if overview.problem is not None and self.overview_problem is None:
            self.overview_problem = overview.problem
            _log.warning("slide %r: %s", self.path.name, overview.problem)
        return overview.pixels

    @abstractmethod
    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""

    @abstractmethod
    def close(self) -> None:
        """See `Slide.close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
