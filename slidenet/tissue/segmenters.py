"""Segmenters: frozen settings that turn a low-resolution picture of a slide into a tissue mask.

All lengths and areas are physical; pixels appear only after the picture's own resolution is known.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.checks import check_not_negative, check_positive
from slidenet.core.errors import ConfigError, EmptyTissueError
from slidenet.core.plugins import code_identity
from slidenet.core.provenance import Identity
from slidenet.core.registry import Registry
from slidenet.slides import FLUORESCENCE, Slide, illumination_of, mark_places
from slidenet.tissue.masks import (
    clean_mask,
    odd_kernel_px,
    otsu_threshold,
    overview,
)


class Segmenter(Protocol):
    """Frozen settings with a way to find tissue."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    def find(self, slide: Slide) -> BoolArray:
        """Mask over the whole slide, bool (h, w), True = tissue."""

    def identity(self) -> Identity:
        """Name and settings."""


class PictureSegmenter(ABC):
    """A segmenter that judges the pixels of a low-resolution picture; base of frozen dataclasses.

    Takes the picture, leaves out what is scanner black, and cleans the mask; `tissue` is left to
    the subclass.

    Attributes:
        name: Name in the registry.
        segment_mpp: Resolution of the picture, microns per pixel.
        black_level: Pixels whose brightest channel is below this are scanner black (borders,
            unscanned area), neither tissue nor part of a threshold; 0 turns this off.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
    """

    name: ClassVar[str]
    segment_mpp: float
    black_level: int
    min_area_um2: float
    max_hole_um2: float

    def __post_init__(self) -> None:
        check_positive(segment_mpp=self.segment_mpp)
        numbers: dict[str, Any] = {
            k: v for k, v in vars(self).items() if isinstance(v, int | float)
        }
        check_not_negative(**numbers)

    @abstractmethod
    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """Which pixels are tissue, before black is left out and the mask is cleaned.

        Args:
            image: uint8 RGB (h, w, 3).
            lit: bool (h, w), False where the picture is scanner black.
            mpp: Resolution of the picture, microns per pixel.
            slide: Name of the slide, for messages.

        Raises:
            EmptyTissueError: Nothing passes for tissue.
        """

    def find(self, slide: Slide) -> BoolArray:
        """Mask over the whole slide, bool (h, w).

        Raises:
            EmptyTissueError: Nothing passes for tissue, or the slide is fluorescence.
        """
        image, mpp = overview(slide, self.segment_mpp)
        light = illumination_of(slide, image)
        if light.kind == FLUORESCENCE:
            raise EmptyTissueError(
                f"it is {light}: the segmenter {self.name!r} would take "
                "its dark background for tissue",
                expected="a brightfield slide",
                remedy="draw the tissue in QuPath and pass its GeoJSON, or use the segmenter "
                "'all'; tile encoders have seen brightfield only",
                slide=slide.path.name,
            )
        readable = ~mark_places(slide.unreadable_places, (image.shape[1], image.shape[0]))
        return self.mask(image, mpp, slide=slide.path.name, readable=readable)

    def mask(
        self,
        image: UInt8Array,
        mpp: float,
        *,
        slide: str = "",
        readable: BoolArray | bool = True,
    ) -> BoolArray:
        """Tissue mask (h, w) of an RGB picture uint8 (h, w, 3) at `mpp`.

        Places of the picture that are not `readable`, bool (h, w), are treated as scanner black
        is, and no tissue even where they would be filled as holes of it.
        """
        black = (image.max(axis=2) < self.black_level).astype(np.uint8)
        # With a rim of one pixel, where resampling mixed black with its surroundings.
        lit = np.asarray(cv2.dilate(black, np.ones((3, 3), np.uint8))) == 0
        lit &= readable
        return readable & clean_mask(
            lit & self.tissue(image, lit, mpp, slide),
            pixel_area_um2=mpp * mpp,
            min_area_um2=self.min_area_um2,
            max_hole_um2=self.max_hole_um2,
        )

    def identity(self) -> Identity:
        """Name and settings."""
        return {"segmenter": self.name, **vars(self)}


