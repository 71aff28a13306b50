"""`slidenet export-tiles`: the tiles of every slide as image files or WebDataset shards."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core import status
from slidenet.core.arrays import IntArray, UInt8Array
from slidenet.core.checks import check_positive
from slidenet.core.errors import ConfigError, SlideError, StoreError
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow, TileRegions, TileSet
from slidenet.core.text import name_some
from slidenet.pipelines.begun.origins import origin_of
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.planned import open_planned, planned_tiles
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.settings import ExportTilesSettings, settings_with
from slidenet.slides import Slide, none_readable, read_tiles
from slidenet.slides.tile_images.record import TileFolderRecord
from slidenet.stores import check_output_folder
from slidenet.stores.manifest.slide_ids import name_for_file
from slidenet.stores.tile_images.encoding import SUFFIXES, check_encoding, encode_tile
from slidenet.stores.tile_images.folder import TileFolder
from slidenet.stores.tile_images.shards import TileShards

BATCH_TILES = 64
NUM_READERS = 4


def export_tiles(
    slides: Slides,
    out: str | Path,
    settings: ExportTilesSettings | None = None,
    *,
    to: str | Path | None = None,
    overwrite: bool = False,
    recursive: bool = False,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> RunReport:
    """Write the tiles of every preprocessed slide as images or WebDataset shards.

    A folder per slide holds {x}_{y}.png (level-0 pixels), tiles.csv and tiles.json, and can be
    given to `slidenet preprocess` as a slide. Tiles that cannot be read are left out and counted. A
    killed export goes on where it was.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder of `slidenet preprocess`.
        settings: Which tiles, and how they are written.
        to: Where they are written; default: tile_images/ in the output folder.
        overwrite: Replace what was exported with other settings.
        recursive: Of a folder of slides, take those of its subfolders, too.
        fleet: Which of the slides this call takes.
        runner: Who does the work.
        **keywords: Fields of `ExportTilesSettings`.
    """
    settings = settings_with(ExportTilesSettings, settings, keywords)
    settings.how_to_open()
    check_encoding(settings.image_format, settings.quality)
    check_positive(shard_mb=settings.shard_mb)
    classes = settings.region_classes
    if isinstance(classes, str) or (classes is not None and not classes):
        raise ConfigError(f"region_classes is {classes!r}", expected="a list of names, or none")
    rows = rows_of(slides, reader=settings.reader, recursive=recursive)
    layout = OutputLayout(check_output_folder(out))
    folder = check_output_folder(layout.tile_images if to is None else to)
    work = ExportTilesWork(layout, folder, settings, overwrite)
    return run_cohort("export-tiles", rows, work, settings=[settings], fleet=fleet, runner=runner)


@dataclass(frozen=True)
class ExportTilesWork(SlideWork):
    """Writes the tiles of one slide.

    Attributes:
        layout: Paths of the output folder.
        folder: Where tiles are written.
        settings: Which tiles, and how.
        overwrite: Whether what was exported with other settings is replaced.
    """

    unit = "tile"
    layout: OutputLayout
    folder: Path
    settings: ExportTilesSettings
    overwrite: bool = False

    def count(self, row: SlideRow) -> int:
        """Tiles of a slide that are to be written."""
        if self.settings.region_classes is None and not self.settings.by_region:
            return origin_of(self.layout.tiles(row.slide_id)).num_tiles
        tile_set = planned_tiles(self.layout, row, self.settings.reader)
        return sum(len(part.rows) for part in self._parts(tile_set))

    def claimed(self, row: SlideRow) -> Path:
        """The folder of the slide, or the like-named beginning of its shards."""
        return self.folder / row.slide_id

    @property
    def time_limit_s(self) -> float | None:
        """See `SlideWork`."""
        return self.settings.slide_timeout

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Writes what is not there yet."""
        tile_set = planned_tiles(self.layout, row, self.settings.reader)
        if not tile_set.geometry.placed:
            raise SlideError(
                "its tile images have no places, and export-tiles writes places into the names",
                expected="tiles with places",
                remedy="use the images themselves, which are files already",
                slide=row.slide_id,
            )
        parts = list(self._parts(tile_set))
        write = self._write_shards if self.settings.shards else self._write_folder
        ends = [write(row, tile_set, part, progress) for part in parts]
        written, skipped = (sum(end[i] for end in ends) for i in (0, 1))
        detail = f"{written} tiles"
        if self.settings.by_region:
            counts = (f"{end[0]} {part.name}" for end, part in zip(ends, parts, strict=True))
            detail += f" ({', '.join(counts)})"
        asked, regions = self.settings.region_classes or (), tile_set.regions
        without = [name for name in asked if regions and not len(_rows_in(regions, name))]
        if without:  # misspelt, or lawfully on other slides only
            detail += f"; no tile lies in {name_some(without)}"
        if skipped:
            detail += f"; warning: {skipped} tiles cannot be read and were left out"
        return SlideResult(
            self.folder,
            detail,
            written,
            num_unreadable=skipped,
            already_done=all(already for _, _, already in ends),
        )

    def _parts(self, tile_set: TileSet) -> Iterator["Part"]:
        """The tiles that go together.

        Raises:
            StoreError: Regions were asked for, and none are recorded.
            SlideError: No tile lies in a region that was asked for.
        """
        asked, regions = self.settings.region_classes, tile_set.regions
        if asked is None and not self.settings.by_region:
            yield Part("", self.folder, np.arange(tile_set.num_tiles))
            return
        if regions is None:
            raise StoreError(
                f"{self.layout.tiles(tile_set.slide_id)} does not say in which drawn regions its "
                "tiles lie",
                expected="tiles made with --regions",
                remedy="run `slidenet preprocess --overwrite --regions FOLDER`, or leave out "
                "--region-classes and --by-region",
                slide=tile_set.slide_id,
            )
        names = regions.names if asked is None else tuple(asked)
        rows = {name: _rows_in(regions, name) for name in names}
        if not any(len(found) for found in rows.values()):
            raise SlideError(
                f"no tile lies in {name_some(names)}",
                expected=f"some of the regions of this slide: {name_some(regions.names, most=10)}",
                remedy="correct --region-classes",
                slide=tile_set.slide_id,
            )
        if not self.settings.by_region:
            yield Part("", self.folder, np.sort(np.concatenate(list(rows.values()))))
            return
        folders = _folder_names([name for name, found in rows.items() if len(found)])
        for name, folder in folders.items():
            yield Part(name, self.folder / folder, rows[name])

    def _write_folder(
        self, row: SlideRow, tile_set: TileSet, part: "Part", progress: Progress
    ) -> tuple[int, int, bool]:
        geometry, suffix = tile_set.geometry, SUFFIXES[self.settings.image_format]
        record = TileFolderRecord(
            slide_mpp=geometry.slide_mpp.value,
            tile_mpp=geometry.target_mpp,
            tile_size_px=geometry.tile_size_px,
            stride_px=geometry.stride_px,
            level0_width=geometry.level0_width,
            level0_height=geometry.level0_height,
            num_tiles=max(1, len(part.rows)),
            stride_guessed=tile_set.identity.get("stride_px", 0) is None,
        )
        target = TileFolder(
            part.folder / row.slide_id,
            record,
            self._identity(tile_set, part),
            slide=row.slide_id,
            overwrite=self.overwrite,
        )
        if target.complete:
            progress.advance(len(part.rows), done_before=True)
            return target.num_tiles, len(part.rows) - target.num_tiles, True
        names = [f"{x}_{y}{suffix}" for x, y in tile_set.coords[part.rows].tolist()]
        missing = np.array([not target.holds(name) for name in names], dtype=np.bool_)
        progress.advance(int((~missing).sum()), done_before=True)
        waiting, reason = np.flatnonzero(missing), None
        for index, data, why in self._encoded(row, tile_set, part.rows[waiting], progress):
            if data is not None:
                target.write(names[waiting[index]], data)
            reason = reason or why
        kept = [number for number, name in enumerate(names) if target.holds(name)]
        if not kept:
            raise none_readable(len(names), reason, slide=row.slide_id)
        rows = [[names[number], *_facts(tile_set, part.rows[number]).values()] for number in kept]
        target.finish(["tile", *_facts(tile_set, part.rows[0])], rows)
        return len(kept), len(names) - len(kept), False

    def _write_shards(
        self, row: SlideRow, tile_set: TileSet, part: "Part", progress: Progress
    ) -> tuple[int, int, bool]:
        shards = TileShards(
            part.folder,
            row.slide_id,
            {**self._identity(tile_set, part), "shard_mb": self.settings.shard_mb},
            max_bytes=round(self.settings.shard_mb * 1e6),
            overwrite=self.overwrite,
        )
        already = shards.complete
        progress.advance(shards.next_row, done_before=True)
        if not already:
            suffix, reason = SUFFIXES[self.settings.image_format], None
            rest = part.rows[shards.next_row :]
            of_slide = {
                "slide_id": row.slide_id,
                **({} if row.patient_id is None else {"patient_id": row.patient_id}),
                "tile_size_px": tile_set.geometry.tile_size_px,
                "target_mpp": float(tile_set.geometry.target_mpp),
                "slide_mpp": float(tile_set.geometry.slide_mpp.value),
            }
            for index, data, why in self._encoded(row, tile_set, rest, progress):
                if data is None:
                    shards.skip()
                    reason = reason or why
                    continue
                facts = _facts(tile_set, rest[index])
                shards.add(f"{facts['x']}_{facts['y']}{suffix}", data, {**of_slide, **facts})
            if shards.is_empty:
                raise none_readable(len(part.rows), reason, slide=row.slide_id)
            shards.finish()
        return shards.num_tiles, shards.num_skipped, already

    def _encoded(
        self, row: SlideRow, tile_set: TileSet, rows: IntArray, progress: Progress
    ) -> Iterator[tuple[int, bytes | None, str | None]]:
        """Index in `rows`, bytes of the image (None where it cannot be read) and why not."""
        settings = self.settings

        def encode(tile: UInt8Array) -> bytes:
            return encode_tile(tile, settings.image_format, settings.quality)

        if not len(rows):
            return
        how = settings.how_to_open()
        with (
            open_planned(row, tile_set, settings.reader, how) as slide,
            ThreadPoolExecutor(NUM_READERS, thread_name_prefix="tile-writer") as threads,
            closing(_read(slide, tile_set, rows)) as batches,
        ):
            for batch in batches:
                read = batch.status == status.OK
                images = iter(list(threads.map(encode, batch.pixels[read])))
                for number, good in enumerate(read.tolist()):
                    yield (
                        batch.start + number,
                        next(images) if good else None,
                        None if good else batch.reason,
                    )
                progress.advance(len(read))

    def _identity(self, tile_set: TileSet, part: "Part") -> Identity:
        """What decides the images, and which there are."""
        settings = self.settings
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


