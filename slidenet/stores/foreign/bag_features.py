"""The features of one slide, whoever wrote them: one face for every layout."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import CoordinateError, StoreError
from slidenet.core.provenance import Identity
from slidenet.core.records import check_coords
from slidenet.core.words import name_some
from slidenet.stores.foreign.geometry import Geometry

Layout = Literal["slidenet", "clam", "trident", "stamp", "slide2vec"]


class TileSource(Protocol):
    """Where the arrays of a file come from. Picklable; an open handle stays in its process."""

    def read_features(self, where: Any) -> npt.NDArray[np.floating]:
        """Rows of the features, float16 or float32, as numpy indexes (N, D)."""

    def read_coords(self) -> npt.NDArray[np.int64]:
        """int64 (N, 2), level-0 px."""

    def read_mask(self) -> npt.NDArray[np.bool_]:
        """Bool (N,), True = real tile."""

    def close(self) -> None:
        """Closes what is open; the next read opens it again."""


@dataclass(frozen=True, slots=True)
class BagFacts:
    """What is known of a file without reading its arrays.

    Attributes:
        path: The file.
        slide_id: Id of the slide: as the file says, or the file's name without suffix.
        layout: Who wrote it.
        num_tiles: N.
        feature_dim: D.
        geometry: Resolution and tile size.
        identity: What the files of one cohort must have in common.
        fingerprint: Content fingerprint of the slide; only our own files know it.
    """

    path: Path
    slide_id: str
    layout: Layout
    num_tiles: int
    feature_dim: int
    geometry: Geometry
    identity: Identity
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.num_tiles < 1 or self.feature_dim < 1:
            raise StoreError(
                f"{self.path} holds {self.num_tiles} tiles with {self.feature_dim} features each",
                expected="at least one of each",
                remedy="leave the slide out, or make its features again",
            )


class BagFeatures:
    """The features of one slide with the places of its tiles; arrays are read when asked for.

    A context manager; picklable (the file is opened again in the other process).

    Args:
        facts: What is known without reading arrays.
        source: Where the arrays come from.

    Attributes:
        facts: As given.
    """

    def __init__(self, facts: BagFacts, source: TileSource) -> None:
        self.facts = facts
        self._source = source

    @property
    def path(self) -> Path:
        """The file."""
        return self.facts.path

    @property
    def slide_id(self) -> str:
        """Id of the slide."""
        return self.facts.slide_id

    @property
    def layout(self) -> Layout:
        """Who wrote the file: "slidenet", "clam", "trident", "stamp" or "slide2vec"."""
        return self.facts.layout

    @property
    def num_tiles(self) -> int:
        """Tiles of the file, unreadable ones included, N."""
        return self.facts.num_tiles

    @property
    def feature_dim(self) -> int:
        """Length of a feature vector, D."""
        return self.facts.feature_dim

    @property
    def slide_mpp(self) -> float:
        """Microns per pixel of level 0."""
        return self.facts.geometry.slide_mpp

    @property
    def tile_size_px(self) -> int:
        """Side of a tile at `target_mpp`, in pixels."""
        return self.facts.geometry.tile_size_px

    @property
    def target_mpp(self) -> float:
        """Microns per pixel of the tiles."""
        return self.facts.geometry.target_mpp

    @property
    def fingerprint(self) -> str | None:
        """Content fingerprint of the slide; None where the layout has none."""
        return self.facts.fingerprint

    @property
    def identity(self) -> Identity:
        """What the files of one cohort must have in common."""
        return self.facts.identity

    @property
    def coords(self) -> npt.NDArray[np.int64]:
        """int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels; read each time.

        Raises:
            StoreError: They do not fit the features, or are no level-0 pixels.
        """
        coords = self._source.read_coords()
        try:
            check_coords(coords)
        except CoordinateError as error:
            raise StoreError(
                f"{self.path}: {error.found}", expected=error.expected, remedy="make it again"
            ) from error
        if len(coords) != self.num_tiles:
            raise StoreError(
                f"{self.path} holds {len(coords)} coords and {self.num_tiles} features",
                expected="one place per feature vector",
                remedy="make the file again",
            )
        return coords

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True = real tile: bool (N,), False where it could not be read; read each time."""
        return self._source.read_mask()

    @property
    def features(self) -> "LazyFeatures":
        """(N, D) float16 or float32; nothing is read until it is sliced."""
        return LazyFeatures(self)

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        self._source.close()

    def __len__(self) -> int:
        return self.num_tiles

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class LazyFeatures:
    """Rows of a file, read slice by slice: `bag.features[10:20]`, `bag.features[:]`.

    Attributes:
        shape: (N, D).
    """

    def __init__(self, bag: BagFeatures) -> None:
        self._bag = bag
        self.shape = (bag.num_tiles, bag.feature_dim)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: Any) -> npt.NDArray[np.floating]:
        """Reads rows: a slice, or an increasing array of rows.

        Raises:
            StoreError: The file is gone or broken, or these rows hold NaN or infinite values.
        """
        rows = self._bag._source.read_features(where)
        if not _all_finite(rows):
            raise self._not_finite(rows, where)
        return rows

    def _not_finite(self, rows: npt.NDArray[np.floating], where: Any) -> StoreError:
        tiles = np.atleast_1d(np.arange(self.shape[0])[where])
        wrong = tiles[~np.isfinite(rows.reshape(len(tiles), -1)).all(axis=1)]
        return StoreError(
            f"{self._bag.path} holds NaN or infinite features in row "
            f"{name_some(wrong, most=3)} of {self.shape[0]}",
            expected="finite numbers",
            remedy="make its features again, or leave the slide out",
        )


_HALF_EXPONENT = 0x7C00


def _all_finite(rows: npt.NDArray[np.floating]) -> bool:
    if rows.dtype != np.float16:
        return bool(np.isfinite(rows).all())
    # By the bits, five times as fast: NaN and infinity are what has every exponent bit set.
    return bool(((rows.view(np.uint16) & _HALF_EXPONENT) != _HALF_EXPONENT).all())
