"""Writing the features of a slide: streamed, resumable, atomic, the same bytes every time."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from slidenet.core import status
from slidenet.core.arrays import IntArray
from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import (
    OutputError,
    SlideError,
    SlidenetError,
    StoreError,
    SystemFaultError,
)
from slidenet.core.provenance import Identity, canonical_json, identity_hash, software_version
from slidenet.core.records import TileSet
from slidenet.stores.atomic import (
    FULL,
    check_free_disk,
    output_error,
    output_errors,
    proven_before_renames,
)
from slidenet.stores.claims import held_claim, take_claim
from slidenet.stores.features.rows import storable_rows
from slidenet.stores.features.spool import HEADER_BYTES, Spool
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import identity_attributes, write_attributes
from slidenet.stores.h5.digests import Digests, RunningDigest, content_digest, write_digests
from slidenet.stores.h5.file import NewFile, create_h5
from slidenet.stores.tiles import tile_digests, write_tile_datasets

_FILE_OVERHEAD_BYTES = 64 * 1024


def disk_needed(num_tiles: int, feature_dim: int, dtype: str) -> int:
    """Bytes free disk needed to write one features file, its partial rows included."""
    row = feature_dim * np.dtype(dtype).itemsize
    spool = HEADER_BYTES + num_tiles * (row + 5)
    finished = num_tiles * (row + 2 * 8 + 4 + 1) + schema.CHUNK_ROWS * row
    return spool + finished + _FILE_OVERHEAD_BYTES


def stored_rows(num_tiles: int) -> int:
    """Rows that a features file has room for: whole chunks, of which the last may be half empty."""
    chunk = min(schema.CHUNK_ROWS, max(1, num_tiles))
    return -(-num_tiles // chunk) * chunk


class FeatureWriter:
    """Writes one features file, batch by batch; a killed run goes on where it was.

    Rows go to a partial file beside `path` (see `stores.features.spool`) and become the h5 file in
    `finish`. It works under the claim of its thread on `path`, or takes one until it ends. Opening
    it again with the same tiles, identity, dtype and batch size finds the whole batches done
    before: encode on from row `num_done`. Memory does not grow with the number of tiles. Rows of
    tiles that could not be read (`unreadable`) may be replaced before `finish`. As a context
    manager it keeps the rows when interrupted, when the slide can no longer be read and when a disk
    fails (a process, a disk or a share may be back the next time, and the rows are right); it
    removes them when the block ends in another `SlidenetError`, which would come again.

    Args:
        path: The file to make; one that is there is replaced by `finish`.
        tile_set: The tiles, in the order in which rows are appended.
        feature_dim: Length D of a feature vector.
        dtype: "float16" or "float32".
        identity: Every setting that makes the numbers: tiles, encoder, dtype.
        encoder_identity: Id, weight digest, transform and precision of the tile encoder.
        batch_size: Tiles per batch. It can change the last bits of the features, so a resume
            under another batch size starts anew.

    Raises:
        ConfigError: Another dtype, or a size below one.
        OutputError: The folder cannot be written or has too little room.
        ClaimedElsewhere: Another process is writing the same file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tile_set: TileSet,
        feature_dim: int,
        dtype: str,
        identity: Identity,
        encoder_identity: Identity,
        batch_size: int,
    ) -> None:
        check_choice(("float16", "float32"), dtype=dtype)
        check_whole(feature_dim=feature_dim, batch_size=batch_size)
        self.path = Path(path)
        self.tile_set = tile_set
        self.feature_dim = feature_dim
        self.dtype = dtype
        self.identity = identity
        self.encoder_identity = encoder_identity
        slide = tile_set.slide_id
        held = held_claim(self.path)
        self._claim = held or take_claim(self.path, slide=slide)
        self._own_claim = held is None
        try:
            with output_errors(self.path, slide=slide):
                self._spool = Spool(
                    self.path,
                    identity=self._identity(batch_size),
                    feature_dim=feature_dim,
                    dtype=dtype,
                    num_rows=tile_set.num_tiles,
                    batch_size=batch_size,
                )
                self._status = self._spool.statuses()
        except BaseException:
            self._give_back()
            raise
        try:
            done = self.num_done * self._spool.record.itemsize
            needed = disk_needed(tile_set.num_tiles, feature_dim, dtype) - done
            check_free_disk(self.path, needed, slide=slide)
        except OutputError:
            # Rows of an earlier run are worth keeping; an empty partial file is not.
            if self.num_done:
                self.close()
            else:
                self.discard()
            raise

    @property
    def num_done(self) -> int:
        """Rows already kept; the next batch starts at this tile."""
        return self._spool.num_rows

    @property
    def unreadable(self) -> IntArray:
        """Rows kept of tiles that could not be read, increasing; see `replace`."""
        return np.flatnonzero(self._status == status.UNREADABLE)

    @property
    def any_readable(self) -> bool:
        """Whether a tile of the rows kept could be read."""
        return bool((self._status == status.OK).any())

    def append(self, features: npt.ArrayLike, codes: npt.ArrayLike | None = None) -> None:
        """Adds the features of the next tiles.

        Args:
            features: (B, D) floats (a CPU tensor will do) of tiles `num_done` onwards.
            codes: uint8 (B,), those of `core.status`; all ok when None. Rows of tiles that are
                not ok are stored as zeros, whatever they hold.

        Raises:
            EncoderError: Wrong shape, NaN or infinite features, or too large for float16.
            OutputError: The disk is full, and the partial file is removed; or it does not answer,
                and the rows may be found again.
            LostClaim: Another process has taken over.
        """
        if self._claim.is_lost:
            self._claim.check()
        start = self.num_done
        rows, found = self._storable(
            features, codes, range(start, start + len(np.asarray(features)))
        )
        with self._writing():
            self._spool.append(rows, found)
        self._status = np.concatenate([self._status, found])

    def replace(self, places: IntArray, features: npt.ArrayLike, codes: npt.ArrayLike) -> None:
        """Puts other rows in the place of some that were kept.

        Args:
            places: int64 (B,), increasing, below `num_done`.
            features: As in `append`.
            codes: As in `append`.

        Raises:
            EncoderError: As `append`.
            OutputError: As `append`.
        """
        rows, found = self._storable(features, codes, places)
        with self._writing():
            self._spool.replace(places, rows, found)
        self._status[places] = found

    def finish(self) -> Path:
        """Turns the rows into the finished file and removes the partial one.

        Returns:
            The path of the finished file.

        Raises:
            StoreError: Not every tile has been appended.
            OutputError: The folder cannot be written, or is full.
            LostClaim: Another process has taken over.
        """
        num_tiles = self.tile_set.num_tiles
        if self.num_done != num_tiles:
            raise StoreError(
                f"{self.path}: {self.num_done} of {num_tiles} tiles have features",
                expected="features of every tile before the file is finished",
                remedy="run the same command again to encode the rest",
                slide=self.tile_set.slide_id,
            )
        version = schema.version_of(self.tile_set.geometry)
        with (
            proven_before_renames(self._claim.check),
            create_h5(self.path, slide=self.tile_set.slide_id) as new,
        ):
            write_tile_datasets(new.h5, self.tile_set)
            counts, digests = self._copy_rows(new)
            attributes = identity_attributes(
                schema.FEATURES_FORMAT,
                version=version,
                slide_id=self.tile_set.slide_id,
                fingerprint=self.tile_set.fingerprint,
                identity=self.identity,
            )
            attributes |= {
                "tiles_recipe": canonical_json(self.tile_set.identity),
                "tiles_recipe_hash": self.tile_set.identity_hash,
                "slide_name": Path(self.tile_set.slide_path).name,
                "feature_dim": self.feature_dim,
                "dtype": self.dtype,
                "num_unreadable": counts[status.UNREADABLE],
                "encoder": canonical_json(self.encoder_identity),
            }
            of_tiles = tile_digests(self.tile_set)
            if version > 1:
                attributes["num_empty"] = counts[status.EMPTY]
                attributes[schema.TILES_DIGEST] = content_digest(of_tiles)
            write_attributes(new.h5[schema.GROUP], attributes)
            if version > 1:
                write_digests(new.h5, {**of_tiles, **digests})
        self.discard()
        return self.path

    def close(self) -> None:
        """Stops here and keeps the partial file for the next start."""
        self._spool.close()
        self._give_back()

    def discard(self) -> None:
        """Stops here and removes the partial file."""
        try:
            with output_errors(self.path, slide=self.tile_set.slide_id):
                self._spool.delete()
        finally:
            self._give_back()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        may_pass = isinstance(error, SlideError | SystemFaultError) or (
            isinstance(error, OutputError) and getattr(error.__cause__, "errno", None) not in FULL
        )
        rows_are_right = may_pass and self.num_done > 0
        if isinstance(error, SlidenetError) and not rows_are_right:
            self.discard()
        else:
            self.close()

    def _give_back(self) -> None:
        if self._own_claim:
            self._claim.release()

    def _storable(
        self, features: npt.ArrayLike, codes: npt.ArrayLike | None, tiles: Sequence[int] | IntArray
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]]:
        return storable_rows(
            features,
            codes,
            tile_set=self.tile_set,
            tiles=tiles,
            feature_dim=self.feature_dim,
            dtype=self.dtype,
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Errors of the disk that is written to; of a full one the partial file is removed."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                self.discard()
            raise output_error(error, self.path, slide=self.tile_set.slide_id) from error

    def _identity(self, batch_size: int) -> Identity:
        coords = np.ascontiguousarray(self.tile_set.coords).tobytes()
        return {
            "recipe_hash": identity_hash(self.identity),
            "encoder_hash": identity_hash(self.encoder_identity),
            "fingerprint": hashlib.sha256(self.tile_set.fingerprint.encode()).hexdigest(),
            "tiles": hashlib.sha256(coords).hexdigest(),
            "feature_dim": self.feature_dim,
            "dtype": self.dtype,
            "batch_size": batch_size,
            "software_version": software_version(),
        }

    def _copy_rows(self, new: NewFile) -> tuple[Counter[int], Digests]:
        """Streams the partial rows into the new file.

        Returns:
            How many tiles have each status, and the digests of the two datasets.
        """
        num_tiles = self.tile_set.num_tiles
        features = new.h5.create_dataset(
            schema.FEATURES,
            shape=(num_tiles, self.feature_dim),
            dtype=self.dtype,
            chunks=(min(schema.CHUNK_ROWS, num_tiles), self.feature_dim) if num_tiles else None,
            fletcher32=num_tiles > 0,
        )
        shown_to_loaders = {"name": self.tile_set.slide_id, "savetodir": "."}
        write_attributes(features, shown_to_loaders, loaders_text=True)
        stored = schema.short_rows(schema.version_of(self.tile_set.geometry), (num_tiles,))
        codes = new.h5.create_dataset(schema.STATUS, (num_tiles,), np.uint8, **stored)
        counts: Counter[int] = Counter()
        running = {d.name[1:]: RunningDigest(d.dtype, d.shape) for d in (features, codes)}
        for start in range(0, num_tiles, schema.CHUNK_ROWS):
            stop = min(start + schema.CHUNK_ROWS, num_tiles)
            rows = self._spool.read(start, stop)
            features[start:stop] = rows["features"]
            codes[start:stop] = rows["status"]
            running[schema.FEATURES].add(rows["features"])
            running[schema.STATUS].add(rows["status"])
            counts.update(rows["status"].tolist())
            new.check()
        return counts, {name: digest.end({}) for name, digest in running.items()}
