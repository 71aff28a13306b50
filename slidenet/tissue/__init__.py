"""Floor 3: where the tissue of a slide is, as mask and as polygons."""

from slidenet.tissue.finding import DroppedRegion, Finding, Reason, dropped_regions
from slidenet.tissue.geojson import read_geojson, tissue_from_geojson, write_geojson
from slidenet.tissue.polygons import rasterize, tissue_polygons
from slidenet.tissue.segmenters import (
    DEFAULT_SEGMENTER,
    AllSegmenter,
    OtsuSegmenter,
    PictureSegmenter,
    SaturationSegmenter,
    Segmenter,
    make_segmenter,
    segmenter_identity,
)
from slidenet.tissue.tissue import Tissue, find_tissue

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "AllSegmenter",
    "DEFAULT_SEGMENTER",
    "DroppedRegion",
    "Finding",
    "OtsuSegmenter",
    "PictureSegmenter",
    "Reason",
    "SaturationSegmenter",
    "Segmenter",
    "Tissue",
    "dropped_regions",
    "find_tissue",
    "make_segmenter",
    "rasterize",
    "read_geojson",
    "segmenter_identity",
    "tissue_from_geojson",
    "tissue_polygons",
    "write_geojson",
]
