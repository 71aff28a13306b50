"""Regions of one level, put together from its tiles."""

import itertools
import math
import threading
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.slides.protocol import RGB, Pixels, Size
from slidenet.slides.readers.tiled.cache import TileCache
from slidenet.slides.readers.tiled.decoders import Decoder
from slidenet.slides.readers.tiled.payload import Decoded, PayloadError, TileFormat
from slidenet.slides.readers.tiled.storage import StoredBytes
from slidenet.slides.recycling import PIXEL_MEMORY


class Shrinking(NamedTuple):
    """How tiles are made smaller.

    Attributes:
        factor: Whole factor; 1 leaves them as they are.
        by_decoder: The JPEG decoder shrinks, instead of averaging areas.
    """

    factor: int = 1
    by_decoder: bool = False


AS_STORED = Shrinking()
_numbers = itertools.count()


class TileError(Exception):
    """A tile that a region needs cannot be decoded.

    Args:
        corner: (x, y) of the tile, pixels of its level.
        reason: Why, as a clause.
    """

    def __init__(self, corner: Size, reason: str) -> None:
        super().__init__(reason)
        self.corner = corner


class TiledLevel:
    """One level of a slide, as its tiles are stored; safe for threads.

    Attributes:
        size: (width, height), pixels.
        stored: How tiles are stored.
        number: No other level of this process has it.
        numbers: The same, of all levels it is made of.

    Args:
        size: (width, height), pixels.
        stored: How tiles are stored.
        decoder: Decodes them.
        offsets: int64 (num_tiles,) where each begins.
        byte_counts: int64 (num_tiles,) how long each is; 0 for one that is not stored.
        across: Tiles of a row; they may reach further than the level.
        cache: Keeps decoded tiles of which a part was used.
        background: Colour of what is not stored.
        finish: Applied to each decoded tile (a colour profile), or None.
        render_missing: Gives the pixels of a tile that is not stored, by its corner; None where
            such tiles have the background colour.
    """

    def __init__(
        self,
        size: Size,
        stored: TileFormat,
        decoder: Decoder,
        offsets: IntArray,
        byte_counts: IntArray,
        *,
        across: int,
        cache: TileCache,
        background: RGB,
        finish: Callable[[Pixels], Pixels] | None = None,
        render_missing: Callable[[Size, Size], Pixels] | None = None,
    ) -> None:
        self.size = size
        self.stored = stored
        self._decoder = decoder
        self._offsets = offsets
        self._byte_counts = byte_counts
        self._cache = cache
        self._background = background
        self._finish = finish
        self._render_missing = render_missing
        self.number = next(_numbers)
        self.numbers = frozenset({self.number})
        self._across = across
        self._tile_size = (stored.width, stored.height)
        self._max_payload_bytes = stored.max_payload_bytes
        self._scratch = threading.local()

    @cached_property
    def is_stored(self) -> npt.NDArray[np.bool_]:
        """Which tiles have bytes, bool (rows, columns)."""
        return self._byte_counts.reshape(-1, self._across) > 0

    @cached_property
    def _is_complete(self) -> bool:
        return bool(self.is_stored.all())

    def has_stored(self, location: Size, size: Size) -> bool:
        """Whether bytes are stored for any tile of a region."""
        (x, y), (width, height) = location, size
        inside = x >= 0 and y >= 0 and x < self.size[0] and y < self.size[1]
        if inside and self._is_complete:
            return True
        rows = slice(max(y, 0) // self.stored.height, -(-max(y + height, 0) // self.stored.height))
        columns = slice(max(x, 0) // self.stored.width, -(-max(x + width, 0) // self.stored.width))
        return bool(self.is_stored[rows, columns].any())

    def shrinks_by_tile(self, location: Size, size: Size, factor: int) -> bool:
        """Whether shrinking tile by tile gives the same as shrinking the whole region.

        So it is where the edges of tiles, region and level lie on the lattice of the factor.
        """
        sides = (*location, self.stored.width, self.stored.height)
        if any(side % factor for side in sides):
            return False
        return all(
            start + length <= side or side % factor == 0
            for start, length, side in zip(location, size, self.size, strict=True)
        )

    def read(
        self,
        file: StoredBytes,
        location: Size,
        size: Size,
        out: Pixels,
        shrinking: Shrinking = AS_STORED,
    ) -> None:
        """Fills an array with a region.

        Args:
            file: The slide's bytes.
            location: (x, y) of the top-left corner, pixels of the level.
            size: (width, height) of the region, pixels of the level.
            out: uint8 (height / factor, width / factor, 3), rows may lie apart.
            shrinking: Where it shrinks, `shrinks_by_tile` must hold.

        Raises:
            TileError: A tile cannot be decoded.
        """
        factor = shrinking.factor
        if factor == 1 and size == self._tile_size and self._holds_tile(location):
            index = location[1] // size[1] * self._across + location[0] // size[0]
            self._paint(file, index, (0, 0), out, shrinking)
            return
        # From here on all lengths are those of the shrunk level.
        x, y = location[0] // factor, location[1] // factor
        level_width, level_height = -(-self.size[0] // factor), -(-self.size[1] // factor)
        tile_width, tile_height = self.stored.width // factor, self.stored.height // factor
        height, width = out.shape[:2]
        right, bottom = min(x + width, level_width), min(y + height, level_height)
        if x < 0 or y < 0 or right < x + width or bottom < y + height:
            out[:] = self._background
            if right <= max(x, 0) or bottom <= max(y, 0):
                return  # in the padding of the last tiles, or wholly outside
        for row in range(max(y, 0) // tile_height, -(-bottom // tile_height)):
            tile_top = row * tile_height
            top, end = max(y, tile_top), min(bottom, tile_top + tile_height)
            for column in range(max(x, 0) // tile_width, -(-right // tile_width)):
                tile_left = column * tile_width
                left, stop = max(x, tile_left), min(right, tile_left + tile_width)
                self._paint(
                    file,
                    row * self._across + column,
                    (left - tile_left, top - tile_top),
                    out[top - y : end - y, left - x : stop - x],
                    shrinking,
                )

    def _holds_tile(self, location: Size) -> bool:
        """Whether a whole tile lies at a place: what most reading asks for, and the fastest."""
        (x, y), (width, height) = location, self._tile_size
        return (
            x % width == 0 == y % height
            and 0 <= x <= self.size[0] - width
            and 0 <= y <= self.size[1] - height
        )

    def _paint(
        self, file: StoredBytes, index: int, corner: Size, target: Pixels, shrinking: Shrinking
    ) -> None:
        """Copies a part of a tile, from `corner` of it on, to where it belongs."""
        count = int(self._byte_counts[index])
        if count == 0 and self._render_missing is None:
            target[:] = self._background
            return
        height, width = target.shape[:2]
        key = (self.number, index, shrinking)
        tile = self._cache.get(key)
        if tile is None:
            is_whole = (
                width * shrinking.factor == self.stored.width
                and height * shrinking.factor == self.stored.height
            )
            if is_whole and count:
                self._decode(file, index, count, target, shrinking)
                return  # nobody needs the rest of it, so it is not kept
            tile = self._new_tile(file, index, count, shrinking)
            self._cache.put(key, tile)
        left, top = corner
        target[:] = tile[top : top + height, left : left + width]

    def _new_tile(self, file: StoredBytes, index: int, count: int, shrinking: Shrinking) -> Decoded:
        factor = shrinking.factor
        shape = (self.stored.height // factor, self.stored.width // factor, 3)
        tile = PIXEL_MEMORY.empty(shape)
        if count:
            self._decode(file, index, count, tile, shrinking)
            return tile
        assert self._render_missing is not None
        rendered = self._render_missing(
            self._corner(index), (self.stored.width, self.stored.height)
        )
        _shrink_into(rendered, tile)
        return tile

    def _decode(
        self,
        file: StoredBytes,
        index: int,
        count: int,
        target: Pixels,
        shrinking: Shrinking,
    ) -> None:
        """Decodes a whole tile into an array of its (shrunk) size."""
        try:
            if count > self._max_payload_bytes:
                raise PayloadError(
                    f"the index says {count} bytes, a tile has at most {self._max_payload_bytes}"
                )
            payload = file.read(int(self._offsets[index]), count)
            if shrinking.factor == 1 or shrinking.by_decoder:
                if target.flags.c_contiguous and self._finish is None:
                    self._decoder.decode(payload, target, shrinking.factor)
                    return
                scratch = self._scratch_tile(target.shape)
                pixels = self._decoder.decode(payload, scratch, shrinking.factor)
            else:
                shape = (self.stored.height, self.stored.width, 3)
                pixels = self._decoder.decode(payload, self._scratch_tile(shape))
            _shrink_into(pixels if self._finish is None else self._finish(pixels), target)
        except PayloadError as error:
            raise TileError(self._corner(index), str(error)) from error

    def _scratch_tile(self, shape: tuple[int, ...]) -> Decoded:
        """An array of this thread for a tile that is not kept.

        Fresh memory can cost as much as decoding does.
        """
        memory: Decoded | None = getattr(self._scratch, "memory", None)
        if memory is None:
            memory = np.empty(self.stored.width * self.stored.height * 3, np.uint8)
            self._scratch.memory = memory
        return memory[: math.prod(shape)].reshape(shape)

    def _corner(self, index: int) -> Size:
        row, column = divmod(index, self._across)
        return column * self.stored.width, row * self.stored.height


def _shrink_into(pixels: Pixels, target: Pixels) -> None:
    height, width = target.shape[:2]
    if pixels.shape == target.shape:
        target[:] = pixels
        return
    shrunk = cv2.resize(pixels, (width, height), dst=target, interpolation=cv2.INTER_AREA)
    if shrunk.ctypes.data != target.ctypes.data:  # cv2 made an array of its own
        target[:] = shrunk
