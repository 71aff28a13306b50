"""Floor 4: drawing only. Takes arrays and records, returns pictures and figures.

The steps of dilated attention (`dilated_steps`, `dilated_attend`) are imported from their own
files: their records come with torch, which `slidenet preprocess` does without.
"""

from slidenet.visualisation.attention_matrix import Panel, matrices_figure
from slidenet.visualisation.attention_ranks import exchange_figure, ranks_figure
from slidenet.visualisation.attention_reach import growth_figure, reach_figure
from slidenet.visualisation.maps import (
    component_colors,
    feature_map,
    principal_colors,
    tile_picture,
)
from slidenet.visualisation.overlay import draw_regions, tissue_overlay
from slidenet.visualisation.side_by_side import demo_figure, scale_bar, side_by_side
from slidenet.visualisation.style import save_figure

__all__ = [
    "Panel",
    "component_colors",
    "demo_figure",
    "draw_regions",
    "exchange_figure",
    "feature_map",
    "growth_figure",
    "matrices_figure",
    "principal_colors",
    "ranks_figure",
    "reach_figure",
    "save_figure",
    "scale_bar",
    "side_by_side",
    "tile_picture",
    "tissue_overlay",
]