@dataclass(frozen=True, eq=False)
class Part:
    """Tiles of a slide that go together.

    Attributes:
        name: Of their region; "" where regions do not part them.
        folder: Where the folder or the shards of the slide go.
        rows: int64 (N,), which tiles of the tile set.
    """

    name: str
    folder: Path
    rows: IntArray


def _folder_names(regions: Sequence[str]) -> dict[str, str]:
    """Names of regions as names of folders on any disk: `Tumor: Necrosis` is `Tumor_ Necrosis`.

    Raises:
        ConfigError: Two become the same.
    """
    names: dict[str, str] = {}
    for region in regions:
        name = name_for_file(region)
        same = [other for other, there in names.items() if there.casefold() == name.casefold()]
        if same:
            raise ConfigError(
                f"the regions {same[0]!r} and {region!r} would share the folder {name!r}",
                expected="names that differ in letters and digits",
                remedy="export them one at a time with --region-classes, or leave out --by-region",
            )
        names[region] = name
    return names


def _rows_in(regions: TileRegions, name: str) -> IntArray:
    if name not in regions.names:
        return np.empty(0, np.int64)
    return np.flatnonzero(regions.index == regions.names.index(name))


def _read(slide: Slide, tile_set: TileSet, rows: IntArray) -> Any:
    return read_tiles(
        slide,
        tile_set.geometry,
        tile_set.coords[rows],
        batch_size=BATCH_TILES,
        num_readers=NUM_READERS,
    )


def _facts(tile_set: TileSet, number: int) -> dict[str, Any]:
    """What is known of one tile: its place, its tissue and its region."""
    x, y = (int(value) for value in tile_set.coords[number])
    facts: dict[str, Any] = {
        "x": x,
        "y": y,
        "tissue_fraction": round(float(tile_set.tissue_fraction[number]), 4),
    }
    if tile_set.regions is not None:
        regions = tile_set.regions
        facts["region"] = regions.names[int(regions.index[number])]
        facts["region_share"] = float(f"{regions.share[number]:.4g}")  # never 0
    return facts
