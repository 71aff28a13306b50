"""The slide beside the map of its features, as one picture with a scale bar."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from shapely.geometry import Polygon

from slidenet.core.arrays import BoolArray, FeatureRows, UInt8Array
from slidenet.core.records import TileSet
from slidenet.core.units import Microns
from slidenet.visualisation.maps import feature_map
from slidenet.visualisation.overlay import tissue_overlay
from slidenet.visualisation.page import cut_to, text_width
from slidenet.visualisation.style import DARK, FRAME, GREY


def demo_figure(
    picture: UInt8Array,
    polygons: Sequence[Polygon],
    tile_set: TileSet,
    features: FeatureRows,
    *,
    encoder: str = "",
    mask: BoolArray | None = None,
) -> Figure:
    """The slide with tissue outlines and tile grid, beside its feature map.

    Args:
        picture: uint8 RGB (h, w, 3), the whole slide (`Slide.thumbnail`).
        polygons: Tissue outlines, level-0 pixels.
        tile_set: Its tiles.
        features: (N, D) features of these tiles, array or h5 dataset.
        encoder: Name of the tile encoder, for the caption.
        mask: bool (N,), True = real; unreadable tiles stay blank.

    Returns:
        A matplotlib figure bound to no global state; save it with `save_figure`.
    """
    geometry = tile_set.geometry
    return side_by_side(
        tissue_overlay(picture, polygons, tile_set, level0_width=geometry.level0_width),
        feature_map(features, tile_set.coords, geometry, mask=mask, max_side_px=max(picture.shape)),
        slide_width_um=Microns(geometry.level0_width * geometry.slide_mpp.value),
        title=tile_set.slide_id,
        subtitle=f"{tile_set.num_tiles:,} tiles of {geometry.tile_size_px} px at "
        f"{geometry.target_mpp:g} µm/px" + (f", encoded by {encoder}" if encoder else ""),
        left_title="Tissue and tiles",
        right_title="Tile features: principal components 1, 2, 3 as RGB",
    )


def side_by_side(
    left: UInt8Array,
    right: UInt8Array,
    *,
    slide_width_um: Microns,
    title: str = "",
    subtitle: str = "",
    left_title: str = "",
    right_title: str = "",
) -> Figure:
    """Two pictures of one slide side by side, with titles and a scale bar.

    Args:
        left: uint8 RGB (h, w, 3).
        right: uint8 RGB of the same proportions.
        slide_width_um: Width of the slide, microns.
        title: Heading of the figure.
        subtitle: Line below the heading.
        left_title: Caption of the left picture.
        right_title: Caption of the right picture.
    """
    height, width = left.shape[:2]
    margin, gap, header = 0.35, 0.35, 1.05
    panel_width = min(6.4, 7.2 * width / height)
    panel_height = panel_width * height / width
    total = (2 * panel_width + 2 * margin + gap, panel_height + header + margin)
    figure = Figure(figsize=total, facecolor="white")
    FigureCanvasAgg(figure)
    panels = ((left, left_title), (right, right_title))
    for number, (picture, caption) in enumerate(panels):
        x = margin + number * (panel_width + gap)
        box = (x / total[0], margin / total[1], panel_width / total[0], panel_height / total[1])
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation="antialiased", extent=(0, 1, 0, height / width))
        axes.set_title(caption, loc="left", fontsize=10, color=GREY, pad=6)
        frame_panel(axes)
        if number == 0:
            draw_scale_bar(axes, slide_width_um, panel_width)
    left_edge, room = margin / total[0], total[0] - 2 * margin
    title = cut_to(title, room, size=14, bold=True)
    subtitle = cut_to(subtitle, room, size=10)
    figure.text(left_edge, 1 - 0.34 / total[1], title, fontsize=14, weight="bold", color=DARK)
    figure.text(left_edge, 1 - 0.60 / total[1], subtitle, fontsize=10, color=GREY)
    return figure


def scale_bar(slide_width_um: Microns) -> tuple[Microns, str]:
    """A round length of about a fifth of the slide's width (1, 2 or 5 times a power of ten)."""
    target = slide_width_um / 5
    power = 10.0 ** math.floor(math.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target * 1.0001)
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    return Microns(length), label


def frame_panel(axes: Axes) -> None:
    """A picture in axes: a thin frame, no ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(FRAME)
        spine.set_linewidth(0.8)


def draw_scale_bar(axes: Axes, slide_width_um: Microns, panel_width: float) -> None:
    """Bar and label on a light plate in the lower left corner.

    Args:
        axes: In units of its width, with the origin in the lower left corner.
        slide_width_um: What the axes are wide on the glass, microns.
        panel_width: How wide they are on the page, inches.
    """
    length, label = scale_bar(slide_width_um)
    inch = 1 / panel_width
    bar, pad = length / slide_width_um, 0.09 * inch
    wide = max(bar, text_width(label, 8.5) * inch)
    plate = FancyBboxPatch(
        (0.16 * inch, 0.16 * inch), wide + 2 * pad, 0.34 * inch,
        boxstyle=f"round,pad=0,rounding_size={0.05 * inch}",
        facecolor="white", edgecolor="none", alpha=0.85, zorder=3,
    )  # fmt: skip
    axes.add_patch(plate)
    x, y = 0.16 * inch + pad + (wide - bar) / 2, 0.16 * inch + 0.08 * inch
    axes.add_patch(Rectangle((x, y), bar, 0.035 * inch, color=DARK, linewidth=0, zorder=4))
    axes.text(
        x + bar / 2, y + 0.06 * inch, label,
        ha="center", va="bottom", fontsize=8.5, color=DARK, zorder=4,
    )  # fmt: skip
