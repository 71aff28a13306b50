"""The tiles of one slide as images: read on, read again, and counted where they are lost."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from slidenet.core import status
from slidenet.core.arrays import IntArray, UInt8Array
from slidenet.core.errors import SlideTimeoutError, UnreadableSlideError
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow, TileSet
from slidenet.pipelines.cohort.loss import check_loss
from slidenet.pipelines.cohort.planned import open_planned
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.exporting.parts import Part
from slidenet.pipelines.settings import ExportTilesSettings
from slidenet.slides import none_readable, read_tiles
from slidenet.slides.tile_images.record import TileFolderRecord
from slidenet.stores.tile_images.encoding import SUFFIXES, encode_tile
from slidenet.stores.tile_images.folder import TileFolder
from slidenet.stores.tile_images.shards import TileShards

BATCH_TILES = 64
NUM_READERS = 4


class Exported(NamedTuple):
    """What there is of a part.

    Attributes:
        num_tiles: Tiles written, now or before.
        num_skipped: Tiles left out.
        num_unreadable: How many of these could not be read.
        already: Whether nothing had to be written.
    """

    num_tiles: int
    num_skipped: int
    num_unreadable: int
    already: bool


class _Image(NamedTuple):
    """One tile: its place among those asked for, its bytes, and what became of it."""

    place: int
    data: bytes | None
    code: int


@dataclass
class PartExport:
    """Writes one part of the tiles of a slide.

    Tiles that cannot be read are left out, within bounds; a later run reads only them again.

    Attributes:
        row: The slide.
        tile_set: Its tiles.
        part: Which of them.
        settings: How they are written.
        overwrite: Whether what was exported with other settings is replaced.
        progress: Told of tiles.
        reason: Why the first tile that could not be read could not.
    """

    row: SlideRow
    tile_set: TileSet
    part: Part
    settings: ExportTilesSettings
    overwrite: bool
    progress: Progress
    reason: str | None = field(default=None, init=False)

    def write(self) -> Exported:
        """Writes what is not there yet.

        Raises:
            UnreadableSlideError: More tiles are lost than may be, or none can be read.
        """
        return self._write_shards() if self.settings.shards else self._write_folder()

    def _write_folder(self) -> Exported:
        geometry, rows = self.tile_set.geometry, self.part.rows
        record = TileFolderRecord(
            slide_mpp=geometry.slide_mpp.value,
            tile_mpp=geometry.target_mpp,
            tile_size_px=geometry.tile_size_px,
            stride_px=geometry.stride_px,
            level0_width=geometry.level0_width,
            level0_height=geometry.level0_height,
            num_tiles=max(1, len(rows)),
            stride_guessed=self.tile_set.identity.get("stride_px", 0) is None,
        )
        target = TileFolder(
            self.part.folder / self.row.slide_id,
            record,
            self._identity(),
            slide=self.row.slide_id,
            overwrite=self.overwrite,
        )
        names = [self._name(row) for row in rows]
        missing = np.flatnonzero([not target.holds(name) for name in names])
        self.progress.advance(len(names) - len(missing), done_before=True)
        lost, read = 0, 0
        if target.complete and target.num_unreadable == 0:
            missing = missing[:0]  # nothing is stored for them
        ask = self._again if target.complete else self._images
        for image in ask(rows[missing]):
            if image.data is not None:
                target.write(names[missing[image.place]], image.data)
                read += 1
            elif image.code == status.UNREADABLE:
                lost += 1
                self._check(lost)
        kept = [number for number, name in enumerate(names) if target.holds(name)]
        if not kept:
            raise none_readable(len(names), self.reason, slide=self.row.slide_id)
        already = target.complete and not read
        num_skipped = len(names) - len(kept)
        if not already:
            lines = [[names[number], *self._facts(rows[number]).values()] for number in kept]
            target.finish(["tile", *self._facts(rows[0])], lines, lost if num_skipped else None)
        return Exported(len(kept), num_skipped, lost, already)

    def _write_shards(self) -> Exported:
        shards = self._shards(overwrite=self.overwrite)
        if not shards.complete and shards.num_unreadable != 0:
            shards = self._shards(overwrite=True)  # whole shards lack what may be read now
        already = shards.complete
        self.progress.advance(shards.next_row, done_before=True)
        if not already:
            rest = self.part.rows[shards.next_row :]
            for image in self._images(rest):
                if image.data is None:
                    shards.skip(unreadable=image.code == status.UNREADABLE)
                    self._check(shards.num_unreadable or 0)
                else:
                    shards.add(
                        self._name(rest[image.place]), image.data, self._of(rest[image.place])
                    )
            if shards.is_empty:
                raise none_readable(len(self.part.rows), self.reason, slide=self.row.slide_id)
            shards.finish()
        lost = shards.num_unreadable
        if already and shards.num_skipped and lost != 0:
            shards, lost, already = self._mended(shards)
            self._check(lost)
        return Exported(shards.num_tiles, shards.num_skipped, lost or 0, already)

    def _mended(self, shards: TileShards) -> tuple[TileShards, int, bool]:
        """Reads what the shards lack again, and makes them anew where any of it can be read.

        Returns:
            The shards, how many tiles still cannot be read, and whether all stayed as it was.
        """
        names = [self._name(row) for row in self.part.rows]
        there = {name for name, _ in shards.images()}
        missing = np.flatnonzero([name not in there for name in names])
        images = {missing[one.place]: one for one in self._again(self.part.rows[missing])}
        lost = sum(one.code == status.UNREADABLE for one in images.values())
        if all(one.data is None for one in images.values()):
            return shards, lost, True
        folder = self.part.folder / f".{self.row.slide_id}.mended"
        shutil.rmtree(folder, ignore_errors=True)
        new, kept = self._shards(folder), shards.images()
        for number, (name, row) in enumerate(zip(names, self.part.rows, strict=True)):
            image = images.get(number)
            data = next(kept)[1] if image is None else image.data
            if data is not None:
                new.add(name, data, self._of(row))
            else:
                new.skip(unreadable=image is not None and image.code == status.UNREADABLE)
        new.finish()
        shards.become(new)
        return self._shards(), lost, False

    def _shards(self, folder: Any = None, *, overwrite: bool = False) -> TileShards:
        return TileShards(
            self.part.folder if folder is None else folder,
            self.row.slide_id,
            {**self._identity(), "shard_mb": self.settings.shard_mb},
            max_bytes=round(self.settings.shard_mb * 1e6),
            overwrite=overwrite,
        )

    def _images(self, rows: IntArray) -> Iterator[_Image]:
        """Images of some tiles, in order."""
        settings = self.settings

        def encode(tile: UInt8Array) -> bytes:
            return encode_tile(tile, settings.image_format, settings.quality)

        if not len(rows):
            return
        with (
            open_planned(self.row, self.tile_set, settings.reader, settings.how_to_open()) as slide,
            ThreadPoolExecutor(NUM_READERS, thread_name_prefix="tile-writer") as threads,
            closing(
                read_tiles(
                    slide,
                    self.tile_set.geometry,
                    self.tile_set.coords[rows],
                    batch_size=BATCH_TILES,
                    num_readers=NUM_READERS,
                )
            ) as batches,
        ):
            for batch in batches:
                self.reason = self.reason or batch.reason
                read = batch.status == status.OK
                images = iter(list(threads.map(encode, batch.pixels[read])))
                for number, code in enumerate(batch.status.tolist()):
                    data = next(images) if code == status.OK else None
                    yield _Image(batch.start + number, data, code)
                self.progress.advance(len(read))

    def _again(self, rows: IntArray) -> list[_Image]:
        """What a finished export lacks, read again; unreadable where the slide is put away."""
        try:
            return list(self._images(rows))
        except (UnreadableSlideError, SlideTimeoutError) as error:
            self.reason = self.reason or error.found
            return [_Image(place, None, status.UNREADABLE) for place in range(len(rows))]

    def _check(self, num_unreadable: int) -> None:
        check_loss(
            num_unreadable,
            len(self.part.rows),
            self.settings.max_unreadable,
            self.reason,
            slide=self.row.slide_id,
        )

    def _name(self, row: int) -> str:
        x, y = self.tile_set.coords[row].tolist()
        return f"{x}_{y}{SUFFIXES[self.settings.image_format]}"

    def _of(self, row: int) -> dict[str, Any]:
        """What the JSON file of a tile says."""
        geometry, slide = self.tile_set.geometry, self.row
        return {
            "slide_id": slide.slide_id,
            **({} if slide.patient_id is None else {"patient_id": slide.patient_id}),
            "tile_size_px": geometry.tile_size_px,
            "target_mpp": float(geometry.target_mpp),
            "slide_mpp": float(geometry.slide_mpp.value),
            **self._facts(row),
        }

    def _facts(self, number: int) -> dict[str, Any]:
        """What is known of one tile: its place, its tissue and its region."""
        x, y = (int(value) for value in self.tile_set.coords[number])
        facts: dict[str, Any] = {
            "x": x,
            "y": y,
            "tissue_fraction": round(float(self.tile_set.tissue_fraction[number]), 4),
        }
        if self.tile_set.regions is not None:
            regions = self.tile_set.regions
            facts["region"] = regions.names[int(regions.index[number])]
            facts["region_share"] = float(f"{regions.share[number]:.4g}")  # never 0
        return facts

    def _identity(self) -> Identity:
        """What decides the images, and which there are."""
        tile_set, part, settings = self.tile_set, self.part, self.settings
        return {
            "tiles": tile_set.identity,
            "fingerprint": tile_set.fingerprint,
            "image_format": settings.image_format,
            **({"quality": settings.quality} if settings.image_format == "jpeg" else {}),
            "region_classes": sorted(set(settings.region_classes))
            if settings.region_classes
            else None,
            **({"region": part.name} if settings.by_region else {}),
        }
