"""One map beside its slide."""

import numpy as np
from matplotlib.figure import Figure

from slidenet.core.arrays import UInt8Array
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.heatmaps.panels import (
    BAR_ROOM,
    CAPTION_HEIGHT,
    Outlines,
    draw_bar,
    draw_view,
    titled_page,
)
from slidenet.visualisation.heatmaps.scales import scale_of
from slidenet.visualisation.heatmaps.views import paint_map, view_of
from slidenet.visualisation.heatmaps.wording import (
    ends,
    sum_words,
    tiles_without_value,
    unit_words,
)
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH
from slidenet.visualisation.style import in_figure

GAP = 0.25
MOST_HEIGHT = 6.0
WIDE = 0.42
"""Views lower than this share of their width lie one above the other."""
LEAST_BAR = 2.6


def map_figure(
    maps: TileMaps,
    which: int,
    overview: UInt8Array | None,
    *,
    outlines: Outlines | None = None,
    limits: tuple[float, float] | None = None,
    caption: str = "",
) -> Figure:
    """A map beside its slide, with its bar of colours, a scale bar and what it means.

    Args:
        maps: The maps of a slide.
        which: Which of them, its place in `maps.maps`.
        overview: uint8 RGB (h, w, 3), the whole slide; None draws the map alone.
        outlines: What is known of the slide, drawn on both.
        limits: Where colours begin and end; see `scale_of`.
        caption: Said below, such as what the model predicts, or why the slide is missing.

    Raises:
        CoordinateError: There are no tiles, or they have no places.
    """
    tile_map, view = maps.maps[which], view_of(maps, overview)
    colours = scale_of(tile_map, limits)
    page = titled_page(maps.slide_id, tile_map)
    stacked = view.aspect < WIDE
    alone = overview is None or stacked
    room = PAGE_WIDTH - 2 * MARGIN
    width = min(room if alone else (room - GAP) / 2, MOST_HEIGHT / view.aspect)
    left = MARGIN
    outlined = f", {in_figure(outlines.words)} outlined" if outlines is not None else ""
    page.top += 0.1 + CAPTION_HEIGHT
    if view.picture is not None:
        place = (left, page.top, width)
        draw_view(
            page, view, view.picture, place, caption=f"The slide{outlined}", outlines=outlines,
            scale_bar=True,
        )  # fmt: skip
        if stacked:
            page.top += width * view.aspect + 0.1 + CAPTION_HEIGHT
        else:
            left += width + GAP
    painted = paint_map(tile_map, maps.coords, view, colours)
    words = "The map" if view.picture is not None else f"The map{outlined}"
    draw_view(
        page, view, painted, (left, page.top, width), caption=words, outlines=outlines,
        scale_bar=view.picture is None,
    )  # fmt: skip
    page.top += width * view.aspect + 0.1
    bar = max(width, LEAST_BAR)
    start = min(left, PAGE_WIDTH - MARGIN - bar)
    place = (start, page.top, bar)
    draw_bar(page, colours, place, ends=ends(tile_map), label=unit_words(tile_map))
    page.top += BAR_ROOM
    nowhere = int(np.isnan(tile_map.values).sum())
    hatched = f"Hatched: {tiles_without_value(nowhere)}." if nowhere else ""
    notes = [caption, sum_words(maps, tile_map), colours.words, hatched]
    return page.finish("\n".join(in_figure(note, keep="\n") for note in notes if note))
