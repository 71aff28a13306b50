"""Methods side by side on one slide, with how far they agree."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from slidenet.core.arrays import Float64Array, UInt8Array
from slidenet.core.escapes import shorten
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.heatmaps.panels import Outlines, draw_bar, draw_view
from slidenet.visualisation.heatmaps.scales import ColourScale, scale_of
from slidenet.visualisation.heatmaps.views import paint_map, view_of
from slidenet.visualisation.heatmaps.wording import (
    CONTROL,
    DISAGREEMENT,
    MOST_OF_ID,
    NOT_EVIDENCE,
    short_method,
    sum_words,
    unit_words,
    warning,
)
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page
from slidenet.visualisation.style import ACCENT, DARK, GREY, capital, in_figure, short_name

PER_ROW, PER_ROW_TALL = 3, 4
TALL = 1.7
"""Height by width from which on more views fit beside each other."""
GAP, GAP_TALL = 0.28, 0.12
MOST_HEIGHT = 3.4
BAR_SHARE = 0.9
UNDER = 0.62
CELL = 0.46


def compare_figure(
    maps: TileMaps,
    which: Sequence[int],
    overview: UInt8Array | None,
    *,
    agreement: Float64Array | None = None,
    agreement_words: str = "Spearman's rank correlation over tiles",
    outlines: Outlines | None = None,
    notes: Sequence[str] = (),
    caption: str = "",
) -> Figure:
    """Several maps of one target, each with its own bar of colours, and a table of agreement.

    Evidence comes first, then where the model looked, then controls.

    Args:
        maps: The maps of a slide.
        which: Which of them, places in `maps.maps`.
        overview: uint8 RGB (h, w, 3), the whole slide, shown first; None leaves it out.
        agreement: float (M, M) from -1 to 1, of `which` in their order; NaN where there is none.
        agreement_words: What its numbers are.
        outlines: What is known of the slide, drawn everywhere.
        notes: A clause for each of `which`, such as its faithfulness; or none.
        caption: Said below.

    Raises:
        CoordinateError: There are no tiles, or they have no places.
    """
    view = view_of(maps, overview)
    targets = dict.fromkeys(maps.maps[number].target for number in which)
    page = Page(shorten(in_figure(maps.slide_id), MOST_OF_ID))
    page.top -= 0.06
    asked = ", ".join(f"“{short_name(target)}”" for target in targets)
    page.paragraph(f"Methods side by side, for {asked}", size=10.5, colour=DARK)
    per_row = PER_ROW_TALL if view.aspect > TALL else PER_ROW
    gap = GAP if per_row == PER_ROW else GAP_TALL
    width = (PAGE_WIDTH - 2 * MARGIN - (per_row - 1) * gap) / per_row
    shown = min(width, MOST_HEIGHT / view.aspect)
    order = sorted(range(len(which)), key=lambda place: _rank(warning(maps.maps[which[place]])))
    panels: list[int | None] = [None] if view.picture is not None else []
    page.top += 0.1
    for column, place in enumerate([*panels, *order]):
        if column and column % per_row == 0:
            page.top += shown * view.aspect + 0.42 + UNDER
        left, top = MARGIN + column % per_row * (width + gap), page.top + 0.42
        if place is None:
            assert view.picture is not None
            words = f"{in_figure(outlines.words)} outlined" if outlines is not None else ""
            page.write(left, top - 0.24, "The slide", size=9.5, bold=True, ha="left", va="baseline")
            page.write(
                left, top - 0.06, words, size=8.5, colour=GREY, ha="left", va="baseline",
                width=width,
            )  # fmt: skip
            at = (left, top, shown)
            draw_view(page, view, view.picture, at, outlines=outlines, scale_bar=True)
            continue
        tile_map = maps.maps[which[place]]
        colours = scale_of(tile_map)
        name = capital(short_method(tile_map))
        page.write(
            left, top - 0.24, name, bold=True, ha="left", va="baseline", size=9.5, width=width
        )
        said = warning(tile_map) or (in_figure(notes[place]) if notes else "")
        page.write(
            left, top - 0.06, said, size=8.5, ha="left", va="baseline", width=width,
            colour=GREY if tile_map.is_evidence else ACCENT,
        )  # fmt: skip
        painted = paint_map(tile_map, maps.coords, view, colours)
        draw_view(
            page, view, painted, (left, top, shown), outlines=outlines,
            scale_bar=view.picture is None and column == 0,
        )  # fmt: skip
        bar = (left, top + shown * view.aspect + 0.05, max(shown * BAR_SHARE, 1.2))
        draw_bar(page, colours, bar, label=unit_words(tile_map), size=7.5)
    page.top += shown * view.aspect + 0.42 + UNDER
    if agreement is not None and len(order) > 1:
        names = [capital(short_method(maps.maps[which[place]])) for place in order]
        _draw_agreement(page, agreement[np.ix_(order, order)], names, agreement_words)
    own = "Every map has colours of its own: compare places, not shades."
    added = list(filter(None, (sum_words(maps, maps.maps[number]) for number in which)))
    below = (caption, *added, own)
    return page.finish("\n".join(in_figure(note, keep="\n") for note in below if note))


def _rank(words: str) -> int:
    """Evidence first, then where it looked, then controls."""
    return ("", DISAGREEMENT, NOT_EVIDENCE, CONTROL).index(words)


def _draw_agreement(
    page: Page, agreement: npt.NDArray[np.float64], names: Sequence[str], words: str
) -> None:
    """The lower half of the table, with names on the diagonal; moves the top below it."""
    page.top += 0.1
    page.paragraph(f"How far they agree: {words}", size=10, bold=True, colour=DARK)
    page.top += 0.05
    colours = ColourScale(-1, 1, True, 0, 0, "")
    label = 1.75
    side = min(CELL, (PAGE_WIDTH - 2 * MARGIN - 2 * label) / len(names))
    for row, name in enumerate(names):
        top = page.top + row * side
        page.write(
            MARGIN + label - 0.08, top + side / 2, name, size=8.5, ha="right", colour=DARK,
            width=label - 0.08,
        )  # fmt: skip
        for column in range(row):
            value = float(agreement[row, column])
            left = MARGIN + label + column * side
            rgb = colours.rgb(np.array([value], np.float32))[0] / 255
            text = "" if np.isnan(value) else f"{value:.2f}"
            dark = not np.isnan(value) and abs(value) > 0.55
            page.square(
                left, top, side, text, facecolor=rgb, edgecolor="white",
                colour="white" if dark else DARK, size=8,
            )  # fmt: skip
        page.write(
            MARGIN + label + row * side + 0.08, top + side / 2, name if row else "", size=8.5,
            ha="left", colour=GREY, width=label - 0.08,
        )  # fmt: skip
    page.top += len(names) * side + 0.05
