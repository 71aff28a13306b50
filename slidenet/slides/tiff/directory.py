"""One image of a TIFF file as its directory describes it."""

import errno
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, IntArray
from slidenet.slides.tiff import tags
from slidenet.slides.tiff.tags import compression_name

UInt16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class StoredNumbers:
    """Whole numbers that stay in the file until they are asked for.

    Attributes:
        path: The file.
        position: Byte at which they begin.
        count: How many.
        dtype: NumPy's code of one, with byte order.
        high: Upper 32 bits of a single number (NDPI).
    """

    path: Path
    position: int
    count: int
    dtype: str
    high: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes they take in the file."""
        return self.count * np.dtype(self.dtype).itemsize

    def part(self, number: int, of: int) -> "StoredNumbers":
        """One of equal parts, counted from 0."""
        count = self.count // of
        at = self.position + number * count * np.dtype(self.dtype).itemsize
        return replace(self, position=at, count=count)

    def read(self) -> IntArray:
        """int64 (count,); what no file can reach becomes negative.

        Raises:
            OSError: The file is away, or has become shorter.
        """
        with self.path.open("rb") as file:
            file.seek(self.position)
            data = file.read(self.num_bytes)
        if len(data) < self.num_bytes:
            raise OSError(errno.EIO, "the file has become shorter", str(self.path))
        return np.frombuffer(data, self.dtype, self.count).astype(np.int64) + (self.high << 32)


@dataclass(frozen=True, eq=False, kw_only=True)
class Directory:
    """One image of a file: its size, how it is cut and stored, what its samples mean.

    Values that are missing have TIFF's defaults. What cannot be is listed in `problems` and left
    at the default, so that nothing here needs to be checked for being there.

    Attributes:
        offset: Byte of the file at which the directory lies.
        end: Byte after it.
        number: Place in the chain of directories, from 0; SubIFDs bear their parent's.
        width: Pixels across.
        height: Pixels down.
        is_tiled: Whether it is stored as tiles; otherwise in strips, which are tiles as wide as
            the image here.
        tile_width: Pixels of a tile across.
        tile_height: Pixels of a tile down; of strips, the rows per strip.
        compression: Number of the codec; see `tags.COMPRESSIONS`.
        photometric: What samples mean; see `tags.PHOTOMETRICS`.
        samples: Samples per pixel.
        bits: Bits of each sample.
        sample_format: 1 unsigned, 2 signed, 3 float.
        planar: 1 all samples of a pixel side by side, 2 each in tiles of its own.
        predictor: 1 none, 2 differences, 3 of floats.
        fill_order: 1, or 2 where the bits of bytes run backwards.
        orientation: 1 upright, else which way the image must be turned.
        extra_samples: Meaning of samples beyond the colours: 0 unspecified, 1 associated alpha,
            2 unassociated alpha.
        ycbcr_subsampling: Luminance samples per chroma sample, across and down.
        max_sample_value: Largest sample, where the file says it.
        depth: Slices, 1 for an ordinary image.
        subfile_type: Flags: 1 reduced copy of another image, 2 page of many, 4 mask, 8 (with 1:
            Aperio's macro).
        description: ImageDescription.
        software: What wrote the file.
        make: Who made the scanner.
        xmp: The packet of XML that Ventana keeps its tables in.
        resolution: Pixels per unit (x, y), where the file says them.
        resolution_unit: 1 none, 2 inch, 3 centimetre.
        lens: NDPI: objective power, -1 macro picture, -2 map of the focus.
        focal_plane: NDPI: offset of the focal plane, nanometres; 0 the main one.
        jpeg_tables: Tables shared by all JPEG tiles.
        icc_profile: Embedded colour profile.
        colour_map: uint16 (3, 2**bits) of a palette.
        subifds: Images this directory alone points to (smaller copies of it).
        stored_offsets: Where each tile begins, unread.
        stored_byte_counts: Bytes of each tile, unread.
        problems: What is wrong, as clauses.
    """

    offset: int
    end: int
    number: int
    width: int = 0
    height: int = 0
    is_tiled: bool = False
    tile_width: int = 0
    tile_height: int = 0
    compression: int = tags.NONE
    photometric: int = tags.MIN_IS_BLACK
    samples: int = 1
    bits: int = 1
    sample_format: int = tags.UNSIGNED
    planar: int = tags.CHUNKY
    predictor: int = 1
    fill_order: int = 1
    orientation: int = 1
    extra_samples: tuple[int, ...] = ()
    ycbcr_subsampling: tuple[int, int] = (2, 2)
    max_sample_value: int | None = None
    depth: int = 1
    subfile_type: int = 0
    description: str = ""
    software: str = ""
    make: str = ""
    xmp: str = field(default="", repr=False)
    resolution: tuple[float, float] | None = None
    resolution_unit: int = 2
    lens: float | None = None
    focal_plane: int = 0
    jpeg_tables: bytes | None = field(default=None, repr=False)
    icc_profile: bytes | None = field(default=None, repr=False)
    colour_map: UInt16Array | None = field(default=None, repr=False)
    subifds: "tuple[Directory, ...]" = field(default=(), repr=False)
    stored_offsets: StoredNumbers | None = field(default=None, repr=False)
    stored_byte_counts: StoredNumbers | None = field(default=None, repr=False)
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles (across, down) that cover the image; zeros where it has no tile side."""
        if min(self.tile_width, self.tile_height) < 1:
            return 0, 0
        return -(-self.width // self.tile_width), -(-self.height // self.tile_height)

    @property
    def num_tiles(self) -> int:
        """Tiles the directory must list: those of the grid, per plane."""
        across, down = self.grid
        return across * down * (self.samples if self.planar == tags.PLANAR else 1)

    @property
    def codec(self) -> str:
        """Words for its compression."""
        return compression_name(self.compression)

    @cached_property
    def offsets(self) -> IntArray:
        """int64 (num_tiles,) byte at which each tile begins, row by row (plane by plane)."""
        return _numbers(self.stored_offsets)

    @cached_property
    def byte_counts(self) -> IntArray:
        """int64 (num_tiles,) bytes of each tile; 0: nothing is stored for it."""
        return _numbers(self.stored_byte_counts)

    @cached_property
    def is_stored(self) -> BoolArray:
        """Which tiles have bytes (in any plane), bool (down, across)."""
        across, down = self.grid
        return np.asarray(self.byte_counts.reshape(-1, down, across).any(axis=0))

    @property
    def storage_note(self) -> str:
        """How many of its tiles have no stored bytes, as a clause; empty where all have some."""
        bare, what = int((self.byte_counts == 0).sum()), "tiles" if self.is_tiled else "strips"
        if not bare:
            return ""
        return f"{bare:,} of {self.num_tiles:,} {what} of level 0 have no stored bytes"

    def decoded_bytes(self, place: int) -> int:
        """Bytes that the samples of one tile or strip take, chroma not subsampled.

        Args:
            place: Its place in the lists.
        """
        samples = self.samples if self.planar == tags.CHUNKY else 1
        row = -(-self.tile_width * samples * self.bits // 8)
        rows = self.tile_height
        if not self.is_tiled:
            rows = min(rows, self.height - place % max(self.grid[1], 1) * rows)
        return rows * row

    def has_stored(self, location: tuple[int, int], size: tuple[int, int]) -> bool:
        """Whether bytes are stored for any tile that a region touches.

        Args:
            location: (x, y) of the top-left corner in pixels of the image; may be negative.
            size: (width, height), pixels.
        """
        (x, y), (width, height) = location, size
        rows = slice(max(y, 0) // self.tile_height, -(-max(y + height, 0) // self.tile_height))
        columns = slice(max(x, 0) // self.tile_width, -(-max(x + width, 0) // self.tile_width))
        return bool(self.is_stored[rows, columns].any())


def _numbers(stored: StoredNumbers | None) -> IntArray:
    return np.zeros(0, np.int64) if stored is None else stored.read()
