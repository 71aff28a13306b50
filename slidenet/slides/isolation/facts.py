"""What a slide says about itself without being read; the parent learns all of it at opening."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from slidenet.core.errors import SlideError
from slidenet.core.records import CutTiles, SlideMpp
from slidenet.slides.protocol import RGB, Size, Slide
from slidenet.slides.pyramid import Level


@dataclass(frozen=True, slots=True)
class SlideFacts:
    """Properties of a `Slide`; those not listed here are named as there.

    Attributes:
        mpp: `Slide.slide_mpp`, or the error it raises.
        opening_cpu_s: CPU seconds that opening took, these properties included.
    """

    vendor: str
    properties: Mapping[str, str]
    level_dimensions: tuple[Size, ...]
    level_downsamples: tuple[float, ...]
    levels: tuple[Level, ...]
    level_residuals: tuple[float, ...]
    background_rgb: RGB
    icc_applied: bool
    reader_name: str
    reader_note: str
    storage_note: str
    has_mpp: bool
    mpp: SlideMpp | SlideError
    cut_tiles: CutTiles | None = None
    opening_cpu_s: float = 0.0

    @classmethod
    def of(cls, slide: Slide) -> Self:
        """Asks an open slide."""
        mpp: SlideMpp | SlideError
        try:
            mpp = slide.slide_mpp
        except SlideError as error:
            mpp = error
        return cls(
            vendor=slide.vendor,
            properties=dict(slide.properties),
            level_dimensions=slide.level_dimensions,
            level_downsamples=slide.level_downsamples,
            levels=slide.levels,
            level_residuals=slide.level_residuals,
            background_rgb=slide.background_rgb,
            icc_applied=slide.icc_applied,
            reader_name=slide.reader_name,
            reader_note=slide.reader_note,
            storage_note=slide.storage_note,
            has_mpp=slide.has_mpp,
            mpp=mpp,
            cut_tiles=slide.cut_tiles,
        )
