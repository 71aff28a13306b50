"""The features of one slide, whoever wrote the file: facts at once, arrays when asked for."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, FloatArray, IntArray, row_blocks
from slidenet.core.errors import CoordinateError, StoreError
from slidenet.core.provenance import Identity, cohort_identity, identity_hash
from slidenet.core.records import RegionBy, TileGeometry, TileRegions, check_coords
from slidenet.core.status import OK
from slidenet.core.text import name_some
from slidenet.stores.features.proof import RowsProof
from slidenet.stores.h5.regions import Columns, tile_regions

Layout = Literal["slidenet", "clam", "trident", "stamp", "slide2vec"]

_HALF_EXPONENT = 0x7C00

WINDOW_BYTES = 4 * 2**20
"""What is read at a time of a file from which some rows are wanted."""
_STEP_ROWS = 256


class TileSource(Protocol):
    """Where the arrays of a file come from. Picklable, and holds no handle itself."""

    def open(self) -> AbstractContextManager[Any]:
        """Opens the file; what the block gets is the handle of the reads below."""

    def read_features(self, handle: Any, where: Any) -> FloatArray:
        """Rows of the features, float16 or float32, as numpy indexes (N, D)."""

    def proof(self, handle: Any) -> RowsProof | None:
        """What compares features with their digest as they are read; None where there is none."""

    def read_coords(self, handle: Any) -> IntArray:
        """int64 (N, 2), level-0 px."""

    def read_status(self, handle: Any) -> npt.NDArray[np.uint8]:
        """uint8 (N,), codes of `core.status`."""

    def read_tissue_fraction(self, handle: Any) -> npt.NDArray[np.float32] | None:
        """float32 (N,), share of each tile covered by tissue; None where the file has none."""

    def read_region_columns(self, handle: Any) -> Columns | None:
        """Region of each tile as its place in the names, and share; None where there are none."""


class FeatureArrays(NamedTuple):
    """The arrays of a features file, unreadable tiles included.

    Attributes:
        features: float16 or float32 (N, D), as stored.
        coords: int64 (N, 2), level-0 px.
        mask: bool (N,), True = real tile.
    """

    features: FloatArray
    coords: IntArray
    mask: BoolArray


@dataclass(frozen=True, eq=False)
class FeatureFile:
    """The features of one slide with the places of its tiles, as `open_features` gives it.

    No file is held open: every read opens the file and closes it again, except inside a `with`
    block, which keeps it open for the reads in it. Picklable; worker processes, forked or spawned,
    open the file for themselves.

    Attributes:
        path: The file.
        layout: Who wrote it.
        slide_id: Id of the slide: as the file says, or the file's name without suffix.
        num_tiles: Tiles of the file, unreadable ones included, N.
        feature_dim: Length of a feature vector, D.
        dtype: float16 or float32, as stored; None where only reading the features tells.
        slide_mpp: Microns per pixel of level 0.
        tile_size_px: Side of a tile at `target_mpp`, in pixels.
        target_mpp: Microns per pixel of the tiles.
        identity: Every setting that made the numbers; what the file says of them where another tool
            wrote it.
        source: Where the arrays come from.
        fingerprint: Content fingerprint of the slide file; None in files of other tools.
        geometry: How the tiles lie and how their pixels were read; None in files of other tools.
        encoder: Identity of the tile encoder; None in files of other tools.
        num_unreadable: Tiles whose pixels could not be read; their features are zero.
        digest: Of its content, as a slide embedding keeps it; None in files of other tools and in
            those written before there were digests.
        num_empty: Tiles the slide stores no bytes for; their features are zero, too.
        region_names: The drawn regions its tiles lie in; empty where none were asked for.
        region_by: What the regions are told apart by; None where none were asked for.

    Raises:
        StoreError: There is no feature; or no tile, in a file of a tool that writes none of those.
    """

    path: Path
    layout: Layout
    slide_id: str
    num_tiles: int
    feature_dim: int
    dtype: np.dtype[Any] | None
    slide_mpp: float
    tile_size_px: int
    target_mpp: float
    identity: Identity
    source: TileSource = field(repr=False)
    fingerprint: str | None = None
    geometry: TileGeometry | None = None
    encoder: Identity | None = None
    digest: str | None = None
    num_unreadable: int = 0
    num_empty: int = 0
    region_names: tuple[str, ...] = ()
    region_by: RegionBy | None = None
    _opened: list[tuple[int, Any, ExitStack]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.layout != "slidenet":  # ours may say that a slide has no tissue
            self.check_any_tile()

    @property
    def placed(self) -> bool:
        """Whether `coords` say where tiles lie; of some tile images they only number them."""
        return self.geometry is None or self.geometry.placed

    @property
    def identity_hash(self) -> str:
        """Hash of the identity."""
        return identity_hash(self.identity)

    @property
    def cohort_identity(self) -> Identity:
        """What the files of one cohort must have in common: the identity without `inputs`."""
        return cohort_identity(self.identity)

    @property
    def features(self) -> "LazyFeatures":
        """(N, D) float16 or float32; nothing is read until it is sliced."""
        return LazyFeatures(self)

    @property
    def coords(self) -> IntArray:
        """int64 (N, 2), (x, y) of each tile's top-left corner in level-0 pixels; read each time.

        Raises:
            StoreError: They do not fit the features, or are no level-0 pixels.
        """
        with self._handle() as handle:
            coords = self.source.read_coords(handle)
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
    def status(self) -> npt.NDArray[np.uint8]:
        """uint8 (N,), codes of `core.status`; read each time."""
        with self._handle() as handle:
            return self.source.read_status(handle)

    @property
    def mask(self) -> BoolArray:
        """True = real tile: bool (N,), False where the status is not ok; read each time."""
        mask: BoolArray = self.status == OK
        return mask

    @property
    def tissue_fraction(self) -> npt.NDArray[np.float32] | None:
        """float32 (N,), share of each tile covered by tissue; None in files of other tools."""
        with self._handle() as handle:
            return self.source.read_tissue_fraction(handle)

    @property
    def regions(self) -> TileRegions | None:
        """In which drawn region each tile lies; None where none were asked for; read each time.

        Raises:
            StoreError: They are not sound, or do not fit the features.
        """
        with self._handle() as handle:
            columns = self.source.read_region_columns(handle)
        if columns is None or self.region_by is None:
            return None
        return tile_regions(self.region_names, self.region_by, columns, self.path)

    def read(self) -> FeatureArrays:
        """Everything that a bag needs, in one opening of the file.

        Raises:
            StoreError: The file is gone or broken, or holds NaN or infinite features.
        """
        with self:
            return FeatureArrays(self.features[:], self.coords, self.mask)

    def read_rows(self, rows: IntArray) -> FloatArray:
        """Some rows of the features, with no more than a window of the file in memory beside them.

        Of a file that carries a digest all windows go by once in a process, and are compared with
        it; after that only those that hold some of the rows.

        Args:
            rows: int64 (M,), increasing.

        Returns:
            (M, D), as stored.

        Raises:
            StoreError: The file is gone or broken, or what was read of it holds NaN or infinity.
        """
        with self:
            features = self.features
            with self._handle() as handle:
                proof = self.source.proof(handle)
            every = proof is not None and not proof.done
            itemsize = 4 if self.dtype is None else self.dtype.itemsize
            step = max(1, WINDOW_BYTES // (self.feature_dim * itemsize) // _STEP_ROWS) * _STEP_ROWS
            picked: list[FloatArray] = []
            for start in range(0, self.num_tiles, step):
                first, last = np.searchsorted(rows, (start, start + step))
                wanted = rows[first:last]
                if every:
                    picked.append(features[start : start + step][wanted - start])
                elif len(wanted):
                    block = features[int(wanted[0]) : int(wanted[-1]) + 1]
                    picked.append(block[wanted - wanted[0]])
            return np.concatenate(picked) if picked else features[:0]

    def prove(self) -> None:
        """Proves that the features are what was written, where the file carries their digest.

        It reads nothing where this process has already read all of them, from first to last.

        Raises:
            StoreError: They are not, or the file is gone or broken.
        """
        with self._handle() as handle:
            proof = self.source.proof(handle)
        if proof is not None and not proof.done:
            with self:
                for _ in row_blocks(self.features):
                    pass

    def check_any_tile(self) -> None:
        """Refuses a file without tiles, from which nothing can be learned or predicted.

        Raises:
            StoreError: It holds no tile, or features of length zero.
        """
        if self.num_tiles < 1 or self.feature_dim < 1:
            raise StoreError(
                f"{self.path} holds {self.num_tiles} tiles with {self.feature_dim} features each",
                expected="at least one of each",
                remedy="leave the slide out, or make its features again",
            )

    def __len__(self) -> int:
        return self.num_tiles

    def __enter__(self) -> Self:
        stack = ExitStack()
        self._opened.append((os.getpid(), stack.enter_context(self.source.open()), stack))
        return self

    def __exit__(self, *error: object) -> None:
        process, _, stack = self._opened.pop()
        if process == os.getpid():
            stack.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": []}

    @contextmanager
    def _handle(self) -> Iterator[Any]:
        """The handle of the `with` block around; outside of one, a handle for this read alone."""
        # A handle inherited through fork shares its state with the parent: never used here.
        if self._opened and self._opened[-1][0] == os.getpid():
            yield self._opened[-1][1]
        else:
            with self.source.open() as handle:
                yield handle


class LazyFeatures:
    """The features of one slide, read slice by slice: `file.features[10:20]`, `file.features[:]`.

    Attributes:
        shape: (N, D).
        dtype: float16 or float32, as stored; None where only reading them tells.
    """

    def __init__(self, file: FeatureFile) -> None:
        self._file = file
        self.shape = (file.num_tiles, file.feature_dim)
        self.dtype = file.dtype
        self._proof: RowsProof | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, where: Any) -> FloatArray:
        """Reads rows: a slice, or an increasing list of rows.

        Raises:
            StoreError: The file is gone or broken, these rows hold NaN or infinite values, or
                those read since the first are all, and not what was written.
        """
        with self._file._handle() as handle:
            rows = self._file.source.read_features(handle, where)
            self._proof = self._proof or self._file.source.proof(handle)
        if not _all_finite(rows):
            tiles = np.atleast_1d(np.arange(len(self))[where])
            wrong = tiles[~np.isfinite(rows.reshape(len(tiles), -1)).all(axis=1)]
            raise StoreError(
                f"{self._file.path} holds NaN or infinite features in row "
                f"{name_some(wrong, most=3)} of {len(self)}",
                expected="finite numbers",
                remedy="make its features again, or leave the slide out",
            )
        if self._proof is not None:
            self._proof.add(where, rows)
        return rows

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)


def _all_finite(rows: FloatArray) -> bool:
    if rows.dtype != np.float16:
        return bool(np.isfinite(rows).all())
    # By the bits, five times as fast: NaN and infinity are what has every exponent bit set.
    return bool(((rows.view(np.uint16) & _HALF_EXPONENT) != _HALF_EXPONENT).all())
