"""Maps of a number per tile: on the slide, with its best tiles, and method beside method."""

from slidenet.visualisation.heatmaps.comparing import compare_figure
from slidenet.visualisation.heatmaps.gallery import GalleryTile, extreme_tiles, gallery_figure
from slidenet.visualisation.heatmaps.panels import Outlines
from slidenet.visualisation.heatmaps.scales import ColourScale, scale_of
from slidenet.visualisation.heatmaps.single import map_figure

__all__ = [
    "ColourScale",
    "GalleryTile",
    "Outlines",
    "compare_figure",
    "extreme_tiles",
    "gallery_figure",
    "map_figure",
    "scale_of",
]
