"""A folder of tile images as a slide: each tile as it was cut, and a picture of them all."""

import hashlib
import os
import threading
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ImageCms, UnidentifiedImageError

from slidenet.core.arrays import IntArray
from slidenet.core.errors import (
    CoordinateError,
    PixelReadError,
    SlideError,
    UnreadableSlideError,
)
from slidenet.core.records import CutTiles, SlideMpp
from slidenet.slides.colour import to_srgb
from slidenet.slides.limits import current_limits
from slidenet.slides.protocol import Pixels, Size
from slidenet.slides.readers.base import SlideReader
from slidenet.slides.readers.flat_images import (
    PILLOW_ERRORS,
    check_flat,
    decode_flat,
    opened,
    upright_size,
)
from slidenet.slides.resampling import resized
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.slides.tile_images.places import read_tile_images

_SAMPLED_FILES = 64
_PROBED_TILES = 64
_SAMPLED_BYTES = 64 * 1024
_PICTURE_PX = 4096
"""Longest side of the picture that smaller overviews are made of: tiles are decoded once."""


class TileImagesReader(SlideReader):
    """A `Slide` of tiles that another tool has cut; see `SlideReader` for the arguments.

    Level 0 is that of the slide the tiles were cut from (of the tiles themselves, where they have
    no places), and has the background colour where no tile lies. Tiles are handed out as they are
    in their files, never put together from level 0.

    Args:
        path: A folder of images, a .dzi, or the folder of one.
        mpp: Resolution of level 0.
        icc: Whether to apply embedded ICC profiles.
        declared: What is declared of the images.

    Raises:
        UnreadableSlideError: The folder is no set of tiles of one slide.
        MissingMppError: Nothing says the resolution.
    """

    name = "tile_images"
    suffixes = (".dzi",)

    def __init__(
        self,
        path: Path,
        mpp: DeclaredMpp | None = None,
        icc: bool = False,
        declared: TileDeclaration | None = None,
    ) -> None:
        super().__init__(path, mpp, icc)
        self._declared = declared
        images = read_tile_images(path, mpp, declared)
        self._images = images
        self.vendor = "tile-images"
        self.properties = {}
        self.level_dimensions = (images.level0_size,)
        self.level_downsamples = (1.0,)
        self.cut_tiles: CutTiles | None = images.cut
        self.add_notes([f"{len(images.names):,} tile images", *images.cut.notes])
        self._side_px = current_limits().max_tile_px
        self._transforms: dict[bytes, ImageCms.ImageCmsTransform | None] = {}
        self._lock = threading.Lock()
        self._picture: Pixels | None = None
        self._unreadable: list[int] = []
        self._closed = False
        if icc:
            self.icc_applied = self._transform(0) is not None

    @classmethod
    def can_read(cls, path: Path) -> bool:
        """False: folders are told from files before readers are asked."""
        return False

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.path, self._declared_mpp, self._icc, self._declared))

    @property
    def slide_mpp(self) -> SlideMpp:
        """See `Slide.slide_mpp`."""
        return self._images.slide_mpp

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of the tiles' files, and the content of 64 of them.

        Files beside them that say where they lie count as a whole. The folder's name does not.
        """
        names, folder = sorted(self._images.names), self._images.folder
        digest = hashlib.sha256(f"slidenet tile images 1\n{len(names)}\n".encode())
        for name in names:
            digest.update(f"{name}\t{_file_size(folder / name)}\n".encode())
        step = max(1, len(names) // _SAMPLED_FILES)
        for path in [folder / name for name in names[::step]]:
            digest.update(_content(path, _SAMPLED_BYTES))
        for path in self._images.said_by:
            digest.update(_content(path, None))
        return digest.hexdigest()

    def read_cut_tile(self, location: Size) -> Pixels:
        """One tile as it is in its file.

        Args:
            location: (x, y) of its top-left corner, level-0 pixels.

        Returns:
            uint8 (side, side, 3), RGB.

        Raises:
            CoordinateError: No tile begins there.
            PixelReadError: The image cannot be decoded.
        """
        index = self._index.get(location)
        if index is None:
            raise CoordinateError(
                f"no tile image begins at x={location[0]}, y={location[1]}",
                expected="corners of the tiles of the folder",
                remedy="run `slidenet preprocess --overwrite` for the changed folder",
                slide=self.path.name,
            )
        return self._decoded(index)

    def read_region(self, location: Size, level: int, size: Size) -> Pixels:
        """See `Slide.read_region`; tiles are enlarged where they are coarser than level 0."""
        self.check_region(level, size)
        region = np.empty((size[1], size[0], 3), np.uint8)
        region[:] = self.background_rgb
        coords, side = self._images.cut.coords, self._footprint
        inside = ((coords < np.add(location, size)) & (coords + side > location)).all(axis=1)
        for index in np.flatnonzero(inside):
            pixels = resized(self._decoded(int(index)), (side, side))
            _paste(region, pixels, coords[index] - location)
        return region

    def thumbnail(self, max_side_px: int) -> Pixels:
        """See `Slide.thumbnail`; tiles that cannot be decoded are left in the background colour."""
        longest = max(self.level_dimensions[0])
        base = min(longest, max(max_side_px, _PICTURE_PX))
        if self._picture is None or max(self._picture.shape[:2]) < base:
            self._picture = self._composed(base)
        side = self._images.cut.coords[self._unreadable]
        width, height = self.level_dimensions[0]
        self.unreadable_places = tuple(
            (
                x / width,
                y / height,
                min(1.0, (x + self._footprint) / width),
                min(1.0, (y + self._footprint) / height),
            )
            for x, y in side.tolist()
        )
        if self._unreadable:
            self.overview_problem = f"{len(self._unreadable)} tile images cannot be decoded"
        scale = min(1.0, max_side_px / longest)
        return resized(self._picture, (max(1, round(width * scale)), max(1, round(height * scale))))

    def close(self) -> None:
        """See `Slide.close`."""
        self._closed = True
        self._picture = None

    @cached_property
    def _index(self) -> dict[Size, int]:
        return {(x, y): i for i, (x, y) in enumerate(self._images.cut.coords.tolist())}

    @property
    def _footprint(self) -> int:
        """Side of a tile in whole level-0 pixels."""
        cut = self._images.cut
        return max(1, round(cut.tile_size_px * cut.tile_mpp / self.slide_mpp.value))

    def _decoded(self, index: int) -> Pixels:
        if self._closed:
            raise SlideError("the slide is closed", remedy="open it again", slide=self.path.name)
        images = self._images
        path, side = images.folder / images.names[index], images.cut.tile_size_px
        left, top = (0, 0) if images.corners is None else images.corners[index].tolist()
        try:
            with opened(path) as image:
                check_flat(image, path)
                width, height = upright_size(image)
            if max(width, height) > self._side_px:
                raise ValueError(f"it has {width} x {height} px")
            pixels = decode_flat(path, self._transform(index) if self._icc else None)
            tile = pixels[top : top + side, left : left + side]
            if tile.shape[:2] != (side, side):
                raise ValueError(f"it has {width} x {height} px, too few for a tile of {side} px")
        except (UnidentifiedImageError, UnreadableSlideError, *PILLOW_ERRORS) as error:
            found = error.found if isinstance(error, UnreadableSlideError) else str(error)
            raise PixelReadError(
                f"the tile image {images.names[index]} cannot be decoded ({found})",
                expected="a whole image",
                remedy="copy or export it again",
                slide=self.path.name,
            ) from error
        return np.ascontiguousarray(tile)

    def _transform(self, index: int) -> ImageCms.ImageCmsTransform | None:
        """The ICC transform of a tile; tiles of one scanner share theirs."""
        try:
            with opened(self._images.folder / self._images.names[index]) as image:
                profile = image.info.get("icc_profile")
        except (UnidentifiedImageError, UnreadableSlideError, FileNotFoundError):
            return None  # decoding it says so
        if not profile:
            return None
        with self._lock:
            if profile not in self._transforms:
                self._transforms[profile] = to_srgb(
                    lambda: ImageCms.ImageCmsProfile(BytesIO(profile)), slide=self.path.name
                )
            return self._transforms[profile]

    def _composed(self, max_side_px: int) -> Pixels:
        """All tiles in one picture, each decoded once."""
        width, height = self.level_dimensions[0]
        scale = max_side_px / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = np.empty((size[1], size[0], 3), np.uint8)
        picture[:] = self.background_rgb
        self._unreadable = []
        self._check_any_readable()
        coords = self._images.cut.coords
        low = np.minimum(np.rint(coords * scale).astype(np.int64), np.array(size) - 1)
        high = np.maximum(np.rint((coords + self._footprint) * scale).astype(np.int64), low + 1)
        for index in range(len(coords)):
            try:
                pixels = self._decoded(index)
            except PixelReadError:
                self._unreadable.append(index)
                continue
            box = high[index] - low[index]
            _paste(picture, resized(pixels, (int(box[0]), int(box[1]))), low[index])
        return picture

    def _check_any_readable(self) -> None:
        """Refuses a folder of which none of some tiles all over it can be decoded."""
        step, reason = max(1, len(self._images.names) // _PROBED_TILES), None
        probed = range(0, len(self._images.names), step)
        for index in probed:
            try:
                self._decoded(index)
            except PixelReadError as error:
                reason = reason or error.found
            else:
                return
        raise UnreadableSlideError(
            f"none of {len(probed)} tiles all over it can be read ({reason})",
            expected="images that can be decoded",
            remedy="copy them again",
            slide=self.path.name,
        )


def _paste(picture: Pixels, pixels: Pixels, corner: IntArray) -> None:
    """Puts pixels into a picture where they overlap it."""
    left, top = (int(value) for value in corner)
    inside = pixels[max(0, -top) : picture.shape[0] - top, max(0, -left) : picture.shape[1] - left]
    y, x = max(0, top), max(0, left)
    picture[y : y + inside.shape[0], x : x + inside.shape[1]] = inside


def _file_size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1  # a link to a tile that is away


def _content(path: Path, most: int | None) -> bytes:
    """First bytes of a file; none of a link to a tile that is away.

    Raises:
        OSError: Its disk fails, which must not make another slide of it.
    """
    try:
        with path.open("rb") as file:
            return file.read(-1 if most is None else most)
    except FileNotFoundError:
        return b""
