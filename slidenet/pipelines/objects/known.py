"""Tiles of slides in object stores that are known to be right without reading the slide again."""

from dataclasses import replace
from pathlib import Path

from slidenet.core.errors import StoreError
from slidenet.core.records import SlideRow, TileSet
from slidenet.pipelines.objects.staging import SlideFile, version_of_slide
from slidenet.stores import read_tile_set
from slidenet.stores.h5.validate import check_name
from slidenet.stores.objects import shown_uri


def as_staged(tile_set: TileSet, file: SlideFile, asked_digest: str) -> TileSet:
    """A tile set that says on which object it was chosen; of a file, as it is."""
    if not file.uri:
        return tile_set
    return replace(
        tile_set,
        slide_path=file.uri,
        object_version=file.version,
        asked_digest=asked_digest if file.version else "",
    )


def tiles_of_version(path: Path, row: SlideRow, asked_digest: str) -> TileSet | None:
    """The tiles that were chosen on the very object that is there now, if nothing else was asked.

    The fingerprint of the slide is then that of its tiles, and nothing has to be downloaded.

    Args:
        path: Where they would lie.
        row: The slide, an object.
        asked_digest: Of what is asked for now.

    Raises:
        ObjectStoreError: The object is not there, or may not be read.
        ObjectAwayError: Its store does not answer.
    """
    try:
        there = read_tile_set(path)
        check_name(path, there.slide_id)
    except (StoreError, FileNotFoundError):
        return None  # which is told when the slide has been opened
    same = there.slide_path == shown_uri(row.slide_path) and there.asked_digest == asked_digest
    if not same or there.read_again or not there.object_version:
        return None
    return there if version_of_slide(row) == there.object_version else None
