"""A folder of tile images, written tile by tile, so that a killed export goes on where it was.

`tiles.json` is written first and says that the export has not ended; each image gets its name when
it is whole; `tiles.csv` and the final `tiles.json` come last.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slidenet.core.errors import IdentityMismatchError, OutputError
from slidenet.core.provenance import Identity, describe_difference
from slidenet.slides.tile_images.record import FORMAT, RECORD_NAME, TileFolderRecord
from slidenet.stores.atomic import atomic_path, output_errors, write_json
from slidenet.stores.claims import refuse_if_lost
from slidenet.stores.csv_writing import csv_text
from slidenet.stores.temporary import temporary_path
from slidenet.stores.tile_images.encoding import SUFFIXES

TABLE_NAME = "tiles.csv"
_IMAGES = tuple(SUFFIXES.values())


class TileFolder:
    """One folder of tile images.

    Args:
        folder: Where they go; made where it is missing.
        record: How the tiles lie; its number of tiles is what is left when it is finished.
        identity: What decides the pixels: an export of another identity is not gone on with.
        slide: slide_id, for messages.
        overwrite: Remove the images of an export of another identity.

    Attributes:
        complete: Whether an earlier run of this identity has finished it, and all is still there.
        num_tiles: Images that were there before.
        num_unreadable: Tiles that could not be read when it was finished; None where it is not, or
            was so by an older version. What else is missing has no bytes in the slide.

    Raises:
        IdentityMismatchError: It holds an export of another identity.
        OutputError: It holds files that are no export, or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        record: TileFolderRecord,
        identity: Identity,
        *,
        slide: str,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.complete, self.num_tiles = folder, False, 0
        self.num_unreadable: int | None = None
        self._record, self._identity, self._slide = record, identity, slide
        self._there: set[str] = set()
        found, difference = self._found(), ""
        if found is not None:
            known = found.get("identity")
            difference = describe_difference(known if isinstance(known, dict) else {}, identity)
            if difference and not overwrite:
                raise IdentityMismatchError(
                    f"{folder} holds tiles exported with other settings or of another slide "
                    f"({difference})",
                    remedy="choose another folder (--to), or pass --overwrite to replace them",
                    slide=slide,
                )
            if difference or overwrite:
                self._remove()
        with output_errors(folder, slide=slide):
            folder.mkdir(parents=True, exist_ok=True)
            self._there = set(os.listdir(folder))
        if found is not None and not (difference or overwrite):
            self.num_tiles = sum(name.endswith(_IMAGES) for name in self._there)
            whole = found.get("complete") is True and found.get("num_tiles") == self.num_tiles
            self.complete = whole and TABLE_NAME in self._there
            if self.complete and isinstance(found.get("num_unreadable"), int):
                self.num_unreadable = found["num_unreadable"]
        if not self.complete:
            self._write_record(complete=False)

    def holds(self, name: str) -> bool:
        """Whether an image was written before."""
        return name in self._there

    def write(self, name: str, data: bytes) -> None:
        """Writes one image, whole or not at all.

        Raises:
            OutputError: The disk is full, or the folder can no longer be written.
            LostClaim: Another process has taken over.
        """
        refuse_if_lost()
        path = self.folder / name
        temporary = temporary_path(path)
        with output_errors(path, slide=self._slide):
            temporary.write_bytes(data)  # not synced: 10^5 tiles would take hours
            os.replace(temporary, path)
        self._there.add(name)

    def finish(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        num_unreadable: int | None = None,
    ) -> None:
        """Says where each tile lies, and that all of them are there.

        Args:
            header: Names of the columns; the first is that of the files.
            rows: One per tile.
            num_unreadable: Tiles left out because they could not be read; None where all are there.
        """
        self.num_unreadable = num_unreadable
        with atomic_path(self.folder / TABLE_NAME, slide=self._slide) as temporary:
            temporary.write_text(csv_text(header, rows), encoding="utf-8", newline="")
        self._record = replace(self._record, num_tiles=len(rows))
        self._write_record(complete=True)

    def _write_record(self, *, complete: bool) -> None:
        content = replace(self._record, complete=complete).content()
        own: dict[str, Any] = {"slide_id": self._slide, "identity": self._identity}
        if complete and self.num_unreadable is not None:
            own["num_unreadable"] = self.num_unreadable
        write_json(self.folder / RECORD_NAME, {**content, **own})

    def _found(self) -> Mapping[str, Any] | None:
        """What an earlier export says of the folder; None for one that is new or empty."""
        path = self.folder / RECORD_NAME
        if not self.folder.is_dir():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if isinstance(found, Mapping) and found.get("format") == FORMAT:
            return found
        if any(not name.startswith(".") for name in os.listdir(self.folder)):
            raise OutputError(
                f"{self.folder} holds files, and no {RECORD_NAME} of an export",
                expected="a new folder, or one of `slidenet export-tiles`",
                remedy="choose another folder (--to)",
                slide=self._slide,
            )
        return None

    def _remove(self) -> None:
        with output_errors(self.folder, slide=self._slide):
            for name in os.listdir(self.folder):
                if name.endswith((*_IMAGES, ".tmp")) or name in (TABLE_NAME, RECORD_NAME):
                    (self.folder / name).unlink()
