"""Plots of how good predictions are, from plain arrays.

Colours are those of Okabe and Ito (2008), told apart by colour-blind readers too, and every line
has its own dash pattern as well. Legends lie below the axes, where no curve can run into them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter

from slidenet.visualisation.figure import INK, SOFT_INK

Array = npt.NDArray[Any]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d2433")
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (10, 3)))
PALE = "#e6e8ec"
BAND_OPACITY = 0.16
MAX_NAME = 22
SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", "#0072b2"])


@dataclass(frozen=True, eq=False)
class Line:
    """One curve of a plot.

    Attributes:
        x: (P,).
        y: (P,).
        label: For the legend, with its number and interval.
        band_x: (G,) where the band is known, or None.
        low: (G,) its lower edge.
        high: (G,) its upper edge.
    """

    x: Array
    y: Array
    label: str
    band_x: Array | None = None
    low: Array | None = None
    high: Array | None = None


@dataclass(frozen=True, eq=False)
class SurvivalLine:
    """Survival of one group, a step function.

    Attributes:
        times: (T,) ascending, from 0.
        survival: (T,).
        low: (T,) lower edge of the interval.
        high: (T,) upper edge.
        name: Of the group, for the table of numbers at risk.
        label: For the legend.
        at_risk: Numbers at risk at each of the plot's ticks.
    """

    times: Array
    survival: Array
    low: Array
    high: Array
    name: str
    label: str
    at_risk: Sequence[int]


def roc_figure(lines: Sequence[Line], title: str = "") -> Figure:
    """True positive rate against false positive rate.

    Args:
        lines: Curves, with their AUROC in the label.
        title: Above the plot.
    """
    figure, axes = _square(title, len(lines))
    axes.plot([0, 1], [0, 1], color=SOFT_INK, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    _draw(axes, lines)
    _share_axes(axes, "False positive rate (1 - specificity)", "True positive rate (sensitivity)")
    _legend_below(figure, axes)
    return figure


def precision_recall_figure(
    lines: Sequence[Line], prevalences: Sequence[float], title: str = ""
) -> Figure:
    """Precision against recall, with the precision of calling everything positive.

    Args:
        lines: Curves, with their average precision in the label; drawn as steps.
        prevalences: Share of positive bags of each curve.
        title: Above the plot.
    """
    figure, axes = _square(title, len(lines))
    for number, prevalence in enumerate(prevalences):
        colour = _style(number)[0] if len(prevalences) > 1 else SOFT_INK
        axes.axhline(
            prevalence, color=colour, linewidth=0.9, linestyle=(0, (3, 3)), alpha=0.7, zorder=1
        )
    _draw(axes, lines, drawstyle="steps-pre")
    _share_axes(axes, "Recall (sensitivity)", "Precision (positive predictive value)")
    _legend_below(figure, axes)
    return figure


def calibration_figure(
    lines: Sequence[Line], confidences: Array, x_label: str, title: str = ""
) -> Figure:
    """Observed frequency against predicted probability, above how often each was predicted.

    Args:
        lines: `x` the mean probability of each bin, `y` how often it was right, `low` and `high`
            its interval at the same bins, where known.
        confidences: (N,) every predicted probability.
        x_label: What the probability is of.
        title: Above the plot.
    """
    figure = _blank((5.2, 6.6 + 0.22 * len(lines)))
    top, bottom = figure.subplots(2, 1, height_ratios=[4.2, 1], sharex=True)
    top.plot([0, 1], [0, 1], color=SOFT_INK, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    for number, line in enumerate(lines):
        colour, dash = _style(number)
        if line.low is not None and line.high is not None:
            spread = np.stack([line.y - line.low, line.high - line.y])
            top.errorbar(
                line.x, line.y, np.maximum(spread, 0), fmt="none", ecolor=colour, elinewidth=1,
                alpha=0.55, zorder=2,
            )  # fmt: skip
        top.plot(
            line.x, line.y, color=colour, linestyle=dash, marker="os^D"[number % 4], markersize=4.5,
            linewidth=1.6, label=line.label, zorder=3,
        )  # fmt: skip
    _title(top, title)
    _quiet(top)
    top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Observed frequency")
    bottom.hist(confidences, bins=np.linspace(0, 1, 31).tolist(), color=COLOURS[0], alpha=0.75)
    bottom.set(xlabel=_capital(x_label), ylabel="Count")
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    _quiet(bottom)
    _legend_below(figure, top)
    return figure


def confusion_figure(
    counts: Array, class_names: Sequence[str], title: str = "", *, caption: str = ""
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
    figure = _blank((side + 1.2, side + (0.35 if caption else 0.1)))
    axes = figure.subplots()
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    picture = axes.imshow(share, cmap=SHADES, vmin=0, vmax=1)
    for row in range(number):
        for column in range(number):
            text = f"{counts[row, column]:,}"
            percent = f"{share[row, column]:.0%}" if totals[row, 0] else ""
            colour = "white" if share[row, column] > 0.55 else INK
            axes.text(
                column, row, f"{text}\n{percent}", ha="center", va="center", fontsize=9.5,
                color=colour, linespacing=1.3,
            )  # fmt: skip
    names = [_short(name) for name in class_names]
    long = max(map(len, names)) * 0.085 > 0.85
    axes.set_xticks(
        range(number), names, rotation=35 if long else 0, ha="right" if long else "center",
        rotation_mode="anchor" if long else "default",
    )  # fmt: skip
    axes.set_yticks(range(number), names)
    axes.set_xticks(np.arange(number - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(number - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, labelsize=9.5, colors=INK)
    axes.set_xlabel("Predicted", color=INK, labelpad=8)
    axes.set_ylabel("True", color=INK, labelpad=8)
    for spine in axes.spines.values():
        spine.set_color(PALE)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, aspect=22, format=PercentFormatter(1))
    bar.set_label("Share of the true class", color=SOFT_INK, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8.5, colors=SOFT_INK, length=0)
    _title(axes, title)
    if caption:
        figure.supxlabel(caption, fontsize=9, color=SOFT_INK)
    return figure


def agreement_figure(truth: Array, predicted: Array, name: str, *, note: str = "") -> Figure:
    """Predicted against true values, one dot per bag.

    Args:
        truth: (N,).
        predicted: (N,).
        name: Of the value, for title and axes.
        note: Below the plot, such as the error with its interval.
    """
    figure = _blank((5.2, 5.4 + 0.2 * (note.count("\n") + 1)))
    axes = figure.subplots()
    ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
    ends = ends + np.array([-0.04, 0.04]) * max(float(np.ptp(ends)), 1e-9)
    axes.plot(ends, ends, color=SOFT_INK, linewidth=0.9, linestyle=(0, (3, 3)), zorder=1)
    axes.scatter(truth, predicted, s=18, color=COLOURS[0], alpha=0.55, linewidth=0, zorder=3)
    axes.set(xlim=ends.tolist(), ylim=ends.tolist(), aspect="equal")
    axes.set(xlabel=f"True {name}", ylabel=f"Predicted {name}")
    _quiet(axes)
    _title(axes, name)
    if note:
        figure.supxlabel(note, fontsize=9.5, color=INK)
    return figure


def survival_figure(
    lines: Sequence[SurvivalLine],
    ticks: Array,
    *,
    time_label: str = "Time",
    title: str = "",
    note: str = "",
) -> Figure:
    """Kaplan-Meier curves with their intervals, and the numbers at risk below.

    Args:
        lines: Groups.
        ticks: (K,) times at which numbers at risk are given, within those of the curves.
        time_label: Name of the time axis.
        title: Above the plot.
        note: Above the legend, such as the log-rank test.
    """
    count = len(lines)
    figure = _blank((6.4, 4.9 + 0.42 * count))
    heights = [4.2, 0.28 * count + 0.25]
    top, table = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    for number, line in enumerate(lines):
        colour, dash = _style(number)
        top.fill_between(
            line.times, line.low, line.high, step="post", color=colour, alpha=BAND_OPACITY,
            linewidth=0,
        )  # fmt: skip
        top.step(
            line.times, line.survival, where="post", color=colour, linestyle=dash, linewidth=1.8,
            label=line.label,
        )  # fmt: skip
        for time, at_risk in zip(ticks, line.at_risk, strict=True):
            table.text(
                time, -number, f"{at_risk:,}", ha="center", va="center", fontsize=9, color=colour
            )
    top.set_ylim(-0.02, 1.03)
    end = max(float(line.times[-1]) for line in lines)
    top.set_xlim(-0.03 * end, 1.03 * end)
    top.set_ylabel("Probability of no event")
    top.yaxis.set_major_formatter(PercentFormatter(1))
    top.set_xticks(ticks)
    top.set_xlabel(_capital(time_label))
    top.tick_params(labelbottom=True)
    _quiet(top)
    _title(top, title)
    table.set_yticks([-n for n in range(count)], [_short(line.name) for line in lines])
    table.set_ylim(-count + 0.4, 0.6)
    table.set_title("Number at risk", loc="left", fontsize=9, color=SOFT_INK, pad=3)
    table.tick_params(length=0, labelbottom=False, labelsize=9, colors=INK)
    for spine in table.spines.values():
        spine.set_visible(False)
    _legend_below(figure, top, note)
    return figure


def _draw(axes: Axes, lines: Sequence[Line], drawstyle: str = "default") -> None:
    for number, line in enumerate(lines):
        colour, dash = _style(number)
        if line.band_x is not None and line.low is not None and line.high is not None:
            axes.fill_between(
                line.band_x, line.low, line.high, color=colour, alpha=BAND_OPACITY, linewidth=0
            )
        axes.plot(
            line.x, line.y, color=colour, linestyle=dash, linewidth=1.8, label=line.label,
            drawstyle=drawstyle, solid_joinstyle="miter", zorder=3, clip_on=False,
        )  # fmt: skip


def _style(number: int) -> tuple[str, Any]:
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def _blank(size: tuple[float, float]) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=size, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _square(title: str, num_lines: int) -> tuple[Figure, Axes]:
    figure = _blank((5.2, 5.6 + 0.22 * num_lines))
    axes = figure.subplots()
    _title(axes, title)
    return figure, axes


def _title(axes: Axes, title: str) -> None:
    if title:
        axes.set_title(title, loc="left", fontsize=11.5, weight="bold", color=INK, pad=10)


def _share_axes(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    _quiet(axes)


def _quiet(axes: Axes) -> None:
    axes.grid(color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=SOFT_INK, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(SOFT_INK)
        spine.set_linewidth(0.8)


def _legend_below(figure: Figure, axes: Axes, note: str = "") -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize=9.5, ncols=1,
        handlelength=3, labelcolor=INK, title=note or None, title_fontsize=9.5,
    )  # fmt: skip
    legend.get_title().set_color(INK)


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
