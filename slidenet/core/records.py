"""Frozen records handed from one stage to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, IntArray
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

RegionBy = Literal["class", "name", "core"]
"""What drawn regions are told apart by: class, own name, or core of a tissue microarray."""
REGION_BY: tuple[RegionBy, ...] = get_args(RegionBy)


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
        tile_mpp: Of a folder of tile images, microns per pixel of the images.
        tile_frame: Of a folder of tile images, what the coordinates of its tiles count.
    """

    slide_id: str
    slide_path: str
    mpp: Mpp | None = None
    patient_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    mpp_xy: tuple[float, float] | None = None
    sha256: str | None = None
    tile_mpp: Mpp | None = None
    tile_frame: str | None = None

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
        tile_frame: Of tile images that were cut before, what their places counted (see
            `slides.tile_images`); "none": they have none, and coords only number the tiles. None
            where tiles are cut from the slide.
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
    tile_frame: str | None = None

    @property
    def placed(self) -> bool:
        """Whether it is known where the tiles lie on their slide."""
        return self.tile_frame != "none"

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
class TileRegions:
    """In which region, drawn by a person, each tile of a slide lies.

    Attributes:
        names: The regions of this slide, without repeats; one that no tile lies in is named, too.
        index: uint16 (N,), the region with the largest share of the tile, as its place in `names`;
            read-only.
        share: float32 (N,), how much of the tile's area lies in that region, in (0, 1]; what is
            drawn out of the region does not count; read-only.
        by: What the regions are told apart by.

    Raises:
        CoordinateError: Names repeat or are empty, or an index or share is out of range.
    """

    names: tuple[str, ...]
    index: npt.NDArray[np.uint16]
    share: npt.NDArray[np.float32]
    by: RegionBy

    def __post_init__(self) -> None:
        found = ""
        if not all(self.names) or len(set(self.names)) != len(self.names):
            found = "regions without a name, or two of one name"
        elif self.by not in REGION_BY:
            found = f"regions told apart by {self.by!r}"
        elif self.index.dtype != np.uint16 or self.index.ndim != 1:
            found = f"region indices {self.index.dtype} of shape {self.index.shape}"
        elif self.share.dtype != np.float32 or self.share.shape != self.index.shape:
            found = f"region shares {self.share.dtype} of shape {self.share.shape}"
        elif self.index.size and self.index.max() >= len(self.names):
            found = f"a tile in region {self.index.max()} of {len(self.names)}"
        elif not ((self.share > 0) & (self.share <= 1)).all():
            found = "region shares outside (0, 1]"
        if found:
            raise CoordinateError(
                found,
                expected="names without repeats, told apart by class, name or core; uint16 (N,) "
                "places among them and float32 (N,) shares in (0, 1]",
            )
        _freeze_arrays(self, "index", "share")

    def take(self, tiles: BoolArray) -> "TileRegions":
        """The same of some tiles; bool (N,), True = taken."""
        return TileRegions(self.names, self.index[tiles], self.share[tiles], self.by)

    def counts(self) -> dict[str, int]:
        """How many tiles lie in each region, regions without tiles included."""
        found = np.bincount(self.index, minlength=len(self.names))
        return dict(zip(self.names, found.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class CutTiles:
    """Tiles of a slide that another tool has cut.

    Attributes:
        coords: int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels, sorted by row
            (y), then column (x); numbers of tiles in the same form where they have no places.
        tile_size_px: Side of a tile in its own pixels.
        stride_px: Step between neighbours in the tiles' own pixels.
        tile_mpp: Microns per pixel of the tiles.
        frame: What their coordinates counted, as `TileGeometry.tile_frame`.
        notes: What a user should know of the folder, a clause each.
        regions: In which region each tile lies, where a table in the folder says it.
        stride_guessed: Whether `stride_px` is only what the places of these tiles allow, so that
            other slides that were cut alike may show another.
    """

    coords: IntArray
    tile_size_px: int
    stride_px: int
    tile_mpp: Mpp
    frame: str
    notes: tuple[str, ...] = ()
    regions: TileRegions | None = None
    stride_guessed: bool = False

    @property
    def placed(self) -> bool:
        """Whether it is known where the tiles lie on their slide."""
        return self.frame != "none"


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
        regions: In which drawn region each tile lies; None where no regions were asked for.
        tissue_doubt: How unsure the segmenter was of the tissue, from 0 (sure) to 1; None where
            it does not say.
        read_again: Whether something that decides the tiles could not be read as planned, so that a
            later run chooses them again.
        object_version: Of a slide in a store of objects, the version they were chosen on, in the
            words of the store; "" of files, and where the store says none.
        asked_digest: Of such a slide, a digest of all that was asked for, its own content left out:
            where neither has changed, the tiles are known without reading the slide again.
    """

    slide_id: str
    slide_path: str
    fingerprint: str
    geometry: TileGeometry
    coords: IntArray
    tissue_fraction: npt.NDArray[np.float32]
    identity: Identity
    regions: TileRegions | None = None
    tissue_doubt: float | None = None
    read_again: bool = False
    object_version: str = ""
    asked_digest: str = ""

    def __post_init__(self) -> None:
        check_coords(self.coords, slide=self.slide_id)
        per_tile = {"tissue_fraction": self.tissue_fraction.shape}
        if self.regions is not None:
            per_tile["regions"] = self.regions.index.shape
        for name, shape in per_tile.items():
            if shape != (len(self.coords),):
                raise CoordinateError(
                    f"{name} has shape {shape}",
                    expected=f"({len(self.coords)},), one value per tile",
                    slide=self.slide_id,
                )
        _freeze_arrays(self, "coords", "tissue_fraction")

    @property
    def num_tiles(self) -> int:
        """Number of tiles, N."""
        return len(self.coords)

    def says_the_same(self, other: "TileSet") -> bool:
        """Whether another one has the same tiles, and is as sure of them."""
        mine, theirs = self.regions, other.regions
        same_regions = (mine is None) == (theirs is None)
        if mine is not None and theirs is not None:
            same_regions = mine.names == theirs.names and all(
                np.array_equal(getattr(mine, name), getattr(theirs, name))
                for name in ("index", "share")
            )
        return (
            same_regions
            and np.array_equal(self.coords, other.coords)
            and np.array_equal(self.tissue_fraction, other.tissue_fraction)
            and (self.tissue_doubt, self.read_again) == (other.tissue_doubt, other.read_again)
        )

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


def _freeze_arrays(record: object, *names: str) -> None:
    for name in names:
        frozen = getattr(record, name).copy()
        frozen.flags.writeable = False
        object.__setattr__(record, name, frozen)
