"""`slidenet preprocess`: find the tissue of every slide and cut it into tiles."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from slidenet.core.arrays import IntArray
from slidenet.core.errors import EmptyTissueError, PixelReadError
from slidenet.core.records import BLENDED_READING, SlideRow, TileGeometry, TileSet
from slidenet.pipelines.begun.origins import remember_origins
from slidenet.pipelines.begun.reading import reading_of_folder
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.loss import check_loss
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import (
    Slides,
    check_tile_folders,
    check_tile_resolutions,
    rows_of,
)
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.known import as_staged, tiles_of_version
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.objects.staging import slide_file
from slidenet.pipelines.settings import PreprocessSettings, settings_with
from slidenet.pipelines.tissue.contact_sheet import describe_tissue
from slidenet.pipelines.tissue.drawn import (
    check_not_overwritten,
    drawn_out_of_slide,
    exclusion_notes,
    notes_on_regions,
    region_notes,
    regions_of_slide,
)
from slidenet.pipelines.tissue.record import TissueRecord, look_at
from slidenet.pipelines.tissue.segmenter import settings_of_folder
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides import (
    FLUORESCENCE,
    Slide,
    damage_note,
    illumination_of,
    mark_places,
    open_slide,
    resolution_notes,
)
from slidenet.slides.geometry import LEAST_RESIDUAL_PX
from slidenet.stores import (
    check_output_folder,
    existing_output,
    read_tile_set,
    write_tile_set,
)
from slidenet.stores.atomic import atomic_path
from slidenet.stores.objects import is_uri
from slidenet.tiling import choose_tiles
from slidenet.tissue import (
    ChosenRegions,
    DrawnOut,
    Tissue,
    find_tissue,
    qupath_origin,
    take_off,
    tissue_polygons,
    write_geojson,
)
from slidenet.visualisation import draw_regions, tissue_overlay

JPEG_QUALITY = 88
OVERLAY_SIDE_PX = 1600


@to_buckets
def preprocess(
    slides: Slides,
    out: str | Path,
    settings: PreprocessSettings | None = None,
    *,
    overwrite: bool = False,
    recursive: bool = False,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> RunReport:
    """Find tissue on every slide and cut it into tiles.

    Writes `tiles/`, `tissue/` (GeoJSON for QuPath, and what was dropped), `overlays/` (pictures,
    and index.html with all of them) and `tissue.csv` (the most doubtful slide first) under `out`.
    Slides already done with the same settings are skipped, unless places of them could not be read.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder.
        settings: How tissue is found and cut into tiles.
        overwrite: Replace outputs made with other settings.
        recursive: Of a folder of slides, take those of its subfolders, too.
        fleet: Which of the slides this call takes.
        runner: Who does the work.
        **keywords: Fields of `PreprocessSettings`.
    """
    settings = settings_with(PreprocessSettings, settings, keywords)
    rows = rows_of(slides, reader=settings.reader, recursive=recursive)
    check_tile_folders(rows, settings.declared_tiles())
    check_tile_resolutions(rows, settings.declared_tiles, settings.mpp)
    layout, named = OutputLayout(Path(out)), settings.segmenter is not None
    settings = settings_of_folder(settings, layout, rows, overwrite=overwrite)
    Tiler.of(settings)
    check_output_folder(out)
    check_not_overwritten(settings, layout)
    reading = reading_of_folder(layout, rows, settings.reading, overwrite=overwrite)
    tiler = Tiler.of(replace(settings, reading=reading), named=named)
    work = PreprocessWork(layout, tiler, overwrite)
    try:
        report = run_cohort(
            "preprocess", rows, work, settings=[tiler.settings], fleet=fleet, runner=runner
        )
    finally:  # also of what was done before an interrupt
        records, notes = describe_tissue(layout)
        remember_origins(layout)
    done = {outcome.slide_id for outcome in report.outcomes if outcome.is_done}
    doubtful = look_at([record for record in records if record.slide_id in done])
    if doubtful:
        where = f"{layout.tissue_table} lists all by doubt, {layout.contact_sheet} shows them"
        notes.append(f"{doubtful}; {where}")
    notes += exclusion_notes(settings, rows)
    notes += region_notes(tiler.settings, report.outcomes)
    return replace(report, notes=(*report.notes, *notes))


def _notes(slide: Slide, geometry: TileGeometry) -> list[str]:
    """What a user should know about the resolution and the level of the tiles."""
    if slide.cut_tiles is not None:
        return list(slide.cut_tiles.notes)
    notes = list(resolution_notes(slide.properties, geometry.slide_mpp, vendor=slide.vendor))
    residual = slide.level_residuals[geometry.level]
    if geometry.reading != BLENDED_READING and residual > LEAST_RESIDUAL_PX:
        notes.append(
            f"its reader gives level {geometry.level} up to {residual:.2f} px off whole pixels, "
            "so blended"
        )
    return notes


def _by_region(tile_set: TileSet) -> dict[str, int] | None:
    """How many tiles lie in each region, for what is said of the cohort; None without regions."""
    return None if tile_set.regions is None else tile_set.regions.counts()


@dataclass(frozen=True)
class PreprocessWork(SlideWork):
    """Makes the tile set, tissue polygons and overlay of one slide.

    Attributes:
        layout: Paths of the output folder.
        tiler: How tissue is found and cut into tiles.
        overwrite: Whether outputs made with other settings are replaced.
    """

    layout: OutputLayout
    tiler: Tiler
    overwrite: bool = False

    def claimed(self, row: SlideRow) -> Path:
        """The tile set, which says that the slide is done."""
        return self.layout.tiles(row.slide_id)

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        layout, slide_id = self.layout, row.slide_id
        beside = (layout.tissue(slide_id), layout.tissue_record(slide_id), layout.overlay(slide_id))
        return (*beside, layout.tiles(slide_id))

    @property
    def time_limit_s(self) -> float | None:
        """See `SlideWork`."""
        return self.tiler.settings.slide_timeout

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Makes the files of one slide, unless they are there with the same identity."""
        path, tiler = self.layout.tiles(row.slide_id), self.tiler
        asked = tiler.settings
        digest = tiler.asked_digest(row) if is_uri(row.slide_path) else ""
        known = None if self.overwrite or not digest else tiles_of_version(path, row, digest)
        if known is not None:
            return self._already_done(path, known)
        with (
            slide_file(row) as file,
            open_slide(
                file.path,
                mpp=row.declared_mpp(asked.mpp),
                icc=asked.icc,
                reader=asked.reader,
                tiles=asked.declared_tiles(row),
                **asked.how_to_open(),
            ) as slide,
        ):
            geometry = tiler.geometry(slide)
            drawn = tiler.drawn_tissue(slide, row.slide_id)
            regions = regions_of_slide(asked, slide, row.slide_id)
            out = drawn_out_of_slide(asked, slide, row.slide_id)
            identity = tiler.identity(slide, geometry, drawn, regions, out)
            there = None
            if not self.overwrite and existing_output(path, identity, slide.fingerprint):
                there = read_tile_set(path)
            if there is not None and not there.read_again:
                if (there.object_version, there.asked_digest) != (file.version, digest):
                    write_tile_set(path, as_staged(there, file, digest))
                return self._already_done(path, there)
            try:
                tissue = drawn or find_tissue(slide, tiler.segmenter)
            except EmptyTissueError as error:
                if not path.exists():  # else the record is that of these tiles
                    self._show_nothing(slide, row.slide_id, error.found)
                raise
            if out is not None:
                tissue = take_off(tissue, out, slide)
            tile_set, counts = choose_tiles(
                slide,
                tissue,
                geometry,
                slide_id=row.slide_id,
                regions=regions,
                **tiler.choosing(slide),
            )
            notes = [*notes_on_regions(regions, tile_set), *_notes(slide, geometry)]
            record = TissueRecord.of(tissue, slide, row.slide_id)
            num_lost = len(counts.damaged)
            check_loss(
                num_lost,
                tile_set.num_tiles,
                asked.max_unreadable,
                counts.reason,
                slide=row.slide_id,
            )
            found = record.summary()
            note = f"; {found}" if found else ""
            note += tiler.said_of_cut(slide)
            note += self._write_pictures(slide, tissue, regions, out, tile_set, counts.damaged)
            record.write(self.layout.tissue_record(row.slide_id))
            missing = (slide.storage_note, damage_note(slide.unreadable_places))
            note += "".join(f"; {text}" for text in missing if text)
            # Of the pictures, too: what they could not show, a later run shows.
            read_again = tile_set.read_again or slide.overview_problem is not None
            tile_set = replace(tile_set, tissue_doubt=record.doubt, read_again=read_again)
            tile_set = as_staged(tile_set, file, digest)
        same = there is not None and there.says_the_same(tile_set)
        if not same:  # last, because this file is what says that the slide is done
            write_tile_set(path, tile_set)
        note += "".join(f"; warning: {text}" for text in notes)
        return SlideResult(
            path,
            f"{counts}{note}",
            tile_set.num_tiles,
            num_unreadable=num_lost or None,  # where no filter looked, nobody knows
            already_done=same,
            value=_by_region(tile_set),
        )

    def _already_done(self, path: Path, there: TileSet) -> SlideResult:
        detail = f"{there.num_tiles} tiles"
        if there.tissue_doubt is not None:
            detail += f"; doubt {there.tissue_doubt:.2f}"
        return SlideResult(
            path, detail, there.num_tiles, already_done=True, value=_by_region(there)
        )

    def _show_nothing(self, slide: Slide, slide_id: str, why: str) -> None:
        """Writes record and picture of a slide without tissue: the first to be looked at."""
        with suppress(PixelReadError), atomic_path(self.layout.overlay(slide_id)) as temporary:
            picture = Image.fromarray(slide.thumbnail(OVERLAY_SIDE_PX))
            picture.save(temporary, format="JPEG", quality=JPEG_QUALITY)
        record = TissueRecord.of_nothing(slide_id, self.tiler.segmenter.name, why)
        record.write(self.layout.tissue_record(slide_id))

    def _write_pictures(
        self,
        slide: Slide,
        tissue: Tissue,
        regions: ChosenRegions | None,
        out: DrawnOut | None,
        tile_set: TileSet,
        damaged: IntArray,
    ) -> str:
        """Writes GeoJSON and overlay; returns what a user should know about the picture."""
        slide_id, polygons = tile_set.slide_id, tissue_polygons(tissue)
        check_output_folder(self.layout.tissue(slide_id).parent)
        cropped = self.tiler.settings.annotation_frame == "qupath"
        if tile_set.geometry.placed:  # else nothing is an outline of a slide
            write_geojson(
                self.layout.tissue(slide_id),
                polygons,
                origin=qupath_origin(slide.properties) if cropped else (0, 0),
            )
        overview = slide.thumbnail(OVERLAY_SIDE_PX)
        level0_width = tile_set.geometry.level0_width
        drawn = tissue_overlay(
            overview,
            polygons,
            tile_set,
            level0_width=level0_width,
            unreadable=mark_places(slide.unreadable_places, (overview.shape[1], overview.shape[0])),
            unreadable_tiles=damaged,
            reasons=None if tissue.finding is None else tissue.finding.reasons,
            drawn_out=() if out is None else out.polygons,
        )
        if regions is not None:
            named = list(zip(regions.names, regions.shapes, strict=True))
            drawn = draw_regions(drawn, named, level0_width=level0_width)
        picture = Image.fromarray(drawn)
        with atomic_path(self.layout.overlay(slide_id), slide=slide_id) as temporary:
            picture.save(temporary, format="JPEG", quality=JPEG_QUALITY)
        light = illumination_of(slide, overview)
        note = "" if tile_set.geometry.placed else "; without places, so no outline for QuPath"
        return note + (f"; {light}: no brightfield" if light.kind == FLUORESCENCE else "")
