"""Tiles as shards of a WebDataset: tar files of samples, an image and a JSON file each.

Shards of a slide are SLIDE-000000.tar and so on, SLIDE.json says what they are. Nothing in a shard
depends on the clock, the user or on whether the export was interrupted.
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.core.provenance import Identity, canonical_json, describe_difference
from slidenet.stores.atomic import atomic_path, output_errors, write_json

FORMAT = "slidenet.tile_shards"
_BLOCK, _END = 512, tarfile.RECORDSIZE
_NOTHING = {"next_row": 0, "num_skipped": 0}


class TileShards:
    """The shards of one slide; a killed export goes on behind its last whole shard.

    Args:
        folder: Where they go.
        slide_id: Names them.
        identity: What decides their bytes.
        max_bytes: Largest size of a shard; a single larger sample has a shard of its own.
        overwrite: Replace shards of another identity.

    Attributes:
        complete: Whether an earlier run of this identity has finished them.
        next_row: The first tile that is in no whole shard yet.
        num_tiles: Tiles in whole shards.
        num_skipped: Tiles before `next_row` that were left out.
        num_unreadable: How many of these could not be read; others have no bytes in the slide.
            None where an older version finished them and does not say.

    Raises:
        IdentityMismatchError: There are shards of this slide of another identity.
        StoreError: What says so is damaged.
    """

    def __init__(
        self,
        folder: Path,
        slide_id: str,
        identity: Identity,
        *,
        max_bytes: int,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.slide_id, self._identity = folder, slide_id, identity
        self._max_bytes = max_bytes
        self.complete, self.next_row, self.num_tiles, self.num_skipped = False, 0, 0, 0
        self.num_unreadable: int | None = 0
        self._shards: list[dict[str, Any]] = []
        found = self._found()
        if found is not None:
            difference = describe_difference(found["identity"], identity)
            if difference and not overwrite:
                raise IdentityMismatchError(
                    f"{self.index} says that the shards were made with other settings or of "
                    f"another slide ({difference})",
                    remedy="choose another folder (--to), or pass --overwrite to replace them",
                    slide=slide_id,
                )
            if difference or overwrite:
                self._remove(found["shards"])
            else:
                there = [(folder / str(shard["name"])).is_file() for shard in found["shards"]]
                self._shards = found["shards"][: [*there, False].index(False)]
                self.complete = found["complete"] and all(there)
                self.num_tiles = sum(shard["num_tiles"] for shard in self._shards)
                last = found if self.complete else (self._shards or [_NOTHING])[-1]
                self.next_row, self.num_skipped = last["next_row"], last["num_skipped"]
                self.num_unreadable = last.get("num_unreadable") if self.num_skipped else 0
        self._samples: list[tuple[str, bytes]] = []
        self._bytes, self._row = _END, self.next_row

    @property
    def index(self) -> Path:
        """What says which shards there are."""
        return self.folder / f"{self.slide_id}.json"

    @property
    def is_empty(self) -> bool:
        """Whether no tile was added, now or before."""
        return not self._samples and not self.num_tiles

    def add(self, name: str, data: bytes, facts: dict[str, Any]) -> None:
        """Adds the next tile.

        Args:
            name: Of the image file, without folder.
            data: Its bytes.
            facts: What its JSON file says.
        """
        stem, _, _ = name.partition(".")
        files = [
            (f"{self.slide_id}/{stem}.json", canonical_json(facts).encode()),
            (f"{self.slide_id}/{name}", data),
        ]
        size = sum(_size_in_tar(path, content) for path, content in files)
        if self._samples and self._bytes + size > self._max_bytes:
            self._write_shard()
        self._samples += files
        self._bytes += size
        self._row += 1

    def skip(self, *, unreadable: bool) -> None:
        """Leaves out the next tile, which cannot be read, or nothing is stored for."""
        self._row += 1
        self.num_skipped += 1
        if unreadable and self.num_unreadable is not None:
            self.num_unreadable += 1

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of every image of the shards, in order.

        Raises:
            StoreError: A shard is damaged.
        """
        for shard in self._shards:
            path = self.folder / shard["name"]
            try:
                with tarfile.open(path) as tar:
                    for member in tar:
                        content = tar.extractfile(member)
                        if content is not None and not member.name.endswith(".json"):
                            yield PurePosixPath(member.name).name, content.read()
            except (OSError, tarfile.TarError) as error:
                raise StoreError(
                    f"{path} cannot be read ({error})",
                    expected="what `slidenet export-tiles` wrote",
                    remedy="pass --overwrite to make it again",
                    slide=self.slide_id,
                ) from error

    def become(self, other: "TileShards") -> None:
        """Takes the place of these shards with those of another folder, which are finished.

        A kill on the way leaves shards that are made again from the slide.
        """
        old, self._shards, self.complete = self._shards, [], False
        self._write_index()
        with output_errors(self.folder, slide=self.slide_id):
            for shard in other._shards:
                os.replace(other.folder / shard["name"], self.folder / shard["name"])
            for shard in old[len(other._shards) :]:
                (self.folder / shard["name"]).unlink(missing_ok=True)
            os.replace(other.index, self.index)
            other.folder.rmdir()

    def finish(self) -> None:
        """Writes the last shard, and that there are no more."""
        if self._samples:
            self._write_shard()
        self.next_row, self.complete = self._row, True
        self._write_index()

    def _write_shard(self) -> None:
        name = f"{self.slide_id}-{len(self._shards):06d}.tar"
        with (
            atomic_path(self.folder / name, slide=self.slide_id) as temporary,
            tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path, content in self._samples:
                info = tarfile.TarInfo(path)  # no owner, mode 0644, time 0
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        count = len(self._samples) // 2
        self._shards.append(
            {
                "name": name,
                "num_tiles": count,
                "next_row": self._row,
                "num_skipped": self.num_skipped,
                **self._unreadable(),
            }
        )
        self.num_tiles += count
        self.next_row = self._row
        self._samples, self._bytes = [], _END
        self._write_index()

    def _write_index(self) -> None:
        write_json(
            self.index,
            {
                "format": FORMAT,
                "format_version": 1,
                "slide_id": self.slide_id,
                "identity": self._identity,
                "complete": self.complete,
                "num_tiles": self.num_tiles,
                "num_skipped": self.num_skipped,
                **self._unreadable(),
                "next_row": self.next_row,
                "shards": self._shards,
            },
        )

    def _unreadable(self) -> dict[str, int]:
        """Only where tiles are missing, as shards that are whole stay as they were."""
        if not self.num_skipped or self.num_unreadable is None:
            return {}
        return {"num_unreadable": self.num_unreadable}

    def _found(self) -> dict[str, Any] | None:
        if not self.index.is_file():
            return None
        try:
            found = json.loads(self.index.read_text(encoding="utf-8"))
            if found["format"] != FORMAT or found["format_version"] != 1:
                raise ValueError(f"format {found['format']!r}")
            content = {
                "identity": dict(found["identity"]),
                "complete": bool(found["complete"]),
                "shards": [
                    {
                        "name": f"{self.slide_id}-{number:06d}.tar",  # whatever the file says
                        **{n: int(s[n]) for n in ("num_tiles", "next_row", "num_skipped")},
                        **_count_of_unreadable(s),
                    }
                    for number, s in enumerate(found["shards"])
                ],
                **{n: int(found[n]) for n in ("next_row", "num_skipped")},
                **_count_of_unreadable(found),
            }
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{self.index} does not say which shards are beside it ({error})",
                expected="what `slidenet export-tiles` wrote",
                remedy="choose another folder (--to), or delete it",
                slide=self.slide_id,
            ) from error
        return content

    def _remove(self, shards: list[dict[str, Any]]) -> None:
        with output_errors(self.folder, slide=self.slide_id):
            for shard in shards:
                (self.folder / shard["name"]).unlink(missing_ok=True)
            self.index.unlink(missing_ok=True)


def _count_of_unreadable(entry: dict[str, Any]) -> dict[str, int]:
    """Older versions do not say it."""
    name = "num_unreadable"
    return {name: int(entry[name])} if name in entry else {}


def _size_in_tar(path: str, content: bytes) -> int:
    long = len(path.encode()) > 100 or not path.isascii()
    header = 3 * _BLOCK if long else _BLOCK
    return header + -(-len(content) // _BLOCK) * _BLOCK
