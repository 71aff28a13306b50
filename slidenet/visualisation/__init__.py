"""Floor 5: pictures of slides, tiles and features."""

from slidenet.visualisation.feature_colors import feature_map, principal_colors
from slidenet.visualisation.figure import demo_figure, save_figure, scale_bar, side_by_side
from slidenet.visualisation.overlay import tissue_overlay

__all__ = [
    "demo_figure",
    "feature_map",
    "principal_colors",
    "save_figure",
    "scale_bar",
    "side_by_side",
    "tissue_overlay",
]
