"""The slides of a cohort that is named by an address: a table, a folder or one slide in a store."""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from slidenet.core.errors import ManifestError, ObjectStoreError, SlidenetError
from slidenet.core.records import SlideRow
from slidenet.slides import SCANNER_FORMATS
from slidenet.stores.manifest.entries import MAX_ENTRIES, Entries
from slidenet.stores.manifest.folders import Search, named_slides
from slidenet.stores.manifest.left_out import FolderSlides, Why
from slidenet.stores.manifest.slide_ids import check_slide_ids, id_of_place
from slidenet.stores.objects import (
    ObjectStore,
    join_uri,
    name_of_uri,
    parent_of_uri,
    shown_uri,
    store_of,
)
from slidenet.stores.objects.uri import provider_of

MAX_TABLE_BYTES = 1 << 30


def slides_of_store(
    uri: str,
    suffixes: Collection[str],
    *,
    recursive: bool,
    read_table: Callable[[Path, str], list[SlideRow]],
) -> tuple[list[SlideRow], list[str]]:
    """The slides that an address names, and what to tell of them.

    Args:
        uri: Of a table, of one slide, or of a folder; a slash at the end, which makes it one, may
            have been lost on the way through a path.
        suffixes: Name endings that make an object of a folder a slide.
        recursive: Of a folder, whether those of folders within it count, too.
        read_table: Makes rows of a copy of a table, and the address of its folder.

    Raises:
        ManifestError: It names no slides.
        ObjectStoreError: It is not there, or may not be read.
    """
    shown, name = shown_uri(uri), name_of_uri(uri).lower()
    is_slide = name.endswith((*(suffix.lower() for suffix in suffixes), *SCANNER_FORMATS))
    if not is_slide and not shown.endswith("/") and _is_folder(uri):
        uri, shown = f"{uri}/", f"{shown}/"
    if shown.endswith("/"):
        endings = tuple(suffix.lower() for suffix in suffixes)
        found = FolderSlides(shown)
        named_slides(found, endings, _StoreSearch(found, endings, recursive, uri))
        return list(found.rows), list(found.lines())
    if recursive:
        raise ManifestError(
            f"--recursive is given, and {shown} is no folder",
            expected="the address of a folder, which ends in a slash",
        )
    if is_slide:
        rows = [SlideRow(id_of_place(uri), uri)]
        check_slide_ids(rows, [shown], error=ManifestError)
        return rows, []
    return _rows_of_table(uri, read_table), []


def _is_folder(uri: str) -> bool:
    """Whether an address names no object but what others begin with."""
    if provider_of(uri) == "http":
        return False
    store = store_of(uri)
    try:
        store.facts(uri)
    except ObjectStoreError:
        return bool(store.list(f"{uri}/", recursive=False))
    return False


def _rows_of_table(uri: str, read_table: Callable[[Path, str], list[SlideRow]]) -> list[SlideRow]:
    store = store_of(uri)
    facts = store.facts(uri)
    if facts.size > MAX_TABLE_BYTES:
        raise ManifestError(
            f"{shown_uri(uri)} has {facts.size / 1e9:.1f} GB", expected="a slides.csv or a slide"
        )
    with tempfile.TemporaryDirectory(prefix="slidenet-") as folder:
        copy = Path(folder) / "slides.csv"
        store.read_into(uri, copy, facts)
        try:
            return read_table(copy, parent_of_uri(uri))
        except SlidenetError as error:
            error.found = error.found.replace(str(copy), shown_uri(uri))
            raise


class _StoreSearch(Search):
    """One walk through a folder of a store.

    Args:
        found: Is told what is left out.
        endings: That make an object a slide, in small letters.
        recursive: Whether to go into folders within it.
        uri: Its address.
    """

    def __init__(
        self, found: FolderSlides, endings: tuple[str, ...], recursive: bool, uri: str
    ) -> None:
        super().__init__(found, endings, recursive)
        self._uri, self._store = uri, store_of(uri)

    def place(self, parts: tuple[str, ...]) -> str:
        """The address of an entry."""
        return join_uri(self._uri, "/".join(parts))

    def _entries(self, parts: tuple[str, ...]) -> Entries | None:
        entries = _entries_of(self._store, f"{self.place(parts).rstrip('/')}/", self._endings)
        self._count += entries.counted
        if self._count > MAX_ENTRIES:
            raise ManifestError(
                f"{self._found.folder} holds more than {MAX_ENTRIES:,} objects",
                expected="a folder of slides",
                remedy="list the slides in a slides.csv with a column slide_path",
            )
        return self._looked_through(parts, entries)

    def _is_tile_slide(self, parts: tuple[str, ...], entries: Entries) -> bool:
        return False  # folders of tile images are read from disks only

    def _tile_folders(self, folders: list[str]) -> list[tuple[str, str]]:
        self._leave_out(Why.SUBFOLDER, (), folders)
        return []


def _entries_of(store: ObjectStore, folder: str, endings: tuple[str, ...]) -> Entries:
    """What lies in a folder of a store, as a disk would show it."""
    found = Entries()
    for facts in store.list(folder, recursive=False):
        name = name_of_uri(facts.uri)
        if facts.uri == folder or not name:
            continue  # the folder itself, as some programs write it
        found.counted += 1
        known = SCANNER_FORMATS.get(Path(name).suffix.lower())
        if name.startswith("."):
            found.left_out.setdefault(Why.HIDDEN, []).append(name)
        elif facts.uri.endswith("/"):
            found.folders.append(name)
        elif name.lower().endswith(endings):
            found.files.append(name)
        elif known is not None and not known.read:
            found.left_out.setdefault(Why.FOREIGN, []).append(f"{name} ({known.words})")
        else:
            found.others.append(name)
    return found
