"""`slidenet export-tiles`: the tiles of every slide as image files or WebDataset shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.checks import check_positive
from slidenet.core.errors import ConfigError, SlideError
from slidenet.core.records import SlideRow, TileSet
from slidenet.core.text import name_some
from slidenet.pipelines.begun.origins import origin_of
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.planned import planned_tiles
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.exporting.images import PartExport
from slidenet.pipelines.exporting.parts import Part, parts_of, rows_in
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.settings import ExportTilesSettings, settings_with
from slidenet.stores import check_output_folder
from slidenet.stores.tile_images.encoding import check_encoding


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
    given to `slidenet preprocess` as a slide. Tiles that cannot be read are left out and counted,
    and read again by the next run. A killed export goes on where it was.

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
        parts = self._parts(tile_set)
        ends = [
            PartExport(row, tile_set, part, self.settings, self.overwrite, progress).write()
            for part in parts
        ]
        written, skipped, lost = (sum(end[i] for end in ends) for i in (0, 1, 2))
        detail = f"{written} tiles"
        if self.settings.by_region:
            counts = (f"{end.num_tiles} {part.name}" for end, part in zip(ends, parts, strict=True))
            detail += f" ({', '.join(counts)})"
        asked, regions = self.settings.region_classes or (), tile_set.regions
        without = [name for name in asked if regions and not len(rows_in(regions, name))]
        if without:  # misspelt, or lawfully on other slides only
            detail += f"; no tile lies in {name_some(without)}"
        if skipped:
            detail += f"; warning: {skipped} tiles cannot be read and were left out"
        return SlideResult(
            self.folder,
            detail,
            written,
            num_unreadable=lost,
            already_done=all(end.already for end in ends),
        )

    def _parts(self, tile_set: TileSet) -> list[Part]:
        source = self.layout.tiles(tile_set.slide_id)
        return list(parts_of(tile_set, self.settings, self.folder, source))
