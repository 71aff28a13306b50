"""Tables of counts as pictures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from slidenet.visualisation.style import (
    DARK,
    GREY,
    PALE,
    SHADES,
    blank_figure,
    set_title,
    short_name,
)


def confusion_figure(
    counts: npt.NDArray[Any], class_names: Sequence[str], title: str = "", *, caption: str = ""
) -> Figure:
    """Counts of true against predicted classes, shaded by the share of the true class.

    Args:
        counts: int (K, K), rows the true class.
        class_names: K names.
        title: Above the plot.
        caption: Below the plot, such as how classes were decided.
    """
    number = len(class_names)
    side = max(3.4, 0.85 * number + 1.2)
    figure = blank_figure(side + 1.2, side + (0.35 if caption else 0.1))
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    picture = axes.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for row in range(number):
        for column in range(number):
            text = f"{counts[row, column]:,}"
            percent = f"{share[row, column]:.0%}" if totals[row, 0] else ""
            colour = "white" if share[row, column] > 0.55 else DARK
            axes.text(
                column, row, f"{text}\n{percent}", ha="center", va="center", fontsize=9.5,
                color=colour, linespacing=1.3,
            )  # fmt: skip
    names = [short_name(name) for name in class_names]
    long = max(map(len, names)) * 0.085 > 0.85
    axes.set_xticks(
        range(number), names, rotation=35 if long else 0, ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )  # fmt: skip
    axes.set_yticks(range(number), names)
    axes.set_xticks(np.arange(number - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(number - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, labelsize=9.5, colors=DARK)
    axes.set_xlabel("Predicted", color=DARK, labelpad=8)
    axes.set_ylabel("True", color=DARK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_color(PALE)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, aspect=22, format=PercentFormatter(1))
    bar.set_label("Share of the true class", color=GREY, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, colors=GREY, length=0)
    set_title(axes, title)
    if caption:
        figure.supxlabel(caption, fontsize=9, color=GREY)
    return figure
