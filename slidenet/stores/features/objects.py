"""Features files that lie in an object store: each is staged while it is read, in one version."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import FloatArray, IntArray
from slidenet.core.errors import StoreError
from slidenet.stores.features.file import FeatureFile
from slidenet.stores.features.h5_source import H5Source
from slidenet.stores.features.opening import open_features
from slidenet.stores.features.proof import RowsProof
from slidenet.stores.h5.regions import Columns
from slidenet.stores.objects import ObjectCache, ObjectFacts, shown_uri, store_of
from slidenet.stores.objects.parcels import Parcel

H5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class StagedSource:
    """An h5 file in a store; what reads it finds it in the cache, or fetches it.

    Attributes:
        inner: How the file is read, wherever it lies.
        parcel: The object in the version that the run began with.
        cache: Where copies lie.
    """

    inner: H5Source
    parcel: Parcel
    cache: ObjectCache

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Opens the copy, which stays while the block lasts.

        Raises:
            ObjectReplacedError: The store has another version by now.
            StoreError: It is broken.
        """
        with (
            self.cache.held(self.parcel) as path,
            replace(self.inner, path=path).open() as handle,
        ):
            yield handle

    def proof(self, handle: Any) -> RowsProof | None:
        """See `TileSource`."""
        return replace(self.inner, path=Path(handle.filename)).proof(handle)

    def read_features(self, handle: Any, where: Any) -> FloatArray:
        """See `TileSource`."""
        return self.inner.read_features(handle, where)

    def read_coords(self, handle: Any) -> IntArray:
        """See `TileSource`."""
        return self.inner.read_coords(handle)

    def read_status(self, handle: Any) -> npt.NDArray[np.uint8]:
        """See `TileSource`."""
        return self.inner.read_status(handle)

    def read_tissue_fraction(self, handle: Any) -> npt.NDArray[np.float32] | None:
        """See `TileSource`."""
        return self.inner.read_tissue_fraction(handle)

    def read_region_columns(self, handle: Any) -> Columns | None:
        """See `TileSource`."""
        return self.inner.read_region_columns(handle)


def list_features(folder: str) -> dict[str, ObjectFacts]:
    """The features files of a folder in a store by slide_id; the store is asked once.

    Args:
        folder: Its address.

    Raises:
        StoreError: It holds no h5 file.
        ObjectStoreError: There is no such bucket, or no right to list it.
    """
    prefix = folder.rstrip("/") + "/"
    found: dict[str, ObjectFacts] = {}
    for facts in store_of(prefix).list(prefix, recursive=False):
        name = PurePosixPath(facts.uri.rpartition("/")[2])
        if name.suffix in H5_SUFFIXES and not name.name.startswith("."):
            found.setdefault(name.stem, facts)
    if not found:
        raise StoreError(
            f"{shown_uri(prefix)} holds no features",
            expected=f"files ending in {' or '.join(H5_SUFFIXES)}, one per slide, right in it",
            remedy="give the folder that holds the files themselves",
        )
    return dict(sorted(found.items()))


def open_staged(facts: ObjectFacts, cache: ObjectCache, **given: Any) -> FeatureFile:
    """The features of a slide from a store; the file is fetched to read what it is.

    Args:
        facts: The object, in the version to be read now and later.
        cache: Where copies lie.
        **given: See `open_features`.

    Raises:
        StoreError: As `open_features`.
        ObjectReplacedError: The store has another version by now.
    """
    name = facts.uri.rpartition("/")[2]
    parcel = Parcel(facts.uri, name, ((name, facts),), store_of(facts.uri).origin(facts.uri))
    with cache.held(parcel) as path:
        file = open_features(path, **given)
        assert isinstance(file.source, H5Source), "an h5 file"
    place = Path(shown_uri(facts.uri))
    source = StagedSource(replace(file.source, path=place), parcel, cache)
    return replace(file, path=place, source=source)


def staged_objects(file: FeatureFile) -> tuple[ObjectFacts, ...]:
    """The object a file of features lies in; empty of a file of this machine."""
    source = file.source
    return (source.parcel.objects[0][1],) if isinstance(source, StagedSource) else ()
