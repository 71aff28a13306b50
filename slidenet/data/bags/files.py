"""The features files of a cohort: found by slide_id, opened, and fit to be trained on together."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.core.provenance import describe_difference
from slidenet.core.records import SlideRow
from slidenet.core.text import name_some
from slidenet.core.vocabulary import id_spelling
from slidenet.data.labels.table import LabelTable
from slidenet.stores import FEATURE_SUFFIXES, FeatureFile, open_features
from slidenet.stores.features.objects import list_features, open_staged
from slidenet.stores.h5.ancestors import check_tiles_of
from slidenet.stores.manifest.look_alikes import as_drawn
from slidenet.stores.objects import ObjectCache, shown_uri
from slidenet.stores.objects.uri import uri_of

FETCHED_AT_A_TIME = 8
"""Features files of a store."""

_SUBFOLDERS = ("h5_files", "tile_embeddings", "tile_features/*")
"""Where CLAM, slide2vec and slidenet put features inside their output folder."""


@dataclass(frozen=True)
class BagFiles:
    """The features files of the slides of a table.

    Attributes:
        folder: Where they lie.
        files: What is known of the file of each slide that has one, in order of the table.
        missing: slide_ids of the table without a file, each with the files whose names differ in
            spelling only, in words; "" for none.
        unused: Files of the folder without a row in the table.
    """

    folder: Path
    files: Mapping[str, FeatureFile]
    missing: Mapping[str, str]
    unused: tuple[Path, ...]

    @property
    def first(self) -> FeatureFile:
        """The first file, to which the others are compared."""
        return next(iter(self.files.values()))


def find_bag_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The features files of a folder by slide_id, which is the name without its suffix.

    Args:
        folder: Holds one file per slide, or is the output folder of slidenet, CLAM or slide2vec.

    Returns:
        Sorted by name. Of several files of one slide the h5 is taken.

    Raises:
        StoreError: No such folder, or none or several folders of features in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StoreError(
            f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist",
            expected="the folder of the features, one file per slide",
        )
    places = [folder] if _files_in(folder) else []
    if not places:
        places = [p for name in _SUBFOLDERS for p in sorted(folder.glob(name)) if _files_in(p)]
    if len(places) != 1:
        found = f"several folders of features: {', '.join(p.name for p in places)}"
        raise StoreError(
            f"{folder} holds {found if places else 'no features'}",
            expected=f"files ending in {', '.join(FEATURE_SUFFIXES)}, one per slide",
            remedy="give the folder that holds the files themselves",
        )
    return _files_in(places[0])


def open_bag_files(
    table: LabelTable,
    folder: str | os.PathLike[str],
    *,
    slide_mpp: float | None = None,
    tile_size_px: int | None = None,
    target_mpp: float | None = None,
    allow_missing: bool = False,
    objects: ObjectCache | None = None,
) -> BagFiles:
    """Opens the features file of every slide of a table; only headers are read.

    Args:
        table: The slides; their `mpp`, where given, is the slide_mpp of their file.
        folder: See `find_bag_files`.
        slide_mpp: For slides without `mpp`; see `open_features`.
        tile_size_px: See `open_features`.
        target_mpp: See `open_features`.
        allow_missing: Whether slides without a file are left out; refused otherwise.
        objects: Where copies of files lie whose folder is in an object store.

    Raises:
        ObjectStoreError: The store of the folder cannot be read.
        StoreError: A slide has no file, or a file cannot be read, is empty, or is of another slide
            or with features of another length than the rest.
        IdentityMismatchError: Two files were made in different ways; both are named.
        StaleInputError: Features in an output folder whose tiles have been replaced since.
    """
    uri = uri_of(folder)
    facts = {} if uri is None else list_features(uri)
    if uri is None:
        paths = find_bag_files(folder)
    else:
        paths = {slide_id: Path(shown_uri(one.uri)) for slide_id, one in facts.items()}
    missing = {slide_id: "" for slide_id in table.slide_ids if slide_id not in paths}
    for slide_id, name in _spelled_otherwise(missing, table, paths).items():
        missing[slide_id] = f"; is it {name!r}?"
    if missing and (not allow_missing or len(missing) == len(table)):
        raise _missing_error(table, Path(folder), missing, paths)
    files: dict[str, FeatureFile] = {}

    def opened(row: SlideRow) -> FeatureFile:
        given = {
            "slide_mpp": slide_mpp if row.mpp is None else row.mpp,
            "tile_size_px": tile_size_px,
            "target_mpp": target_mpp,
        }
        if uri is None:
            return open_features(paths[row.slide_id], **given)  # type: ignore[arg-type]
        return open_staged(facts[row.slide_id], objects or ObjectCache(), **given)

    rows = [row for row in table.rows if row.slide_id in paths]
    for row, file in zip(rows, _each(opened, rows, many=uri is not None), strict=True):
        file.check_any_tile()
        if file.slide_id != row.slide_id:
            raise StoreError(
                f"{paths[row.slide_id]} says that it is about slide {file.slide_id!r}",
                expected=f"slide {row.slide_id!r}, by its name",
                remedy="give the file its old name back, or make it again",
            )
        if file.layout == "slidenet" and uri is None:
            check_tiles_of(file.path)
        files[row.slide_id] = file
    check_same_identity(files)
    unused = tuple(path for slide_id, path in paths.items() if slide_id not in table.index)
    return BagFiles(Path(folder), files, missing, unused)


def _each(
    opened: Callable[[SlideRow], FeatureFile], rows: Sequence[SlideRow], *, many: bool
) -> Iterator[FeatureFile]:
    """The file of each slide; several are fetched at a time from a store."""
    if not many:
        yield from map(opened, rows)
        return
    with ThreadPoolExecutor(FETCHED_AT_A_TIME) as pool:
        ahead = [pool.submit(opened, row) for row in rows]
        try:
            bar = tqdm(ahead, desc="fetch features", unit=" files", leave=False, disable=None)
            for one in bar:
                yield one.result()
        finally:
            for one in ahead:
                one.cancel()


def check_same_identity(files: Mapping[str, FeatureFile]) -> None:
    """Refuses files that cannot be learned from together.

    Raises:
        StoreError: Features of another length than those of the first file.
        IdentityMismatchError: Features made in another way than those of the first file.
    """
    first = next(iter(files.values()))
    identity = first.cohort_identity
    for file in files.values():
        if file.feature_dim != first.feature_dim:
            raise StoreError(
                f"{first.path} holds features of length {first.feature_dim}, "
                f"{file.path} of length {file.feature_dim}",
                expected="one tile encoder for all slides",
                remedy="make the features of one of them again",
            )
        if file.cohort_identity != identity:
            difference = describe_difference(identity, file.cohort_identity)
            raise IdentityMismatchError(
                f"{first.path} and {file.path} were made in different ways ({difference})",
                expected="one tile encoder, tile size and resolution for all slides",
                remedy="make the features of one of them again, or train on one kind at a time",
            )


def _files_in(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for suffix in reversed(FEATURE_SUFFIXES):
        paths = folder.glob(f"*{suffix}")
        found |= {p.stem: p for p in paths if p.is_file() and not p.name.startswith(".")}
    return dict(sorted(found.items()))


def _spelled_otherwise(
    missing: Iterable[str], table: LabelTable, paths: Mapping[str, Path]
) -> dict[str, str]:
    """Files without a row that slides without a file may mean: other zeros, case, an ending."""
    free: dict[str, list[str]] = {}
    for name in paths:
        if name not in table.index:
            free.setdefault(id_spelling(as_drawn(name), file_name=True), []).append(name)
    found = {}
    for slide_id in missing:
        names = free.get(id_spelling(as_drawn(slide_id), file_name=True), [])
        if not names:  # TCGA's files go on with an identifier of the file
            names = [name for key in free for name in free[key] if name.startswith(f"{slide_id}.")]
        if len(names) == 1:
            found[slide_id] = names[0]
    return found


def _missing_error(
    table: LabelTable, folder: Path, missing: Mapping[str, str], paths: Mapping[str, Path]
) -> StoreError:
    rows = name_some(table.lines[table.index[slide_id]] for slide_id in missing)
    meant = _spelled_otherwise(missing, table, paths)
    remedies = []
    if meant:
        first = next(iter(meant))
        remedies.append(
            f"write slide_ids as the files are named ({first!r} as {meant[first]!r}"
            + (f", and {len(meant) - 1} more" if len(meant) > 1 else "")
            + "; spreadsheets drop leading zeros unless the column is text)"
        )
    if len(meant) < len(missing):
        remedies.append("make their features")
        if len(missing) < len(table):
            remedies.append("leave such slides out with --data.allow-missing")
    return StoreError(
        f"{folder} has no features of {len(missing)} of {len(table)} slides: {name_some(missing)} "
        f"({table.path}, column 'slide_id', rows {rows})",
        expected=f"files named by slide_id, as {next(iter(paths)) + '.h5'!r} is there",
        remedy=", or ".join(remedies),
    )
