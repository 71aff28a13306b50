"""Tissue is what is coloured: a threshold on saturation."""

from dataclasses import dataclass
from typing import ClassVar

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.checks import check_whole
from slidenet.tissue.masks import odd_kernel_px, otsu_threshold
from slidenet.tissue.segmenters.base import PictureSegmenter


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

    def __post_init__(self) -> None:
        """See `PictureSegmenter.__post_init__`."""
        super().__post_init__()
        check_whole(threshold=self.threshold, least=0, or_none=True)

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
