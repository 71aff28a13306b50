"""`slidenet info SLIDE`: what a slide is, and about how much tissue and how many tiles it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import EmptyTissueError, MissingMppError, SlideError
from slidenet.core.units import Mpp, magnification
from slidenet.pipelines.preprocess import TilingPlan
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.slides import Slide, open_slide
from slidenet.tiling import grid, tissue_fractions
from slidenet.tissue import find_tissue


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
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.rows)


def info(
    slide: Path,
    preprocess: PreprocessSettings = PreprocessSettings(),
    *,
    mpp: float | None = None,
) -> SlideFacts:
    """Print a slide's format, levels and resolution, with an estimate of tissue and tiles.

    Args:
        slide: The slide file.
        preprocess: Settings the estimate is made with.
        mpp: Resolution of level 0, where the file does not say it.
    """
    plan = TilingPlan.of(preprocess)
    with open_slide(slide, mpp=mpp, icc=preprocess.icc) as opened:
        rows = [
            ("slide", str(opened.path)),
            ("vendor", opened.vendor),
            ("file size", f"{opened.path.stat().st_size / 1e6:,.1f} MB"),
            ("fingerprint", opened.fingerprint),
            *_resolution(opened),
            *_levels(opened),
            *_estimate(opened, plan),
        ]
    return SlideFacts(rows)


def _resolution(slide: Slide) -> list[tuple[str, str]]:
    width, height = slide.level_dimensions[0]
    try:
        mpp = slide.slide_mpp
    except MissingMppError as error:
        return [("size", f"{width:,} x {height:,} px"), ("mpp", f"unknown: {error}")]
    millimetres = f"{width * mpp.value / 1000:.2f} x {height * mpp.value / 1000:.2f} mm"
    return [
        ("size", f"{width:,} x {height:,} px, {millimetres}"),
        ("mpp", f"{mpp.value:.4g} (about {magnification(mpp.value):.3g}x), from {mpp.source}"),
    ]


def _levels(slide: Slide) -> list[tuple[str, str]]:
    rows = []
    for level, (size, downsample) in enumerate(
        zip(slide.level_dimensions, slide.level_downsamples, strict=True)
    ):
        mpp = f", {Mpp(slide.slide_mpp.value * downsample):.4g} mpp" if slide.has_mpp else ""
        rows.append((f"level {level}", f"{size[0]:,} x {size[1]:,} px, 1/{downsample:g}{mpp}"))
    return rows


def _estimate(slide: Slide, plan: TilingPlan) -> list[tuple[str, str]]:
    """Tissue and tiles from the overview alone; filters are not run, so tiles may be fewer."""
    if not slide.has_mpp:
        return [("tissue", "unknown without mpp"), ("tiles", "unknown without mpp")]
    try:
        drawn = plan.drawn_tissue(slide, slide.path.stem)
        tissue = drawn or find_tissue(slide, plan.segmenter)
    except EmptyTissueError as error:
        return [("tissue", f"none: {error.found}"), ("tiles", "0")]
    width, height = slide.level_dimensions[0]
    area = tissue.fraction * width * height * (slide.slide_mpp.value / 1000) ** 2
    how = "drawn by hand" if drawn else plan.segmenter.name
    rows = [("tissue", f"{tissue.fraction:.1%} of the slide, {area:.1f} mm2 ({how})")]
    settings = plan.settings
    try:
        geometry = plan.geometry(slide)
        coords = grid(geometry, slide=slide.path.name)
    except SlideError as error:
        return [*rows, ("tiles", f"none: {error}")]
    side = geometry.tile_size_px * geometry.scale
    fraction = tissue_fractions(tissue, coords, side)
    kept = (fraction >= settings.min_tissue_fraction) & (fraction > 0)
    reading = f"level {geometry.level} at {geometry.read_mpp:.4g} mpp"
    if geometry.resampled:
        reading += f", {geometry.read_size_px} px resampled to {geometry.tile_size_px}"
    return [
        *rows,
        ("tiles", f"about {int(kept.sum()):,} of {settings.tile_size_px} px at "
                  f"{settings.target_mpp:g} mpp ({len(coords):,} in the grid)"),
        ("read from", reading),
    ]  # fmt: skip
