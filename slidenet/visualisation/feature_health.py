"""How long the features of the tiles of each slide are, slide beside slide."""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from slidenet.visualisation.style import COLOURS, GUIDE, blank_figure, set_title, style_axes


def norms_figure(
    quantiles: npt.NDArray[Any], far: npt.NDArray[np.bool_], title: str = ""
) -> Figure:
    """Norms of tile features: the median of each slide, and the middle nine tenths of its tiles.

    Args:
        quantiles: (S, 3): the 5 %, 50 % and 95 % quantile of each slide, slides in any order.
        far: bool (S,), slides that lie far from the others, drawn in another colour and shape.
        title: Above the plot.
    """
    order = np.argsort(quantiles[:, 1], kind="stable")
    low, middle, high = quantiles[order].T
    place, away = np.arange(1, len(order) + 1), far[order]
    figure = blank_figure(7.2, 3.6)
    axes = figure.subplots()
    for here, colour, marker in ((~away, COLOURS[0], "o"), (away, COLOURS[1], "D")):
        if here.any():
            spread = np.stack([middle - low, high - middle])[:, here]
            axes.errorbar(
                place[here], middle[here], np.maximum(spread, 0), fmt=marker, markersize=3,
                color=colour, ecolor=colour, elinewidth=0.8, alpha=0.8,
                label="far from the others" if colour == COLOURS[1] else "slides",
            )  # fmt: skip
    axes.axhline(float(np.median(middle)), **GUIDE)
    axes.set(xlabel="Slides, by their median", ylabel="Norm of a tile's features")
    axes.set_xlim(0, len(order) + 1)
    style_axes(axes)
    set_title(axes, title)
    if away.any():
        axes.legend(frameon=False, fontsize=9)
    return figure
