"""The tiles with the largest and the smallest values of a map, and where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from slidenet.core.arrays import UInt8Array
from slidenet.core.checks import check_whole
from slidenet.stores.tile_maps import TileMap, TileMaps
from slidenet.visualisation.heatmaps.panels import (
    BAR_ROOM,
    Outlines,
    at_page_size,
    draw_bar,
    draw_view,
    mark_tile,
    titled_page,
)
from slidenet.visualisation.heatmaps.scales import ColourScale, scale_of
from slidenet.visualisation.heatmaps.views import View, paint_map, view_of
from slidenet.visualisation.heatmaps.wording import (
    ends,
    sum_words,
    unit_words,
)
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page
from slidenet.visualisation.style import DARK, GREY, PALE, capital, in_figure

PER_ROW = 6
GAP = 0.12
MAP_WIDTH, MAP_HEIGHT = 5.2, 4.4
LABEL_ROOM = 0.4
TOP_COLOUR, BOTTOM_COLOUR = "#843a00", "#06406b"


@dataclass(frozen=True, eq=False)
class GalleryTile:
    """A tile to show.

    Attributes:
        index: Which tile of the map.
        pixels: uint8 RGB (h, w, 3); None where it cannot be read.
    """

    index: int
    pixels: UInt8Array | None = None


def extreme_tiles(tile_map: TileMap, num_top: int) -> tuple[list[int], list[int]]:
    """The tiles with the largest and the smallest values.

    Of a signed map only tiles that speak for the target are at the top, and only those that speak
    against it at the bottom. No tile is in both, and equal values go by the order of tiles.

    Args:
        tile_map: The map.
        num_top: How many of each, at most.

    Returns:
        Indices, the most extreme first.
    """
    check_whole(least=1, num_top=num_top)
    values = tile_map.values
    there = np.flatnonzero(~np.isnan(values))
    falling = there[np.argsort(-values[there], kind="stable")]
    rising = there[np.argsort(values[there], kind="stable")]
    if tile_map.signed:
        falling, rising = falling[values[falling] > 0], rising[values[rising] < 0]
        return falling[:num_top].tolist(), rising[:num_top].tolist()
    top = falling[: min(num_top, -(-len(there) // 2))].tolist()
    bottom = [index for index in rising.tolist() if index not in set(top)]
    return top, bottom[:num_top]


def gallery_figure(
    maps: TileMaps,
    which: int,
    top: Sequence[GalleryTile],
    bottom: Sequence[GalleryTile],
    overview: UInt8Array | None,
    *,
    outlines: Outlines | None = None,
    limits: tuple[float, float] | None = None,
    caption: str = "",
) -> Figure:
    """Tiles at both ends of a map, under the map with their places.

    Args:
        maps: The maps of a slide.
        which: Which of them, its place in `maps.maps`.
        top: Tiles with the largest values, the largest first (`extreme_tiles`).
        bottom: Tiles with the smallest values, the smallest first.
        overview: uint8 RGB (h, w, 3), the whole slide; None: places are drawn on the map alone.
        outlines: What is known of the slide, drawn on the map.
        limits: Where colours begin and end; see `scale_of`.
        caption: Said below.

    Raises:
        CoordinateError: There are no tiles.
    """
    tile_map = maps.maps[which]
    colours = scale_of(tile_map, limits)
    page = titled_page(maps.slide_id, tile_map)
    groups = ((top, True), (bottom, False))
    if maps.geometry.placed:
        _draw_places(page, maps, tile_map, groups, view_of(maps, overview), colours, outlines)
    for (tiles, is_top), words in zip(
        groups, _titles(tile_map, len(top), len(bottom)), strict=True
    ):
        page.top += 0.1
        page.paragraph(capital(words), size=10, bold=True, colour=DARK)
        page.top += 0.05
        _draw_tiles(page, maps, tile_map, tiles, colours, is_top=is_top)
    side_um = maps.geometry.tile_size_px * maps.geometry.target_mpp
    where = "upper left corner in level-0 pixels" if maps.geometry.placed else "number"
    frame = f"Below a tile: its value, and its {where}."
    size = f"A tile is {side_um:,.4g} µm wide."
    notes = [caption, sum_words(maps, tile_map), colours.words, f"{frame} {size}"]
    return page.finish("\n".join(in_figure(note, keep="\n") for note in notes if note))


def _titles(tile_map: TileMap, num_top: int, num_bottom: int) -> tuple[str, str]:
    if tile_map.signed:
        against, speaks = ends(tile_map)
        return (
            f"most {speaks}" if num_top else f"no tile {speaks}",
            f"most {against}" if num_bottom else f"no tile {against}",
        )
    return "largest values", "smallest values" if num_bottom else "no other tiles"


def _draw_places(
    page: Page,
    maps: TileMaps,
    tile_map: TileMap,
    groups: Sequence[tuple[Sequence[GalleryTile], bool]],
    view: View,
    colours: ColourScale,
    outlines: Outlines | None,
) -> None:
    """The map with the numbers of the tiles, and its bar beside it."""
    width = min(MAP_WIDTH, MAP_HEIGHT / view.aspect)
    page.top += 0.1
    place = (MARGIN, page.top, width)
    painted = paint_map(tile_map, maps.coords, view, colours)
    axes = draw_view(page, view, painted, place, outlines=outlines, scale_bar=True)
    centres = view.centres(maps.coords)
    for tiles, is_top in groups:
        colour = TOP_COLOUR if is_top else BOTTOM_COLOUR
        for number, tile in reversed(list(enumerate(tiles, start=1))):  # the first lies uppermost
            at = centres[tile.index]
            mark_tile(axes, view, at, str(number), rounded=is_top, colour=colour)
    left = MARGIN + width + 0.3
    room = PAGE_WIDTH - MARGIN - left
    draw_bar(page, colours, (left, page.top, room), ends=ends(tile_map), label=unit_words(tile_map))
    tops, bottoms = _titles(tile_map, len(groups[0][0]), len(groups[1][0]))
    lines = [f"circles: {tops}", f"squares: {bottoms}"]
    if outlines is not None:
        lines.append(f"outlined: {in_figure(outlines.words)}")
    bottom, page.top = page.top + width * view.aspect, page.top + BAR_ROOM + 0.1
    for line in lines:
        page.paragraph(line, left=left, width=room, size=8.5)
    page.top = max(page.top, bottom)


def _draw_tiles(
    page: Page,
    maps: TileMaps,
    tile_map: TileMap,
    tiles: Sequence[GalleryTile],
    colours: ColourScale,
    *,
    is_top: bool,
) -> None:
    """Rows of tiles with rank, value and place; moves the top of the page below them."""
    side = (PAGE_WIDTH - 2 * MARGIN - (PER_ROW - 1) * GAP) / PER_ROW
    for number, tile in enumerate(tiles):
        column = number % PER_ROW
        if column == 0 and number:
            page.top += side + LABEL_ROOM
        left, value = MARGIN + column * (side + GAP), tile_map.values[tile.index]
        rgb = colours.rgb(np.array([value], np.float32))[0] / 255
        page.box(left, page.top, side, side + 0.05, facecolor=rgb, edgecolor="none")
        if tile.pixels is None:
            page.box(left, page.top, side, side, facecolor=PALE, edgecolor="none")
            page.write(left + side / 2, page.top + side / 2, "no picture", size=8, colour=GREY)
        else:
            page.picture(left, page.top, side, side, at_page_size(tile.pixels, side))
        x, y = maps.coords[tile.index].tolist()
        rank, under = f"{number + 1}", page.top + side + 0.13
        style = "circle,pad=0.18" if is_top else "square,pad=0.2"
        page.ground.text(
            left + 0.09, under, rank, fontsize=6.5, weight="bold", color="white", ha="center",
            va="center", zorder=6,
            bbox={"boxstyle": style, "facecolor": TOP_COLOUR if is_top else BOTTOM_COLOUR,
                  "edgecolor": "none"},
        )  # fmt: skip
        page.write(left + 0.25, under, _value(float(value), tile_map), size=8.5, ha="left")
        where = f"{x:,}, {y:,}" if maps.geometry.placed else f"tile {tile.index:,}"
        page.write(left, under + 0.15, where, size=7, colour=GREY, ha="left")
    if tiles:
        page.top += side + LABEL_ROOM


def _value(value: float, tile_map: TileMap) -> str:
    return f"{value:+.3g}" if tile_map.signed else f"{value:.3g}"
