"""Floor 3: where the tissue of a slide is, as mask and as polygons."""

from slidenet.tissue.as_cut import check_placed, tissue_as_cut
from slidenet.tissue.finding import DroppedRegion, Finding, Reason, dropped_regions
from slidenet.tissue.polygons import rasterize, tissue_polygons
from slidenet.tissue.regions import (
    ChosenRegions,
    DrawnOut,
    Region,
    RegionSet,
    drawn_out,
    drawn_regions,
    drawn_tissue,
    find_region_file,
    qupath_bounds,
    qupath_origin,
    read_regions,
    take_off,
    write_geojson,
)
from slidenet.tissue.segmenters import (
    DEFAULT_SEGMENTER,
    SEGMENTERS,
    AllSegmenter,
    OpticalDensitySegmenter,
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
    "ChosenRegions",
    "DEFAULT_SEGMENTER",
    "DrawnOut",
    "DroppedRegion",
    "Finding",
    "OpticalDensitySegmenter",
    "OtsuSegmenter",
    "PictureSegmenter",
    "Reason",
    "Region",
    "RegionSet",
    "SEGMENTERS",
    "SaturationSegmenter",
    "Segmenter",
    "Tissue",
    "check_placed",
    "drawn_out",
    "drawn_regions",
    "drawn_tissue",
    "dropped_regions",
    "find_region_file",
    "find_tissue",
    "make_segmenter",
    "qupath_bounds",
    "qupath_origin",
    "rasterize",
    "read_regions",
    "segmenter_identity",
    "take_off",
    "tissue_as_cut",
    "tissue_polygons",
    "write_geojson",
]
