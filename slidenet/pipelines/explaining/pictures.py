"""The maps of a slide as pictures: beside the slide, method beside method, tiles at both ends."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from slidenet.core.arrays import Float64Array
from slidenet.core.text import count_of
from slidenet.pipelines.cohort.layout import ExplanationLayout
from slidenet.pipelines.explaining.pixels import SlidePixels
from slidenet.stores import TileMap, TileMaps
from slidenet.visualisation.heatmaps import (
    GalleryTile,
    compare_figure,
    extreme_tiles,
    gallery_figure,
    map_figure,
)
from slidenet.visualisation.heatmaps.wording import is_control
from slidenet.visualisation.style import save_figure

FIGURES, GALLERIES = "figures", "galleries"
FIRST_SUFFIXES = (".png", ".svg")
"""Of the first picture of a slide; SVG of all would double the time and the size."""
DPI = 150
MOST_BAGS = 4
"""Of a slide, whose predictions a caption says."""


def draw_figures(
    layout: ExplanationLayout,
    maps: TileMaps,
    pixels: SlidePixels,
    *,
    compare: bool = False,
) -> tuple[list[Path], list[str]]:
    """Every map beside its slide, and per target all of them on one page with the controls.

    Args:
        layout: Where they lie.
        maps: The maps, with places.
        pixels: What could be read of the slide.
        compare: Whether the page of all methods is the first picture of the slide.

    Returns:
        The files written, and what is to be said: what is missing of the slide.
    """
    caption = caption_of(maps, pixels)
    shown = [number for number in maps.called_first if not is_control(maps.maps[number])]
    single = [
        (name_of(maps.maps[n]), partial(map_figure, maps, n, pixels.overview, caption=caption))
        for n in shown or maps.called_first
    ]
    sheets = []
    for target in dict.fromkeys(maps.maps[number].target for number in maps.called_first):
        which = [number for number, one in enumerate(maps.maps) if one.target == target]
        sheet = partial(
            compare_figure,
            maps,
            which,
            pixels.overview,
            agreement=agreement_of(maps, which),
            notes=[faithfulness_words(maps.maps[number]) for number in which],
            caption=caption,
        )
        sheets += [(f"methods-{target}", sheet)] if len(which) > 1 else []
    files = []
    for number, (name, draw) in enumerate([*sheets, *single] if compare else [*single, *sheets]):
        figure = draw()
        paths = [layout.further(FIGURES, maps.slide_id, name, ".png")]
        if not number:
            paths = [layout.export(FIGURES, maps.slide_id, suffix) for suffix in FIRST_SUFFIXES]
        for path in paths:
            save_figure(figure, path, dpi=DPI)
        files += paths
    return files, [pixels.missing] if pixels.missing else []


def draw_galleries(
    layout: ExplanationLayout,
    maps: TileMaps,
    pixels: SlidePixels,
    *,
    num_top: int,
    which: Sequence[int],
) -> tuple[list[Path], list[str]]:
    """The tiles at both ends of some maps, and where they lie.

    Args:
        layout: Where the pictures lie.
        maps: The maps.
        pixels: What could be read of the slide, with `gallery_tiles`.
        num_top: Tiles at each end, at most.
        which: Of which maps, their places in `maps.maps`; the first is the slide's first picture.

    Returns:
        The files written, and what is to be said: what is missing of the slide.
    """
    files = list[Path]()
    for number in which:
        ends = extreme_tiles(maps.maps[number], num_top)
        top, bottom = ([GalleryTile(i, pixels.tiles.get(i)) for i in end] for end in ends)
        figure = gallery_figure(
            maps, number, top, bottom, pixels.overview, caption=caption_of(maps, pixels)
        )
        path = layout.export(GALLERIES, maps.slide_id, ".png")
        if files:
            path = layout.further(GALLERIES, maps.slide_id, name_of(maps.maps[number]), ".png")
        save_figure(figure, path, dpi=DPI)
        files.append(path)
    return files, [pixels.missing] if pixels.missing else []


def gallery_tiles(maps: TileMaps, which: Sequence[int], num_top: int) -> list[int]:
    """The tiles that `draw_galleries` shows of some maps, increasing."""
    ends = (end for number in which for end in extreme_tiles(maps.maps[number], num_top))
    return sorted({index for end in ends for index in end})


def name_of(tile_map: TileMap) -> str:
    """Of the file of a map."""
    return f"{tile_map.method.replace(':', '-')}-{tile_map.target}"


def caption_of(maps: TileMaps, pixels: SlidePixels) -> str:
    """What the model says of the slide, and what of the slide is missing; a line each."""
    said = [
        (bag_id, str(one["words"]))
        for bag_id, one in maps.prediction.items()
        if isinstance(one, Mapping) and "words" in one
    ]
    lines = [f"The model says: {words}." for _, words in said]
    if len(said) > 1:
        lines = [f"The model says of {bag_id}: {words}." for bag_id, words in said[:MOST_BAGS]]
        if len(said) > MOST_BAGS:
            lines.append(f"(And of {count_of('further bag', len(said) - MOST_BAGS)}.)")
    return "\n".join([*lines, *([pixels.missing] if pixels.missing else [])])


def agreement_of(maps: TileMaps, which: Sequence[int]) -> Float64Array:
    """Spearman's correlation between maps, (M, M), as their details say it; NaN where none is."""
    chosen = [maps.maps[number] for number in which]
    found = np.full((len(chosen), len(chosen)), np.nan)
    for row, one in enumerate(chosen):
        said = one.details.get("agreement")
        for column, other in enumerate(chosen):
            numbers = said.get(other.method) if isinstance(said, Mapping) else None
            rho = numbers.get("spearman") if isinstance(numbers, Mapping) else None
            if row != column and isinstance(rho, int | float):
                found[row, column] = found[column, row] = rho
    np.fill_diagonal(found, 1.0)
    return found


def faithfulness_words(tile_map: TileMap) -> str:
    """Whether the score follows the map better than chance, in a few words; empty if unmeasured."""
    said = tile_map.details.get("faithfulness")
    if not isinstance(said, Mapping) or "deletion_beats" not in said:
        return ""
    return f"deletion beats {said['deletion_beats']:.3g} of {said['random_orders']:.3g} random"
