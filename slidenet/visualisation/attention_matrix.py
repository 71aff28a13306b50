"""Who attends to whom, as squares: rows are queries, columns are keys, darker for more heads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from slidenet.visualisation.page import (
    MARGIN,
    PAGE_WIDTH,
    Page,
    line_height,
    shaded,
    strength,
    wrapped,
)
from slidenet.visualisation.style import DARK, FRAME, GREY, PALE, SHADES

Array = npt.NDArray[Any]

MOST_COLUMNS = 4
LARGEST_PANEL = 4.6
SQUARE_WITH_GRID = 0.06
"""From this size on, inches, squares are told apart by thin lines."""

THINNEST_CHUNK = 0.3
"""Inches; where chunks are smaller, thick lines between them would hide what they hold."""

_LEFT, _GAP, _TICKS = 0.62, 0.24, 0.26


@dataclass(frozen=True, eq=False)
class Panel:
    """One matrix.

    Attributes:
        title: Above it, such as "head 2" or "branch w = 16, r = 4".
        note: Below it, such as the share of all pairs.
        share: float (rows, columns) from 0 to 1: the share of the heads that attend to the pair;
            where a square stands for many pairs, of all their pairs and heads.
    """

    title: str
    note: str
    share: Array


def matrices_figure(
    panels: Sequence[Panel],
    *,
    length: int,
    title: str,
    note: str = "",
    borders: Sequence[int] = (),
) -> Figure:
    """Matrices of one sequence side by side, up to four in a row.

    Args:
        panels: What to draw, all with as many squares; at most about 256 x 256.
        length: Positions of the sequence. Where there are fewer squares, each stands for many
            pairs, and the caption says so.
        title: Above all.
        note: Below all.
        borders: Positions at which another rank's chunk begins; drawn as lines.
    """
    columns = _columns(len(panels))
    free = PAGE_WIDTH - 2 * MARGIN - _LEFT
    side = min((free - (columns - 1) * _GAP) / columns, LARGEST_PANEL)
    taken = 2 * MARGIN + _LEFT + columns * side + (columns - 1) * _GAP
    page = Page(title, width=taken + MARGIN if columns == 1 else PAGE_WIDTH)
    for first in range(0, len(panels), columns):
        row = panels[first : first + columns]
        titles = [wrapped(panel.title, side, size=9.5, bold=True) for panel in row]
        notes = [wrapped(panel.note, side, size=8.5) for panel in row]
        heading = max(map(len, titles)) * line_height(9.5)
        top = page.top + heading + 0.05
        below = top + side + _TICKS + (0.16 if first + columns >= len(panels) else 0.02)
        for number, panel in enumerate(row):
            left = MARGIN + _LEFT + number * (side + _GAP)
            page.write(
                left, top - 0.05, "\n".join(titles[number]), size=9.5, bold=True, ha="left",
                va="bottom",
            )  # fmt: skip
            axes = page.axes(left, top, side, side)
            draw_squares(axes, shaded(panel.share), length, side=side, borders=borders)
            if number:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel("Query", color=DARK, fontsize=9)
            if first + columns >= len(panels):
                axes.set_xlabel("Key", color=DARK, fontsize=9, labelpad=1)
            page.write(
                left, below, "\n".join(notes[number]), size=8.5, colour=GREY, ha="left", va="top"
            )
        page.top = below + max(map(len, notes)) * line_height(8.5) + 0.14
    rows = panels[0].share.shape[0]
    _scale(page, rows < length, any(_has_shades(panel.share) for panel in panels))
    return page.finish(_with_coarseness(note, rows, length))


def draw_squares(
    axes: Axes, colours: Array, length: int, *, side: float, borders: Sequence[int] = ()
) -> None:
    """Squares of a matrix on axes that count positions.

    Args:
        axes: Square axes.
        colours: RGB (rows, columns, 3).
        length: Positions from the first square to the last.
        side: Of the axes, inches: squares large enough get thin lines between them.
        borders: Positions before which a line is drawn, both ways.
    """
    rows, columns = colours.shape[:2]
    ends = (-0.5, length - 0.5)
    axes.imshow(colours, extent=(*ends, *ends[::-1]), interpolation="auto", aspect="auto")
    if side / rows >= SQUARE_WITH_GRID:
        lines: dict[str, Any] = {"color": PALE, "linewidth": 0.5, "zorder": 2}
        axes.vlines(np.arange(1, columns) * length / columns - 0.5, *ends, **lines)
        axes.hlines(np.arange(1, rows) * length / rows - 0.5, *ends, **lines)
    width = 0.9 if side > (len(borders) + 1) * THINNEST_CHUNK else 0.4
    for border in borders:
        axes.axvline(border - 0.5, color=DARK, linewidth=width, zorder=3)
        axes.axhline(border - 0.5, color=DARK, linewidth=width, zorder=3)
    axes.set(xlim=ends, ylim=ends[::-1])
    wanted = 2 if side < 1.8 and length >= 10_000 else 4
    for axis in (axes.xaxis, axes.yaxis):
        if length % wanted == 0 and length <= 4096:
            axis.set_ticks(range(0, length, length // wanted))
        else:
            axis.set_major_locator(MaxNLocator(wanted, integer=True, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(labelsize=8, colors=GREY, length=2.5, pad=2)
    for spine in axes.spines.values():
        spine.set_color(FRAME)


def _columns(panels: int) -> int:
    """How many stand in a row: as few empty places as can be."""
    if panels <= MOST_COLUMNS:
        return panels
    return min((MOST_COLUMNS, MOST_COLUMNS - 1), key=lambda n: (-panels % n, -n))


def _has_shades(share: Array) -> bool:
    return bool(((share > 0) & (share < 1)).any())


def _scale(page: Page, coarse: bool, shades: bool) -> None:
    """What a colour means: two squares, or a bar from pale to full."""
    full = "all pairs of the square, by every head" if coarse else "every head"
    if not shades:
        page.key([("white", "not attended"), (shaded(np.ones((1, 1)))[0, 0], "attended")])
        return
    left, bar = MARGIN, 1.3 if page.width == PAGE_WIDTH else 0.9
    page.key([("white", "not attended")], left=left)
    page.top -= 0.24
    axes = page.axes(left + 1.45, page.top, bar, 0.14)
    levels = np.linspace(0.01, 1, 100)[None]
    axes.imshow(SHADES(strength(levels)), aspect="auto", interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color(FRAME)
    text = left + 1.45 + bar + 0.08
    lines = wrapped(f"darker for more heads, up to {full}", page.width - MARGIN - text, size=9)
    page.write(text, page.top - 0.02, "\n".join(lines), ha="left", va="top")
    page.top += 0.24 + (len(lines) - 1) * line_height(9)


def _with_coarseness(note: str, rows: int, length: int) -> str:
    if rows >= length:
        return note
    side = f"{length / rows:,.4g}"
    return f"{note}\nDrawn coarse: a square stands for {side} x {side} pairs.".lstrip()
