"""Floor 4: drawing only. Takes arrays and records, returns pictures and figures."""

from slidenet.visualisation.maps import feature_map, principal_colors
from slidenet.visualisation.overlay import tissue_overlay
from slidenet.visualisation.side_by_side import demo_figure, scale_bar, side_by_side
from slidenet.visualisation.style import save_figure

__all__ = [
    "demo_figure",
    "feature_map",
    "principal_colors",
    "save_figure",
    "scale_bar",
    "side_by_side",
    "tissue_overlay",
]