@dataclass(frozen=True)
class OtsuSegmenter(PictureSegmenter):
    """Tissue is what is darker than Otsu's threshold on luminance (mean of R, G and B).

    The rule of Prov-GigaPath's preprocessing. Otsu always splits, so a split whose two sides
    differ by less than `min_contrast` is noise and finds nothing. A slide that is tissue from
    edge to edge is split into darker and lighter tissue: use "saturation" with a fixed
    threshold, or "all", for such crops.

    Smoothing and cleaning make one piece of what is one tissue (a tile of 256 px at 0.5 mpp has
    16,384 square microns); set smooth_um, min_area_um2 and max_hole_um2 to 0 for the bare rule.

    Attributes:
        segment_mpp: Resolution of the picture, microns per pixel.
        smooth_um: Standard deviation of the Gaussian smoothing of luminance; 0 turns it off.
        min_contrast: Least difference of the two sides' mean luminance, grey levels of 255.
        black_level: Pixels whose brightest channel is below this are scanner black (borders,
            unscanned area), neither tissue nor part of the threshold; 0 turns this off.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
    """

    name: ClassVar[str] = "otsu"
    segment_mpp: float = 8.0
    smooth_um: float = 12.0
    min_contrast: float = 12.0
    black_level: int = 20
    min_area_um2: float = 4000.0
    max_hole_um2: float = 16_000.0

    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """See `PictureSegmenter.tissue`."""
        rounded_mean = (image.sum(axis=2, dtype=np.uint16) + 1) // 3
        # Black must not darken its surroundings through the smoothing.
        luminance = np.where(lit, rounded_mean, 255).astype(np.uint8)
        if self.smooth_um > 0:
            luminance = np.asarray(
                cv2.GaussianBlur(luminance, (0, 0), self.smooth_um / mpp), dtype=np.uint8
            )
        threshold = otsu_threshold(luminance[lit], self.min_contrast, "luminance", self.name, slide)
        return luminance <= threshold


@dataclass(frozen=True)
class SaturationSegmenter(PictureSegmenter):
    """Tissue is what is coloured: HSV saturation, smoothed, thresholded, closed, cleaned.

    Grey dust, glass edges and black borders are not coloured; pale fat is tissue only where its
    membranes close.

    Attributes:
        segment_mpp: Resolution of the picture, microns per pixel.
        threshold: Least saturation of tissue, of 255; None lets Otsu choose it per slide.
        min_contrast: With Otsu only: least difference of the two sides' mean saturation.
        black_level: Pixels whose brightest channel is below this are scanner black.
        median_um: Diameter of the median filter that removes speckle.
        closing_um: Diameter of the closing that joins neighbouring pieces.
        min_area_um2: Smallest piece kept.
        max_hole_um2: Largest hole filled.
    """

    name: ClassVar[str] = "saturation"
    segment_mpp: float = 8.0
    threshold: int | None = None
    min_contrast: float = 12.0
    black_level: int = 20
    median_um: float = 24.0
    closing_um: float = 40.0
    min_area_um2: float = 20_000.0
    max_hole_um2: float = 20_000.0

    def tissue(self, image: UInt8Array, lit: BoolArray, mpp: float, slide: str) -> BoolArray:
        """See `PictureSegmenter.tissue`."""
        saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[:, :, 1]
        # The saturation of near-black is noise; it must not leak out through the median.
        saturation = np.where(lit, saturation, 0).astype(np.uint8)
        smooth = np.asarray(
            cv2.medianBlur(saturation, odd_kernel_px(self.median_um, mpp)), dtype=np.uint8
        )
        threshold = self.threshold
        if threshold is None:
            threshold = 1 + otsu_threshold(
                smooth[lit], self.min_contrast, "saturation", self.name, slide
            )
        side = odd_kernel_px(self.closing_um, mpp)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        coloured = (smooth >= threshold).astype(np.uint8)
        return np.asarray(cv2.morphologyEx(coloured, cv2.MORPH_CLOSE, disc)) > 0


@dataclass(frozen=True)
class AllSegmenter:
    """The whole slide counts as tissue; needs neither pixels nor an mpp."""

    name: ClassVar[str] = "all"

    def find(self, slide: Slide) -> BoolArray:
        """One mask pixel that covers the slide."""
        return np.ones((1, 1), dtype=np.bool_)

    def identity(self) -> Identity:
        """The name; there are no settings."""
        return {"segmenter": self.name}


SEGMENTERS: Registry[type[Segmenter]] = Registry(
    "segmenter",
    group="slidenet.segmenters",
    accepts=lambda entry: is_dataclass(entry) and hasattr(entry, "find"),
    expected="a frozen dataclass with name, find(slide) and identity()",
)
for _segmenter in (OtsuSegmenter, SaturationSegmenter, AllSegmenter):
    SEGMENTERS.add(_segmenter.name, _segmenter)


def make_segmenter(name: str, **settings: Any) -> Segmenter:
    """The segmenter `name` with `settings`; its identity is known before a slide is read.

    Raises:
        UnknownNameError: No segmenter of that name.
        ConfigError: A setting it does not have, or out of range.
    """
    kind: Any = SEGMENTERS[name]  # a dataclass, which a protocol cannot say
    known = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"the segmenter {name!r} has no setting {setting!r}",
                expected=f"some of {', '.join(known)}" if known else "no settings",
            )
    segmenter: Segmenter = kind(**settings)
    return segmenter


def segmenter_identity(segmenter: Segmenter) -> Identity:
    """Name and settings of a segmenter and, of another package's, distribution and version."""
    return {**segmenter.identity(), **code_identity(type(segmenter))}
