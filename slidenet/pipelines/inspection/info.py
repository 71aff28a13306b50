"""`slidenet info SLIDE`: what a slide is, and about how much tissue and how many tiles it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.errors import EmptyTissueError, MissingMppError, SlideError
from slidenet.core.records import SlideRow
from slidenet.core.text import name_some, text_table
from slidenet.core.units import Mpp, magnification
from slidenet.pipelines.objects.staging import slide_file
from slidenet.pipelines.settings import PreprocessSettings, settings_with
from slidenet.pipelines.tissue.drawn import drawn_out_of_slide, regions_of_slide
from slidenet.pipelines.tissue.record import TissueRecord
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slides import Slide, damage_note, illumination_of, open_slide, resolution_notes
from slidenet.slides.geometry import LEAST_RESIDUAL_PX
from slidenet.slides.resolution import source_in_words
from slidenet.stores.manifest.slide_ids import id_of_place
from slidenet.stores.objects import uri_of
from slidenet.tiling import grid, regions_of_tiles, tissue_fractions
from slidenet.tissue import find_tissue, qupath_origin, take_off


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """A table of facts about one slide.

    Attributes:
        rows: (what, value) pairs.
    """

    rows: Sequence[tuple[str, str]]
    exit_code: int = 0

    def table(self) -> str:
        """Two columns."""
        first, *rows = self.rows
        return text_table(first, rows, rule=False)


def info(
    slide: str | Path,
    settings: PreprocessSettings | None = None,
    **keywords: Any,
) -> SlideFacts:
    """Print a slide's format, levels and resolution, with an estimate of tissue and tiles.

    Args:
        slide: The slide file, or its address in a store (s3://, https://, ...), from where it is
            copied to ~/.cache/slidenet.
        settings: Settings the estimate is made with.
        **keywords: Fields of `PreprocessSettings`.
    """
    tiler = Tiler.of(settings_with(PreprocessSettings, settings, keywords))
    asked = tiler.settings
    where = uri_of(slide) or str(slide)
    with (
        slide_file(SlideRow(id_of_place(where), where)) as file,
        open_slide(
            file.path,
            mpp=asked.mpp,
            icc=asked.icc,
            reader=asked.reader,
            tiles=asked.declared_tiles(),
            **asked.how_to_open(),
        ) as opened,
    ):
        rows = [
            ("slide", file.uri or str(opened.path)),
            *([("version of the object", file.version)] if file.version else []),
            ("vendor", opened.vendor),
            ("reader", _reader(opened)),
            *_file_size(opened),
            ("fingerprint", opened.fingerprint),
            *_resolution(opened),
            *_bounds(opened),
            *_levels(opened),
            ("light", str(illumination_of(opened))),
            *_estimate(opened, tiler),
        ]
        rows += _missing(opened)
    return SlideFacts(rows)


def _file_size(slide: Slide) -> list[tuple[str, str]]:
    if slide.cut_tiles is not None:
        cut = slide.cut_tiles
        where = f"with places (frame {cut.frame})" if cut.placed else "without places"
        size = f"{cut.tile_size_px} px at {cut.tile_mpp:g} mpp"
        return [("tile images", f"{len(cut.coords):,} of {size}, {where}")]
    return [("file size", f"{slide.path.stat().st_size / 1e6:,.1f} MB")]


def _reader(slide: Slide) -> str:
    name, note = slide.reader_name, slide.reader_note
    if note.startswith("not "):  # which other readers do not read it, and why
        return f"{name} ({note})"
    return f"{name}: {note}" if note else name


def _missing(slide: Slide) -> list[tuple[str, str]]:
    """What of the slide cannot be had, as far as it is known when an overview was made."""
    damage = damage_note(slide.unreadable_places)
    return [
        *([("stored", slide.storage_note)] if slide.storage_note else []),
        *([("damage", damage)] if damage else []),
    ]


def _resolution(slide: Slide) -> list[tuple[str, str]]:
    width, height = slide.level_dimensions[0]
    try:
        mpp = slide.slide_mpp
    except MissingMppError as error:
        return [("size", f"{width:,} x {height:,} px"), ("mpp", f"unknown: {error}")]
    millimetres = f"{width * mpp.value / 1000:.2f} x {height * mpp.value / 1000:.2f} mm"
    source = source_in_words(mpp.source)
    notes = resolution_notes(slide.properties, mpp, vendor=slide.vendor)
    return [
        ("size", f"{width:,} x {height:,} px, {millimetres}"),
        ("mpp", f"{mpp.value:.4g} (about {magnification(mpp.value):.3g}x), {source}"),
        *(("also says", note) for note in notes),
    ]


def _bounds(slide: Slide) -> list[tuple[str, str]]:
    """What was scanned, where that is not all; QuPath shows nothing else."""
    x, y = qupath_origin(slide.properties)
    return [("bounds", f"start at ({x:,}, {y:,}), from where QuPath counts")] if x or y else []


def _levels(slide: Slide) -> list[tuple[str, str]]:
    """Each level with its downsample, and what is not right about it."""
    rows = []
    for number, level in enumerate(slide.levels):
        text = f"{level.width:,} x {level.height:,} px"
        if level.problem is not None:
            rows.append((f"level {number}", f"{text}, not used: {level.problem}"))
            continue
        text += f", 1/{level.downsample_x:g}"
        if level.downsample_y != level.downsample_x:
            text += f" across, 1/{level.downsample_y:g} down"
        if slide.has_mpp:
            text += f", {Mpp(slide.slide_mpp.value * level.downsample):.4g} mpp"
        residual = slide.level_residuals[number]
        if residual > LEAST_RESIDUAL_PX:
            text += f", read up to {residual:.2f} px off its pixels (so blended)"
        rows.append((f"level {number}", text))
    return rows


def _estimate(slide: Slide, tiler: Tiler) -> list[tuple[str, str]]:
    """Tissue and tiles from the overview alone; filters are not run, so tiles may be fewer."""
    if not slide.has_mpp:
        return [("tissue", "unknown without mpp"), ("tiles", "unknown without mpp")]
    settings = tiler.settings
    regions = regions_of_slide(settings, slide, slide.path.stem)
    out = drawn_out_of_slide(settings, slide, slide.path.stem)
    try:
        drawn = tiler.drawn_tissue(slide, slide.path.stem)
        tissue = drawn or find_tissue(slide, tiler.segmenter)
        if out is not None:
            tissue = take_off(tissue, out, slide)
    except EmptyTissueError as error:
        return [("tissue", f"none: {error.found}"), ("tiles", "0")]
    width, height = slide.level_dimensions[0]
    area = tissue.fraction * width * height * (slide.slide_mpp.value / 1000) ** 2
    how = "drawn by hand" if drawn else tiler.segmenter.name
    how = how if slide.cut_tiles is None else "tiles as they were cut"
    rows = [("tissue", f"{tissue.fraction:.1%} of the slide, {area:.1f} mm2 ({how})")]
    found = TissueRecord.of(tissue, slide, slide.path.stem).summary()
    rows += [("found", found)] if found else []
    try:
        geometry = tiler.geometry(slide)
        cut = slide.cut_tiles
        coords = grid(geometry, slide=slide.path.name) if cut is None else cut.coords
    except SlideError as error:
        return [*rows, ("tiles", f"none: {error}")]
    side = geometry.tile_size_px * geometry.scale
    fraction = tissue_fractions(tissue, coords, side)
    kept = (fraction >= settings.min_tissue_fraction) & (fraction > 0)
    num_kept = int(kept.sum())
    if regions is not None:
        _, lies_in = regions_of_tiles(
            regions, coords[kept], side, min_share=settings.min_region_fraction
        )
        counts = lies_in.counts()
        num_kept = sum(counts.values())
        rows += [("regions", name_some(f"{name} {count}" for name, count in counts.items()))]
        rows += [("note", note) for note in regions.notes]
    reading = f"level {geometry.level} at {geometry.read_mpp:.4g} mpp"
    if geometry.resampled:
        reading += f", {geometry.read_size_px} px resampled to {geometry.tile_size_px}"
    return [
        *rows,
        ("tiles", f"about {num_kept:,} of {geometry.tile_size_px} px at "
                  f"{geometry.target_mpp:g} mpp ({len(coords):,} in the grid)"),
        ("read from", reading),
    ]  # fmt: skip
