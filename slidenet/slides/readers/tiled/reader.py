"""Slides whose tiles slidenet decodes itself: openslide's pixels, at the speed of decoding."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from openslide import OpenSlide
from PIL import Image, ImageCms

from slidenet.core.arrays import IntArray
from slidenet.core.errors import PixelReadError, SlideError, UnreadableSlideError
from slidenet.slides.admission import (
    check_overview,
    check_picture,
    check_pyramid,
    check_whole_tiff,
)
from slidenet.slides.colour import parse_background, to_rgb, to_srgb
from slidenet.slides.limits import current_limits
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.pyramid import Level
from slidenet.slides.readers.base import ReaderDeclinedError, SlideReader
from slidenet.slides.readers.handles import SharedHandle
from slidenet.slides.readers.tiled.cache import SHARED_CACHE, bound_memory
from slidenet.slides.readers.tiled.decoders import decoder_of
from slidenet.slides.readers.tiled.layout import APERIO, TiledLayout, find_layout, is_tiled_tiff
from slidenet.slides.readers.tiled.level import AS_STORED, Shrinking, TiledLevel, TileError
from slidenet.slides.readers.tiled.missing import aperio_byte_counts, finer_has_stored
from slidenet.slides.readers.tiled.payload import PayloadError, TileFormat
from slidenet.slides.readers.tiled.planes import ColourPlanes
from slidenet.slides.readers.tiled.proof import check_same_levels, check_same_pixels
from slidenet.slides.readers.tiled.properties import properties_of
from slidenet.slides.readers.tiled.storage import FileLostError, StoredBytes
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tiff import Directory, Need, TiffIndex, tags

_MEETS = frozenset({Need.GREY, Need.COLOURS_AS_PAGES, Need.PLANES})
_JPEG_FACTORS = {2, 4, 8}


class TiledReader(SlideReader):
    """A `Slide` over the tiles of a TIFF; see `SlideReader` for the arguments.

    At whole pixels of a level its pixels are openslide's, bit for bit; a region of `read_region`
    that falls between pixels is left to openslide itself. Files that openslide cannot open (JPEG
    2000 outside Aperio, WebP, JPEG XL, LZMA), and levels that it does not see (SubIFDs), are read
    all the same; between their pixels the nearest whole one is taken.

    Raises:
        ReaderDeclinedError: The layout is not on the list of `layout`, or a tile does not come out
            as openslide decodes it.
        UnreadableSlideError: openslide cannot open the file, or its ICC profile is broken.
    """

    name = "tiled"
    suffixes = (".svs", ".tif", ".tiff")

    def __init__(self, path: Path, mpp: DeclaredMpp | None = None, icc: bool = False) -> None:
        super().__init__(path, mpp, icc)
        layout = find_layout(path, TiffIndex.read(path))
        self.vendor = layout.vendor
        self._shared = SharedHandle(path, layout.vendor) if layout.num_openslide_levels else None
        handle = self._shared.current() if self._shared else None
        self.properties = dict(handle.properties) if handle else properties_of(layout)
        if handle is not None:
            check_same_levels(handle, layout)
        self.level_dimensions, self.level_downsamples = _levels(layout, handle)
        self.background_rgb = parse_background(
            self.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR)
        )
        self._transform = None
        if icc:
            profile = layout.levels[0].icc_profile
            self._transform = to_srgb(lambda: _opened_profile(profile), slide=path.name)
        self.icc_applied = self._transform is not None
        self._num_openslide_levels = layout.num_openslide_levels
        bound_memory(current_limits().max_memory_bytes)
        self._file: StoredBytes | None = StoredBytes(path)
        self._tiled = self._make_levels(layout)
        if handle is not None:
            check_same_pixels(self, handle, layout, self._transform)
        self.reader_note = _note(layout)

    def _make_levels(self, layout: TiledLayout) -> tuple[TiledLevel | ColourPlanes, ...]:
        finish = self._finish if self._transform else None
        if layout.planes:
            return tuple(
                ColourPlanes([self._make_level(page) for page in pages], finish)
                for pages in layout.planes
            )
        levels = []
        # openslide shows what a lower level of an Aperio slide lacks from the finer one.
        from_finer = layout.vendor == APERIO and self._shared is not None
        counts = [page.byte_counts for page in layout.levels]
        if from_finer:
            counts = aperio_byte_counts(layout.levels, self.level_downsamples)
        for number, page in enumerate(layout.levels):
            renders = from_finer and number > 0
            levels.append(
                self._make_level(
                    page,
                    counts[number],
                    size=self.level_dimensions[number],
                    finish=finish,
                    render_missing=partial(self._by_openslide, number) if renders else None,
                )
            )
        return tuple(levels)

    def _make_level(
        self,
        page: Directory,
        byte_counts: IntArray | None = None,
        *,
        size: Size | None = None,
        finish: Callable[[Pixels], Pixels] | None = None,
        render_missing: Callable[[Size, Size], Pixels] | None = None,
    ) -> TiledLevel:
        stored = replace(TileFormat.of(page), as_openslide=self._shared is not None)
        try:
            decoder = decoder_of(stored)
        except PayloadError as error:
            raise ReaderDeclinedError(f"of its {page.width}x{page.height} px {error}") from error
        return TiledLevel(
            size or page.size,
            stored,
            decoder,
            page.offsets,
            page.byte_counts if byte_counts is None else byte_counts,
            across=page.grid[0],
            cache=SHARED_CACHE,
            background=self.background_rgb,
            finish=finish,
            render_missing=render_missing,
        )

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """Whether it is a TIFF of tiles; `open` declines the layouts that are not on the list."""
        return is_tiled_tiff(path)

    @classmethod
    def open(cls, path: Path, mpp: DeclaredMpp | None = None, *, icc: bool = False) -> Self:
        """Opens a slide, unless its TIFF is not whole or not one picture.

        Raises:
            MissingMppError: The declared `mpp` cannot be.
            ReaderDeclinedError: Its layout is not on the list.
            UnreadableSlideError: It is not whole, or openslide cannot open it.
        """
        index = check_whole_tiff(path)
        find_layout(path, index)
        assert index is not None, "it has a layout"
        check_picture(index, reader=cls.name, meets=_MEETS, first_page=False)
        slide = cls(path, mpp, icc)
        check_overview(slide, index)
        slide.add_notes(index.picture.notes)
        return slide

    @cached_property
    def storage_note(self) -> str:
        """See `Slide.storage_note`."""
        return self._index.picture.levels[0].storage_note

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        """See `Slide.levels`."""
        return check_pyramid(self, self._index)

    @cached_property
    def _index(self) -> TiffIndex:
        index = TiffIndex.read(self.path)
        assert index is not None, "it was one when it was opened"
        return index

    @property
    def level_residuals(self) -> tuple[float, ...]:
        """See `Slide.level_residuals`: whole pixels are what is stored."""
        return (0.0,) * len(self.level_dimensions)

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`."""
        self.check_region(level, size)
        downsample = self.level_downsamples[level]
        x, y = (place / downsample for place in location)
        between = x != round(x) or y != round(y)
        if between and level < self._num_openslide_levels:
            assert self._shared is not None, "levels of openslide come from its handle"
            self._opened()
            image = self._shared.read_region(location, level, size)
            return to_rgb(image, self.background_rgb, self._transform)
        return self._region((round(x), round(y)), level, size, AS_STORED)

    def read_level(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_level`."""
        self.check_region(level, size)
        return self._region(location, level, size, AS_STORED)

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
        """See `Slide.read_shrunk`.

        Tile by tile where the lattice of the factor allows it, with the same result. The JPEG
        decoder shrinks there only: elsewhere areas are averaged.
        """
        self.check_region(level, size)
        if shrink == 1:
            return self._region(location, level, size, AS_STORED, out)
        tiled = self._tiled[level]
        whole = shrink > 1 and size[0] % shrink == 0 == size[1] % shrink
        if not whole or not tiled.shrinks_by_tile(location, size, shrink):
            return super().read_shrunk(location, level, size, shrink, out=out)
        by_decoder = (
            scaled_jpeg and shrink in _JPEG_FACTORS and tiled.stored.compression == tags.JPEG
        )
        return self._region(location, level, size, Shrinking(shrink, by_decoder), out)

    def has_stored(self, location: Size, level: int, size: Size) -> bool:
        """See `Slide.has_stored`."""
        self.check_region(level, size)
        if self._tiled[level].has_stored(location, size):
            return True
        shown_from_finer = level > 0 and self.vendor == APERIO
        return shown_from_finer and finer_has_stored(self, location, level, size)

    def close(self) -> None:
        """See `Slide.close`."""
        self._file = None  # the last reference closes it
        SHARED_CACHE.forget(set().union(*(level.numbers for level in self._tiled)))
        if self._shared is not None:
            self._shared.close()

    def _opened(self) -> StoredBytes:
        file = self._file
        if file is None:
            raise SlideError("the slide is closed", remedy="open it again", slide=self.path.name)
        return file

    def _region(
        self,
        location: Size,
        level: int,
        size: Size,
        shrinking: Shrinking,
        out: Pixels | None = None,
    ) -> Pixels:
        factor = shrinking.factor
        shape = (size[1] // factor, size[0] // factor, 3)
        pixels = np.empty(shape, np.uint8) if out is None else out
        assert pixels.shape == shape, "the array has the shape of the region"
        try:
            self._tiled[level].read(self._opened(), location, size, pixels, shrinking)
        except FileLostError as error:
            raise UnreadableSlideError(
                str(error),
                remedy="see that its disk is there and nobody writes to it, and run again",
                slide=self.path.name,
            ) from error
        except TileError as error:
            raise PixelReadError(
                f"{size[0]}x{size[1]} px at {location}, level {level}, cannot be decoded (the "
                f"tile at {error.corner}: {error})",
                remedy="export or copy the slide again if this place matters; other places of it "
                "can still be read",
                slide=self.path.name,
            ) from error
        return pixels

    def _by_openslide(self, level: int, location: Size, size: Size) -> Pixels:
        """A region of a level in openslide's rendering, by its place on the level."""
        assert self._shared is not None, "levels of openslide come from its handle"
        downsample = self.level_downsamples[level]
        place = (round(location[0] * downsample), round(location[1] * downsample))
        image = self._shared.read_region(place, level, size)
        return to_rgb(image, self.background_rgb, self._transform)

    def _finish(self, pixels: Pixels) -> Pixels:
        assert self._transform is not None
        image = Image.fromarray(pixels)
        ImageCms.applyTransform(image, self._transform, inPlace=True)
        return np.asarray(image)


def _levels(
    layout: TiledLayout, handle: OpenSlide | None
) -> tuple[tuple[Size, ...], tuple[float, ...]]:
    """Sizes and downsamples of all levels, openslide's where it has the level."""
    sizes = handle.level_dimensions if handle else ()
    downsamples = handle.level_downsamples if handle else ()
    width, height = layout.levels[0].size
    for page in layout.levels[len(sizes) :]:
        sizes += (page.size,)
        downsamples += ((width / page.width + height / page.height) / 2,)  # as openslide has it
    return sizes, downsamples


def _opened_profile(profile: bytes | None) -> ImageCms.ImageCmsProfile | None:
    return None if profile is None else ImageCms.ImageCmsProfile(BytesIO(profile))


def _note(layout: TiledLayout) -> str:
    first = layout.levels[0]
    pixels = (
        "pixels as openslide gives them"
        if layout.num_openslide_levels
        else "openslide does not read it"
    )
    if layout.num_openslide_levels and len(layout.levels) > layout.num_openslide_levels:
        pixels += f"; it sees {layout.num_openslide_levels} of {len(layout.levels)} levels"
    if layout.planes:
        pixels += "; red, green and blue lie apart"
    return (
        f"{first.codec} tiles of {first.tile_width}x{first.tile_height} px, decoded directly; "
        f"{pixels}"
    )
