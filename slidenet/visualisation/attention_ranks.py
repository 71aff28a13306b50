"""One sequence across several ranks (GPUs): queries stay, sparsified keys and values travel."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from slidenet.visualisation.attention_matrix import draw_squares
from slidenet.visualisation.page import (
    MARGIN,
    PAGE_WIDTH,
    Page,
    line_height,
    strength,
    text_width,
    two_colours,
    wrapped,
)
from slidenet.visualisation.style import COLOURS, DARK, FRAME, GREY, PALE

Array = npt.NDArray[Any]

RANK_COLOURS = (*COLOURS, "#8c510a")
"""Eight; those of further ranks repeat, and their place tells them apart."""

MOST_STRIPS = 16

_SIDE, _LEFT = 4.9, 1.5


def ranks_figure(
    local: Array,
    fetched: Array,
    bounds: Sequence[int],
    *,
    length: int,
    title: str,
    note: str = "",
) -> Figure:
    """The matrix of a sequence in chunks: which keys a rank has, and which it fetches.

    Args:
        local: float (rows, columns) from 0 to 1, share of heads (and pairs, where a square stands
            for many) whose key is on the rank of the query.
        fetched: The same for keys that come from another rank.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1; one bound more than ranks.
        length: Positions of the sequence.
        title: Above the matrix.
        note: Below it.
    """
    page = Page(title)
    top, left = page.top + 0.32, MARGIN + _LEFT
    axes = page.axes(left, top, _SIDE, _SIDE)
    colours = two_colours(local, fetched)
    draw_squares(axes, colours, length, side=_SIDE, borders=bounds[1:-1])
    axes.set_xlabel("Key", color=DARK, fontsize=9, labelpad=1)
    axes.set_ylabel("Query", color=DARK, fontsize=9)
    for rank, (low, high) in enumerate(pairwise(bounds)):
        name = _name_that_fits(rank, (high - low) / length * _SIDE)
        middle = (low + high) / 2 / length * _SIDE
        page.write(left + middle, top - 0.12, name, size=8.5, bold=True)
        page.write(MARGIN, top + middle, name, size=8.5, bold=True, ha="left")
    legend = left + _SIDE + 0.2
    entries = [(COLOURS[0], "key on the rank of the query"), (COLOURS[1], "key of another rank")]
    y = top + 0.1
    for colour, meaning in entries:
        lines = wrapped(meaning, PAGE_WIDTH - MARGIN - legend - 0.22, size=9)
        page.box(legend, y, 0.14, 0.14, facecolor=colour)
        page.write(legend + 0.22, y - 0.02, "\n".join(lines), size=9, ha="left", va="top")
        y += len(lines) * line_height(9) + 0.12
    page.top = top + _SIDE + 0.5
    if local.shape[0] < length:
        side = f"{length / local.shape[0]:,.4g}"
        note = f"{note}\nDrawn coarse: a square stands for {side} x {side} pairs.".lstrip()
    return page.finish(note)


def exchange_figure(
    fetched: Array,
    bounds: Sequence[int],
    *,
    length: int,
    title: str,
    note: str = "",
    labels: Sequence[str] = (),
) -> Figure:
    """Chunks across ranks: for each rank, which keys and values travel to it, head by head.

    One strip per rank spans the whole sequence, with a row per head. The rank's own chunk is grey:
    its queries stay there. Keys and values that come from another rank have that rank's colour.
    Of many ranks the first `MOST_STRIPS` are drawn, and the caption says so.

    Args:
        fetched: float (ranks, heads, columns) from 0 to 1: of the positions that a column stands
            for, the share whose key and value this rank receives for this head. One column per
            position, or fewer where the sequence is long.
        bounds: Rank p holds positions bounds[p] to bounds[p + 1] - 1; one bound more than ranks.
        length: Positions of the sequence.
        title: Above.
        note: Below.
        labels: One text per rank, such as how much it receives; stands above its strip.
    """
    ranks, heads, columns = fetched.shape
    page = Page(title)
    left = MARGIN + 0.85
    wide = PAGE_WIDTH - MARGIN - left
    _draw_chunks(page, bounds, length, left=left, wide=wide)
    high = min(max(heads * min(wide / columns, 0.2), 0.24), 1.1)
    owner = np.searchsorted(bounds[1:], (np.arange(columns) + 0.5) * length / columns, "right")
    palette = np.array([to_rgb(rank_colour(rank)) for rank in range(ranks)])
    for rank in range(min(ranks, MOST_STRIPS)):
        if labels:
            page.write(left, page.top, labels[rank], size=8.5, colour=GREY, ha="left", va="top")
            page.top += line_height(8.5) + 0.02
        axes = page.axes(left, page.top, wide, high)
        weight = strength(fetched[rank])[..., None]
        picture = 1 - weight + weight * palette[owner]
        axes.imshow(
            picture, extent=(-0.5, length - 0.5, heads - 0.5, -0.5), aspect="auto",
            interpolation="nearest",
        )  # fmt: skip
        low, after = bounds[rank] - 0.5, bounds[rank + 1] - 0.5
        axes.axvspan(low, after, facecolor=FRAME, linewidth=0, zorder=2)
        if wide * (after - low) / length >= 0.9 and high >= 0.2:
            axes.text(
                (low + after) / 2, (heads - 1) / 2, "queries stay", ha="center", va="center",
                fontsize=8.5, color=DARK, zorder=3,
            )  # fmt: skip
        if wide / columns >= 0.06 and high / heads >= 0.06:
            between = np.arange(1, columns) * length / columns - 0.5
            axes.vlines(between, -0.5, heads - 0.5, color=PALE, linewidth=0.5)
            axes.hlines(np.arange(1, heads) - 0.5, -0.5, length - 0.5, color=PALE, linewidth=0.5)
        axes.set(xticks=[], yticks=[], xlim=(-0.5, length - 0.5))
        for spine in axes.spines.values():
            spine.set_color(FRAME)
        page.write(MARGIN, page.top + high / 2, f"to rank {rank}", size=9, bold=True, ha="left")
        page.top += high + 0.14
    caption = (
        f"Each strip is the whole sequence as one rank sees it, with one row per head ({heads}). "
        "Grey: the rank's own chunk, whose queries never travel. "
        "Coloured: keys and values that travel to it, in the colour of the rank they come from."
    )
    if ranks > MOST_STRIPS:
        caption += f" Drawn: ranks 0 to {MOST_STRIPS - 1} of {ranks}."
    return page.finish(f"{caption}\n{note}".rstrip())


def rank_colour(rank: int) -> str:
    """The colour of a rank's keys and values."""
    return RANK_COLOURS[rank % len(RANK_COLOURS)]


