"""What a stored tile is, and what is said where one cannot be decoded."""

from dataclasses import dataclass
from typing import Self

from slidenet.core.arrays import UInt8Array
from slidenet.slides.tiff import Directory


class PayloadError(Exception):
    """The bytes of one stored tile are no tile; the text says why, as a clause."""


class UnknownKindError(PayloadError):
    """The bytes are whole, but of a kind that is not decoded here."""


@dataclass(frozen=True, slots=True)
class TileFormat:
    """How the tiles of one level are stored.

    Attributes:
        width: Of a stored tile, pixels.
        height: Of a stored tile, pixels.
        compression: TIFF's number.
        photometric: TIFF's number; wins over what markers within a JPEG say.
        samples: 3, or 1 for grey.
        predictor: 1 for none, 2 where samples are stored as differences from their left neighbour.
        jpeg_tables: Content of the tag JPEGTables: a JPEG without picture, or None.
        as_openslide: Whether openslide reads the file, too. It takes every tile of Aperio's JPEG
            2000 of YCbCr for YCbCr; elsewhere a tile that transforms RGB itself holds RGB.
    """

    width: int
    height: int
    compression: int
    photometric: int
    samples: int = 3
    predictor: int = 1
    jpeg_tables: bytes | None = None
    as_openslide: bool = True

    @classmethod
    def of(cls, directory: Directory) -> Self:
        """How the tiles of a directory are stored."""
        return cls(
            directory.tile_width,
            directory.tile_height,
            directory.compression,
            directory.photometric,
            directory.samples,
            directory.predictor,
            directory.jpeg_tables,
        )

    @property
    def num_bytes(self) -> int:
        """Of the stored samples once decompressed."""
        return self.width * self.height * self.samples

    @property
    def max_payload_bytes(self) -> int:
        """No honest payload is longer: noise may grow a little under any compression."""
        return 2 * self.num_bytes + 65536

    def check_size(self, width: int, height: int, samples: int | None = None) -> None:
        """Compares what a payload claims with what the file's index says, before decoding.

        Raises:
            PayloadError: They differ: a damaged payload, or one that would blow up memory.
        """
        if (width, height) != (self.width, self.height):
            raise PayloadError(
                f"it claims {width}x{height} px, the index says {self.width}x{self.height} px"
            )
        if samples is not None and samples != self.samples:
            raise PayloadError(
                f"it claims {samples} samples per pixel, the index says {self.samples}"
            )


Decoded = UInt8Array
"""uint8 (height, width, 3), RGB, C-contiguous."""
