"""Tissue is what is dark: Otsu's threshold on luminance."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.tissue.masks import otsu_threshold
from slidenet.tissue.segmenters.base import PictureSegmenter


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
