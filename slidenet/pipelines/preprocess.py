"""`slidenet preprocess`: find the tissue of every slide and cut it into tiles."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from slidenet.core.errors import ConfigError, SlideError
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow, TileGeometry, TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import Made, Progress, run_cohort
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.slides import Slide, check_tile_settings, open_slide, plan_tiles
from slidenet.stores import (
    check_output_folder,
    existing_output,
    read_manifest,
    read_tile_set,
    write_tile_set,
)
from slidenet.stores.atomic import atomic_path
from slidenet.tiling import BlankFilter, BlurFilter, PenFilter, TileFilter, choose_tiles
from slidenet.tiling import tiling_identity as full_identity
from slidenet.tissue import (
    Segmenter,
    Tissue,
    find_tissue,
    make_segmenter,
    tissue_from_geojson,
    tissue_polygons,
    write_geojson,
)
from slidenet.visualisation import tissue_overlay

JPEG_QUALITY = 88


def preprocess(
    slides: Path,
    out: Path,
    preprocess: PreprocessSettings = PreprocessSettings(),
    *,
    overwrite: bool = False,
) -> RunReport:
    """Find tissue on every slide and cut it into tiles.

    Writes `tiles/`, `tissue/` (GeoJSON for QuPath) and `overlays/` (pictures) under `out`. Slides
    already done with the same settings are skipped.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder.
        preprocess: How tissue is found and cut into tiles.
        overwrite: Replace outputs made with other settings.
    """
    rows = read_manifest(slides)
    return preprocess_rows(rows, out, preprocess, overwrite=overwrite)


def preprocess_rows(
    rows: list[SlideRow], out: Path, settings: PreprocessSettings, *, overwrite: bool = False
) -> RunReport:
    """`preprocess` for rows of a manifest already read."""
    plan = TilingPlan.of(settings)
    layout = OutputLayout(check_output_folder(out))

    def work(row: SlideRow, progress: Progress) -> Made:
        return _preprocess_slide(row, layout, plan, overwrite)

    return run_cohort("preprocess", rows, work, layout=layout, settings=[settings])


@dataclass(frozen=True, slots=True)
class TilingPlan:
    """Settings turned into the objects that do the work; built before any slide is opened.

    Attributes:
        settings: The settings.
        segmenter: What finds tissue where no GeoJSON is given.
        filters: What drops tiles.
    """

    settings: PreprocessSettings
    segmenter: Segmenter
    filters: tuple[TileFilter, ...]

    @classmethod
    def of(cls, settings: PreprocessSettings) -> "TilingPlan":
        """Builds the plan, refusing settings that contradict each other.

        Raises:
            ConfigError: A setting is out of range or does not belong to the segmenter.
        """
        _check_numbers(settings)
        areas = {"min_area_um2": settings.min_area_um2, "max_hole_um2": settings.max_hole_um2}
        given = {name: value for name, value in areas.items() if value is not None}
        segmenter = make_segmenter(settings.segmenter, **given)
        if settings.tissue_geojson is not None and not settings.tissue_geojson.is_dir():
            raise ConfigError(
                f"tissue_geojson {settings.tissue_geojson} is not a folder",
                expected="a folder holding {slide_id}.geojson for every slide",
            )
        if settings.tissue_class is not None and settings.tissue_geojson is None:
            raise ConfigError(
                f"tissue_class {settings.tissue_class!r} is given without tissue_geojson",
                expected="both, since only drawn annotations have a class",
            )
        wanted: list[tuple[bool, TileFilter]] = [
            (settings.drop_blank, BlankFilter()),
            (settings.drop_penned, PenFilter()),
            (settings.drop_blurred, BlurFilter()),
        ]
        return cls(settings, segmenter, tuple(f for switched_on, f in wanted if switched_on))

    def geometry(self, slide: Slide) -> TileGeometry:
        """How tiles lie on `slide`."""
        return plan_tiles(
            slide,
            target_mpp=self.settings.target_mpp,
            tile_size_px=self.settings.tile_size_px,
            stride_px=self.settings.stride_px,
            allow_upsampling=self.settings.allow_upsampling,
        )

    def drawn_tissue(self, slide: Slide, slide_id: str) -> Tissue | None:
        """Tissue the user drew for this slide; None when the segmenter is to find it."""
        if self.settings.tissue_geojson is None:
            return None
        path = self.settings.tissue_geojson / f"{slide_id}.geojson"
        if not path.is_file():
            raise SlideError(
                f"there is no {path}",
                expected="one GeoJSON per slide in tissue_geojson",
                remedy="export the annotations of this slide from QuPath under that name",
                slide=slide_id,
            )
        return tissue_from_geojson(slide, path, classification=self.settings.tissue_class)

    def identity(self, slide: Slide, geometry: TileGeometry, drawn: Tissue | None) -> Identity:
        """The identity the tile set will carry, before tissue is searched for."""
        return full_identity(
            geometry,
            self.segmenter.identity() if drawn is None else drawn.identity,
            icc=slide.icc_applied,
            min_tissue_fraction=self.settings.min_tissue_fraction,
            filters=self.filters,
        )


def _check_numbers(settings: PreprocessSettings) -> None:
    """Refuses once what would otherwise fail every slide of the cohort."""
    stride_px = settings.tile_size_px if settings.stride_px is None else settings.stride_px
    check_tile_settings(settings.target_mpp, settings.tile_size_px, stride_px)
    if not 0 <= settings.min_tissue_fraction <= 1:
        raise ConfigError(
            f"min_tissue_fraction is {settings.min_tissue_fraction:g}",
            expected="a share between 0 and 1",
        )


def _preprocess_slide(
    row: SlideRow, layout: OutputLayout, plan: TilingPlan, overwrite: bool
) -> Made:
    path = layout.tiles(row.slide_id)
    with open_slide(row.slide_path, mpp=row.mpp, icc=plan.settings.icc) as slide:
        geometry = plan.geometry(slide)
        drawn = plan.drawn_tissue(slide, row.slide_id)
        identity = plan.identity(slide, geometry, drawn)
        if not overwrite and existing_output(path, identity, slide.fingerprint):
            num_tiles = read_tile_set(path).num_tiles
            return Made(path, f"{num_tiles} tiles", num_tiles, already=True)
        tissue = drawn or find_tissue(slide, plan.segmenter)
        tile_set, counts = choose_tiles(
            slide,
            tissue,
            geometry,
            slide_id=row.slide_id,
            min_tissue_fraction=plan.settings.min_tissue_fraction,
            filters=plan.filters,
        )
        _write_pictures(slide, tissue, tile_set, layout)
    # Last, because this file is what says that the slide is done.
    write_tile_set(path, tile_set)
    return Made(path, str(counts), tile_set.num_tiles)


def _write_pictures(slide: Slide, tissue: Tissue, tile_set: TileSet, layout: OutputLayout) -> None:
    polygons = tissue_polygons(tissue)
    check_output_folder(layout.tissue(tile_set.slide_id).parent)
    write_geojson(layout.tissue(tile_set.slide_id), polygons)
    picture = Image.fromarray(tissue_overlay(slide, polygons, tile_set))
    with atomic_path(layout.overlay(tile_set.slide_id), slide=tile_set.slide_id) as temporary:
        picture.save(temporary, format="JPEG", quality=JPEG_QUALITY)
