"""Parts of pages with maps: views of a slide, outlines on them, marks of tiles, bars of colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.patches import Polygon as PolygonPatch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from shapely.geometry import Polygon

from slidenet.core.arrays import Float64Array, UInt8Array
from slidenet.core.escapes import shorten
from slidenet.stores.tile_maps import TileMap
from slidenet.visualisation.heatmaps.scales import ColourScale
from slidenet.visualisation.heatmaps.views import View
from slidenet.visualisation.heatmaps.wording import MOST_OF_ID, caution, heading, long_warning
from slidenet.visualisation.page import Page
from slidenet.visualisation.side_by_side import draw_scale_bar, frame_panel
from slidenet.visualisation.style import ACCENT, DARK, FRAME, GREY, in_figure

BAR_HEIGHT = 0.12
CAPTION_HEIGHT = 0.2
LABEL_ROOM = 1.8
"""Of the unit below a narrow bar, inches."""
BAR_ROOM = 0.62
"""Of a bar with the words above it and the numbers below, inches."""
DPI = 180
"""Of pictures on a page: a cohort of a thousand slides has thousands of pages."""
_HALO = 2.4


def titled_page(slide_id: str, tile_map: TileMap) -> Page:
    """A page about one map: the slide, what the map shows, and what it must not be read as."""
    page = Page(shorten(in_figure(slide_id), MOST_OF_ID))
    page.top -= 0.06
    page.paragraph(heading(tile_map), size=10.5, colour=DARK)
    if not tile_map.is_evidence:
        page.paragraph(long_warning(tile_map), size=9.5, bold=True, colour=ACCENT)
    elif caution(tile_map):
        page.paragraph(caution(tile_map), size=9)
    return page


@dataclass(frozen=True)
class Outlines:
    """What is known of a slide beside the map, such as where its lesions are.

    Attributes:
        words: What is outlined.
        polygons: Level-0 pixels.
    """

    words: str
    polygons: Sequence[Polygon]


def draw_view(
    page: Page,
    view: View,
    picture: UInt8Array,
    place: tuple[float, float, float],
    *,
    caption: str = "",
    outlines: Outlines | None = None,
    scale_bar: bool = False,
) -> Axes:
    """A picture of a view, its caption above it.

    Args:
        page: Where to.
        view: What part of the slide it is.
        picture: uint8 RGB (h, w, 3) of it.
        place: Left, top and width on the page, inches; the caption is above the top.
        caption: One short line.
        outlines: Drawn on it.
        scale_bar: Whether it bears one.
    """
    left, top, width = place
    axes = page.axes(left, top, width, width * view.aspect)
    axes.imshow(
        at_page_size(picture, width), interpolation="antialiased", extent=(0, 1, 0, view.aspect)
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, view.aspect)
    frame_panel(axes)
    if caption:
        page.write(
            left, top - 0.06, caption, size=9, colour=GREY, ha="left", va="baseline", width=width
        )
    if outlines is not None:
        _draw_outlines(axes, view, outlines.polygons)
    if scale_bar:
        draw_scale_bar(axes, view.width_um, width)
    return axes


def at_page_size(picture: UInt8Array, width: float) -> UInt8Array:
    """A picture with no more pixels than a page shows of it, which matplotlib takes long to shrink.

    Args:
        picture: uint8 RGB (h, w, 3).
        width: On the page, inches.
    """
    factor = width * DPI / picture.shape[1]
    if factor >= 1:
        return picture
    size = (round(width * DPI), max(round(picture.shape[0] * factor), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def draw_bar(
    page: Page,
    colours: ColourScale,
    place: tuple[float, float, float],
    *,
    ends: tuple[str, str] = ("", ""),
    label: str = "",
    size: float = 8.5,
) -> None:
    """A bar of colours with its numbers below and what its ends mean above.

    Args:
        page: Where to.
        colours: What it shows.
        place: Left, top and width on the page, inches; the words are within `BAR_ROOM` of the top.
        ends: What the first and the last colour mean.
        label: The unit.
        size: Of its texts, points.
    """
    left, top, width = place
    for at, words, side in ((left, ends[0], "left"), (left + width, ends[1], "right")):
        if words:
            page.write(
                at, top + 0.1, words, size=size, colour=DARK, ha=side, va="baseline",
                width=width / 2 - 0.05,
            )  # fmt: skip
    top += 0.16 if any(ends) else 0.02
    axes = page.axes(left, top, width, BAR_HEIGHT)
    extent = (colours.low, colours.high, 0.0, 1.0)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=colours.colours, extent=extent)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=max(int(width / 0.7), 2)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value, colours)))
    axes.tick_params(labelsize=size, colors=GREY, length=2.5, pad=2)
    axes.set_xlim(colours.low, colours.high)
    for spine in axes.spines.values():
        spine.set_color(FRAME)
        spine.set_linewidth(0.6)
    if label:
        page.write(
            left + width / 2, top + BAR_HEIGHT + 0.29, label, size=size, colour=GREY, va="center",
            width=max(width, LABEL_ROOM),
        )  # fmt: skip


def mark_tile(
    axes: Axes, view: View, centre: Float64Array, text: str, *, rounded: bool, colour: str
) -> None:
    """The number of a tile at its place: in a circle, or in a square.

    Args:
        axes: Of a `draw_view`.
        view: Its view.
        centre: (2,), as `View.centres` gives it.
        text: The number.
        rounded: A circle.
        colour: Of the ground under the number.
    """
    style = "circle,pad=0.18" if rounded else "square,pad=0.22"
    axes.text(
        float(centre[0]), float(centre[1]), text, fontsize=6.5, weight="bold", color="white",
        ha="center", va="center", zorder=5, clip_on=True,
        bbox={"boxstyle": style, "facecolor": colour, "edgecolor": "white", "linewidth": 0.6},
    )  # fmt: skip


def _draw_outlines(axes: Axes, view: View, polygons: Sequence[Polygon]) -> None:
    for polygon in polygons:
        for ring in (polygon.exterior, *polygon.interiors):
            x, y = shapely.get_coordinates(ring).T
            x, y = (x - view.left) / view.width, (view.top + view.height - y) / view.width
            axes.add_patch(
                PolygonPatch(
                    np.stack([x, y], axis=1), closed=True, fill=False, edgecolor=DARK,
                    linewidth=1.2, zorder=2, joinstyle="round",
                    path_effects=[withStroke(linewidth=_HALO, foreground="white")],
                )
            )  # fmt: skip


def _number(value: float, colours: ColourScale) -> str:
    """A number along a bar; what rounding made of zero is zero."""
    return f"{0.0 if abs(value) < 1e-9 * (colours.high - colours.low) else value:g}"
