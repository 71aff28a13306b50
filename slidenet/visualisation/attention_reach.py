"""How far attention reaches over layers, and how its cost grows with length."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page, wrapped
from slidenet.visualisation.style import (
    BAND_OPACITY,
    COLOURS,
    DARK,
    GREY,
    GUIDE,
    line_style,
    style_axes,
)

DENSE = "dense"
WIDE_SPAN = 30
"""From this ratio of largest to smallest on, the axis is logarithmic."""

_LEFT, _LEGEND, _HEIGHT = 0.95, 1.75, 3.3


def reach_figure(
    least: Sequence[int],
    median: Sequence[int],
    greatest: Sequence[int],
    *,
    possible: int,
    title: str,
    note: str = "",
) -> Figure:
    """How many tokens information can have come from, layer by layer.

    Args:
        least: After 1, 2, ... layers, the tokens that reach the token reached by fewest.
        median: The same for the token in the middle.
        greatest: The same for the token reached by most.
        possible: Tokens that can reach any one at all; drawn as a line.
        title: Above the plot.
        note: Below it.
    """
    page = Page(title)
    axes = _plot(page)
    layers = range(1, len(least) + 1)
    axes.fill_between(layers, least, greatest, color=COLOURS[0], alpha=BAND_OPACITY, linewidth=0)
    axes.axhline(possible, **GUIDE)
    entries = [("greatest", greatest), ("median", median), ("least", least)]
    for number, (name, values) in enumerate(entries):
        colour, dash = line_style(number)
        axes.plot(
            layers, values, color=colour, linestyle=dash, linewidth=1.8, label=name,
            marker="^os"[number] if len(layers) <= 30 else None, markersize=5, clip_on=False,
            zorder=3,
        )  # fmt: skip
    _token_axis(axes, min(least), min(median), max(possible, *greatest))
    axes.set_xlim(0.8, len(least) + 0.2)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel="Layers", ylabel="Tokens reached")
    axes.annotate(
        f"all {possible:,}", (0.995, possible), xycoords=("axes fraction", "data"),
        xytext=(0, 7), textcoords="offset points", ha="right", fontsize=9, color=GREY,
    )  # fmt: skip
    style_axes(axes)
    _legend(axes)
    return page.finish(note)


def growth_figure(
    lengths: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    *,
    title: str,
    note: str = "",
    y_label: str = "Attended pairs",
) -> Figure:
    """Cost by length on logarithmic axes; a straight line of slope 2 is quadratic.

    Args:
        lengths: Ascending numbers of tokens.
        curves: Per name its cost at each of them; the one named "dense" is the grey reference.
        title: Above the plot.
        note: Below it.
        y_label: What is counted.
    """
    page = Page(title)
    axes = _plot(page)
    number = 0
    for name, values in curves.items():
        style: dict[str, Any] = {"color": GREY, "linestyle": (0, (3, 3)), "linewidth": 1.4}
        if name != DENSE:
            colour, dash = line_style(number)
            style = {"color": colour, "linestyle": dash, "linewidth": 1.9}
            number += 1
        axes.plot(lengths, values, label=name, zorder=3, **style)
    axes.set(xscale="log", yscale="log", xlabel="Tokens", ylabel=y_label)
    axes.xaxis.set_major_formatter(FuncFormatter(_short_number))
    axes.yaxis.set_major_formatter(FuncFormatter(_short_number))
    style_axes(axes)
    axes.minorticks_off()
    _legend(axes)
    return page.finish(note)


def _plot(page: Page) -> Axes:
    """Axes over the whole page with room for labels; moves the top below them."""
    wide = PAGE_WIDTH - 2 * MARGIN - _LEFT - _LEGEND
    axes = page.axes(MARGIN + _LEFT, page.top + 0.1, wide, _HEIGHT)
    page.top += _HEIGHT + 0.65
    return axes


def _legend(axes: Axes) -> None:
    """Names of the curves right of the plot."""
    handles, names = axes.get_legend_handles_labels()
    labels = ["\n".join(wrapped(name, _LEGEND - 0.55, size=9.5)) for name in names]
    legend = axes.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9.5,
        labelcolor=DARK, handlelength=2.6, borderaxespad=0,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold dollar signs


def _token_axis(axes: Axes, smallest: int, middle: int, largest: int) -> None:
    """A logarithmic axis of tokens where the middle one is far below the largest; else from 0.

    The smallest alone says little: under a causal mask the first token reaches itself only.
    """
    if smallest > 0 and largest > WIDE_SPAN * middle:
        axes.set_yscale("log")
        axes.set_ylim(smallest / 1.4, largest * 1.8)
    else:
        axes.set_ylim(0, largest * 1.12)
    axes.yaxis.set_major_formatter(FuncFormatter(_short_number))


def _short_number(value: float, _: object = None) -> str:
    """`64`, `16k`, `2.5M`, `1T`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= value < 1000 * size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
