"""Frozen records handed from one stage to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import IntArray
from slidenet.core.errors import CoordinateError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.core.units import Mpp

BLENDED_READING = 1
"""Tiles as openslide gives them at level-0 coordinates; what files of version 1 were made with."""
WHOLE_PIXEL_READING = 2
"""Tiles of whole pixels of the level read."""
READINGS = (BLENDED_READING, WHOLE_PIXEL_READING)
SHRINKINGS = ("area", "jpeg")
"""Areas are averaged, or the decoder of JPEG tiles shrinks as far as it can."""


@dataclass(frozen=True, slots=True)
class SlideRow:
    """One row of the manifest `slides.csv`.

    Attributes:
        slide_id: Unique within the cohort; names the output files.
        slide_path: Where the slide lies.
        mpp: Resolution of level 0 given by the user, where the file does not say it.
        patient_id: Groups slides of one patient; None where unknown.
        labels: Every other column, as written.
        mpp_xy: Resolution across and down, where both were given; `mpp` then is their mean.
        sha256: What the slide file's SHA-256 must be, 64 hex digits; None: anything.
    """

    slide_id: str
    slide_path: str
    mpp: Mpp | None = None
    patient_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mpp_xy: tuple[float, float] | None = None
    sha256: str | None = None

    def declared_mpp(self, otherwise: float | None = None) -> float | tuple[float, float] | None:
        """What the row says of the resolution, else what holds for the whole cohort."""
        if self.mpp_xy is not None:
            return self.mpp_xy
        return otherwise if self.mpp is None else self.mpp


@dataclass(frozen=True, slots=True)
class SlideMpp:
    """Resolution of level 0 and where the number came from.

    Attributes:
        value: Microns per pixel of level 0 (geometric mean of x and y, 1 % apart at most).
        source: "override", "OME PhysicalSize", "vendor property <name>" or "TIFF resolution tags".
    """

    value: Mpp
    source: str


@dataclass(frozen=True, slots=True)
class TileGeometry:
    """How tiles of a slide lie and how their pixels are obtained.

    The lattice is physical: tile (i, j) starts at (round(i * stride_level0),
    round(j * stride_level0)) from the slide's origin, so that rounding never accumulates. Pixels
    are read on `level` as squares of `read_size_px` and resampled to `tile_size_px` where the two
    differ.

    Attributes:
        slide_mpp: Resolution of level 0, with its source.
        target_mpp: Resolution asked for.
        read_mpp: Resolution of the level read.
        level: The OpenSlide level read.
        tile_size_px: Side of a tile at `target_mpp`, in pixels.
        stride_px: Step between tiles at `target_mpp`, in pixels.
        read_size_px: Side of the square read on `level`, in that level's pixels.
        level0_width: Width of the slide, level-0 pixels.
        level0_height: Height of the slide, level-0 pixels.
        reading: How pixels are taken, one of `READINGS`.
        shrinking: How a larger square becomes the tile, one of `SHRINKINGS`.
    """

    slide_mpp: SlideMpp
    target_mpp: Mpp
    read_mpp: Mpp
    level: int
    tile_size_px: int
    stride_px: int
    read_size_px: int
    level0_width: int
    level0_height: int
    reading: int = BLENDED_READING
    shrinking: str = "area"

    @property
    def scale(self) -> float:
        """Level-0 pixels per pixel at `target_mpp`, exact."""
        return self.target_mpp / self.slide_mpp.value

    @property
    def tile_size_level0(self) -> int:
        """Side of a tile in level-0 pixels, rounded (h5 attribute `patch_size_level0`)."""
        return round(self.tile_size_px * self.scale)

    @property
    def stride_level0(self) -> float:
        """Step between tiles in level-0 pixels, exact."""
        return self.stride_px * self.scale

    @property
    def resampled(self) -> bool:
        """Whether pixels are resampled after reading."""
        return self.read_size_px != self.tile_size_px


@dataclass(frozen=True, eq=False)
class TileSet:
    """The tiles of one slide: where they are and what chose them.

    Attributes:
        slide_id: Id of the slide in the cohort.
        slide_path: Where the slide lies; not part of the identity.
        fingerprint: Content fingerprint of the slide file.
        geometry: Sizes, resolution and read level.
        coords: int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels; read-only,
            sorted by row (y), then column (x).
        tissue_fraction: float32 (N,), share of each tile covered by tissue, in [0, 1].
        identity: Every setting that chose the tiles.
    """

    slide_id: str
    slide_path: str
    fingerprint: str
    geometry: TileGeometry
    coords: IntArray
    tissue_fraction: npt.NDArray[np.float32]
    identity: Identity

    def __post_init__(self) -> None:
        check_coords(self.coords, slide=self.slide_id)
        if self.tissue_fraction.shape != (len(self.coords),):
            raise CoordinateError(
                f"tissue_fraction has shape {self.tissue_fraction.shape}",
                expected=f"({len(self.coords)},), one value per tile",
                slide=self.slide_id,
            )
        for name in ("coords", "tissue_fraction"):
            frozen = getattr(self, name).copy()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    @property
    def num_tiles(self) -> int:
        """Number of tiles, N."""
        return len(self.coords)

    @property
    def identity_hash(self) -> str:
        """Hash of the identity that chose the tiles."""
        return identity_hash(self.identity)


def check_coords(coords: IntArray, *, slide: str = "") -> None:
    """Refuses anything but int64 (N, 2) non-negative level-0 coordinates."""
    if coords.dtype != np.int64 or coords.ndim != 2 or coords.shape[1] != 2:
        raise CoordinateError(
            f"coords are {coords.dtype} of shape {coords.shape}",
            expected="int64 of shape (N, 2), (x, y) in level-0 pixels",
            remedy="convert them with astype('int64') only if they are whole level-0 pixels",
            slide=slide,
        )
    if coords.size and coords.min() < 0:
        raise CoordinateError(
            f"coords hold the negative value {coords.min()}",
            expected="level-0 pixels, which start at 0",
            slide=slide,
        )
