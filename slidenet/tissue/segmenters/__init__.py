"""Segmenters: frozen settings that turn a low-resolution picture of a slide into tissue.

All lengths and areas are physical; pixels appear only after the picture's own resolution is known.
"""

from slidenet.tissue.segmenters.base import PictureSegmenter, Segmenter
from slidenet.tissue.segmenters.optical_density import OpticalDensitySegmenter
from slidenet.tissue.segmenters.otsu import OtsuSegmenter
from slidenet.tissue.segmenters.registry import (
    DEFAULT_SEGMENTER,
    SEGMENTERS,
    make_segmenter,
    segmenter_identity,
)
from slidenet.tissue.segmenters.saturation import SaturationSegmenter
from slidenet.tissue.segmenters.whole import AllSegmenter

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "AllSegmenter",
    "DEFAULT_SEGMENTER",
    "OpticalDensitySegmenter",
    "OtsuSegmenter",
    "PictureSegmenter",
    "SEGMENTERS",
    "SaturationSegmenter",
    "Segmenter",
    "make_segmenter",
    "segmenter_identity",
]