def _draw_chunks(
    page: Page, bounds: Sequence[int], length: int, *, left: float, wide: float
) -> None:
    """The sequence cut into the chunks of the ranks, each in its colour."""
    page.write(MARGIN, page.top + 0.15, "sequence", size=9, bold=True, ha="left")
    spans = [
        f"{low:,} to {high - 1:,}" if high - low > 1 else f"{low:,}"
        for low, high in pairwise(bounds)
    ]
    narrowest = min(high - low for low, high in pairwise(bounds)) / length * wide
    size = next((s for s in (8, 7) if text_width(max(spans, key=len), s) < narrowest), None)
    for rank, (low, high) in enumerate(pairwise(bounds)):
        x, width = left + low / length * wide, (high - low) / length * wide
        page.box(
            x, page.top, width, 0.3, facecolor=rank_colour(rank), edgecolor="white", linewidth=1.2
        )
        page.write(
            x + width / 2, page.top + 0.15, _name_that_fits(rank, width), size=9, bold=True,
            colour="white",
        )  # fmt: skip
        if size:
            page.write(x + width / 2, page.top + 0.4, spans[rank], size=size, colour=GREY)
    page.top += 0.58


def _name_that_fits(rank: int, width: float) -> str:
    """`rank 3`, or `3` where that is too wide, or nothing."""
    for name in (f"rank {rank}", str(rank)):
        if text_width(name, 9, bold=True) + 0.05 <= width:
            return name
    return ""
