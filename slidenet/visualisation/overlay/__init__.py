"""The overview of a slide with what was found, drawn and chosen on it."""

from slidenet.visualisation.overlay.regions import draw_regions
from slidenet.visualisation.overlay.tissue import cell_boxes, tissue_overlay

__all__ = ["cell_boxes", "draw_regions", "tissue_overlay"]
