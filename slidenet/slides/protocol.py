"""What every slide can do, whichever library reads it: the type that all other rooms ask for.

Readers inherit what they share from `readers.base.SlideReader`; nothing else needs to know it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from slidenet.core.records import CutTiles, SlideMpp
from slidenet.slides.pyramid import Level

RGB = tuple[int, int, int]
Size = tuple[int, int]
Places = tuple[tuple[float, float, float, float], ...]
Pixels = npt.NDArray[np.uint8]


class Slide(Protocol):
    """An open slide. Several threads may read from one slide at the same time.

    A slide can be pickled (it is opened again on the other side) and survives a fork.
    """

    @property
    def path(self) -> Path:
        """Where the slide lies."""

    @property
    def vendor(self) -> str:
        """The format in openslide's words ("aperio"); of flat images "png", "jpeg" or "tiff"."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Everything the file says about itself, in openslide's names."""

    @property
    def level_dimensions(self) -> tuple[Size, ...]:
        """(width, height) of each level, largest first, in that level's pixels."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level; the first is 1.0."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """Each level with its downsample per axis, and why it is not used where it is not."""

    @property
    def level_residuals(self) -> tuple[float, ...]:
        """How far from its whole pixels `read_level` may read each level, in its pixels; mostly 0.

        A reader that goes by level-0 coordinates cannot hit them where its downsample is not whole.
        """

    @property
    def background_rgb(self) -> RGB:
        """The colour of places the scanner stored nothing for."""

    @property
    def icc_applied(self) -> bool:
        """Whether pixels went through the embedded ICC profile to sRGB.

        False also where it was asked for and the file holds no profile.
        """

    @property
    def reader_name(self) -> str:
        """Who reads this file: "tiled", "openslide", "flat" or a reader of another package."""

    @property
    def reader_note(self) -> str:
        """How this file is read, and why by this reader; empty where there is no choice."""

    @property
    def storage_note(self) -> str:
        """How much of level 0 has no stored bytes, as a clause; empty where all has, or unknown.

        Scanners leave out glass; damage looks the same.
        """

    @property
    def unreadable_places(self) -> Places:
        """What the last `thumbnail` could not show, since no level of it can be decoded.

        Returns:
            (left, top, right, bottom) of rectangles that do not overlap, as shares of the slide's
            width and height; none before the first thumbnail.
        """

    @property
    def overview_problem(self) -> str | None:
        """Why a thumbnail could not be taken as planned, also where finer levels made it whole.

        None while none was met.
        """

    @property
    def cut_tiles(self) -> CutTiles | None:
        """The tiles, where the slide is a folder of tile images; None where tiles are to be cut."""

    @property
    def slide_mpp(self) -> SlideMpp:
        """Resolution of level 0 and where it came from.

        Raises:
            MissingMppError: The slide does not say it, or says nonsense.
        """

    @property
    def has_mpp(self) -> bool:
        """Whether `slide_mpp` can be had."""

    @property
    def fingerprint(self) -> str:
        """Content fingerprint of the file(s): 64 hex digits; see `fingerprint_file`."""

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """Pixels of one region; what lies outside the slide has the background colour.

        Args:
            location: (x, y) of the top-left corner, level-0 pixels; may be negative.
            level: Level to read.
            size: (width, height) in that level's pixels.

        Returns:
            uint8 (height, width, 3), RGB.

        Raises:
            PixelReadError: This region cannot be decoded; other regions still can.
            UnreadableSlideError: The file as a whole has become unreadable.
        """

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """Whole pixels of one level, none of them blended with its neighbours.

        Args:
            location: (x, y) of the top-left corner in pixels of that level; may be negative.
            level: Level to read.
            size: (width, height) in that level's pixels.

        Returns:
            uint8 (height, width, 3), RGB; what lies outside has the background colour.

        Raises:
            PixelReadError: This region cannot be decoded; other regions still can.
            UnreadableSlideError: The file as a whole has become unreadable.
        """

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
        """A region of one level, made smaller by a whole factor.

        Args:
            location: (x, y) of the top-left corner in whole pixels of that level.
            level: Level to read.
            size: (width, height) in that level's pixels, multiples of `shrink`.
            shrink: By how much; 1 changes nothing.
            scaled_jpeg: Let the JPEG decoder shrink (by 2, 4 or 8) where the tiles are JPEG: other
                pixels than area averaging, for less work. Where they are not, areas are averaged.
            out: Array of the result's shape, C-contiguous, that is filled and returned; None makes
                one. After an error it holds anything.

        Returns:
            uint8 (height / shrink, width / shrink, 3), RGB.

        Raises:
            CoordinateError: `shrink` is below 1, or `size` no multiple of it.
            PixelReadError: This region cannot be decoded; other regions still can.
            UnreadableSlideError: The file as a whole has become unreadable.
        """

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """Whether the file stores bytes for any part of a region; True where it cannot be told.

        Args:
            location: (x, y) of the top-left corner in pixels of that level.
            level: The level.
            size: (width, height) in that level's pixels.
        """

    def thumbnail(self, max_side_px: int) -> Pixels:
        """The whole slide, area-averaged so that its longer side is at most `max_side_px`.

        Returns:
            uint8 (height, width, 3), RGB; never larger than level 0.

        Raises:
            UnreadableSlideError: The file as a whole has become unreadable.
        """

    def close(self) -> None:
        """Releases the file; reading afterwards raises `SlideError`."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...
