"""Curves of how good predictions are, and of a fit, from plain arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from slidenet.visualisation.style import (
    ACCENT,
    BAND_OPACITY,
    COLOURS,
    DARK,
    GREY,
    GUIDE,
    LIGHT_GREY,
    blank_figure,
    capital,
    legend_below,
    line_style,
    set_title,
    short_name,
    style_axes,
)

Array = npt.NDArray[Any]

LOSSES = ("train_loss", "val_loss")


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
    figure, axes = _unit_square(
        title,
        len(lines),
        x="False positive rate (1 - specificity)",
        y="True positive rate (sensitivity)",
    )
    axes.plot([0, 1], [0, 1], **GUIDE)
    _draw(axes, lines)
    legend_below(figure, axes)
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
    figure, axes = _unit_square(
        title,
        len(lines),
        x="Recall (sensitivity)",
        y="Precision (positive predictive value)",
    )
    for number, prevalence in enumerate(prevalences):
        colour = line_style(number)[0] if len(prevalences) > 1 else GREY
        axes.axhline(prevalence, **(GUIDE | {"color": colour}), alpha=0.7)
    _draw(axes, lines, drawstyle="steps-pre")
    legend_below(figure, axes)
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
    figure = blank_figure(5.2, 6.6 + 0.22 * len(lines))
    top, bottom = figure.subplots(2, 1, height_ratios=[4.2, 1], sharex=True)
    top.plot([0, 1], [0, 1], **GUIDE)
    for number, line in enumerate(lines):
        colour, dash = line_style(number)
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
    set_title(top, title)
    style_axes(top)
    top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Observed frequency")
    bottom.hist(confidences, bins=np.linspace(0, 1, 31).tolist(), color=COLOURS[0], alpha=0.75)
    bottom.set(xlabel=capital(x_label), ylabel="Count")
    bottom.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    style_axes(bottom)
    legend_below(figure, top)
    return figure


def agreement_figure(truth: Array, predicted: Array, name: str, *, note: str = "") -> Figure:
    """Predicted against true values, one dot per bag.

    Args:
        truth: (N,).
        predicted: (N,).
        name: Of the value, for title and axes.
        note: Below the plot, such as the error with its interval.
    """
    figure = blank_figure(5.2, 5.4 + 0.2 * (note.count("\n") + 1))
    axes = figure.subplots()
    ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
    ends = ends + np.array([-0.04, 0.04]) * max(float(np.ptp(ends)), 1e-9)
    axes.plot(ends, ends, **GUIDE)
    axes.scatter(truth, predicted, s=18, color=COLOURS[0], alpha=0.55, linewidth=0, zorder=3)
    axes.set(xlim=ends.tolist(), ylim=ends.tolist(), aspect="equal")
    axes.set(xlabel=f"True {name}", ylabel=f"Predicted {name}")
    style_axes(axes)
    set_title(axes, name)
    if note:
        figure.supxlabel(note, fontsize=9.5, color=DARK)
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
    figure = blank_figure(6.4, 4.9 + 0.42 * count)
    heights = [4.2, 0.28 * count + 0.25]
    top, table = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    for number, line in enumerate(lines):
        colour, dash = line_style(number)
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
    top.set_xlabel(capital(time_label))
    top.tick_params(labelbottom=True)
    style_axes(top)
    set_title(top, title)
    table.set_yticks([-n for n in range(count)], [short_name(line.name) for line in lines])
    table.set_ylim(-count + 0.4, 0.6)
    table.set_title("Number at risk", loc="left", fontsize=9, color=GREY, pad=3)
    table.tick_params(length=0, labelbottom=False, labelsize=9, colors=DARK)
    for spine in table.spines.values():
        spine.set_visible(False)
    legend_below(figure, top, note)
    return figure


def learning_curve_figure(
    epochs: Sequence[Mapping[str, float]], monitor: str, kept_epoch: int | None = None
) -> Figure:
    """Losses by epoch and, beside them, the monitored value where it is no loss.

    Args:
        epochs: Per epoch its number under "epoch", from 0, and its logged values.
        monitor: Name of the value by which the best epoch is chosen.
        kept_epoch: Whose weights are the model, from 0; None where not known.
    """
    panels = [LOSSES] if monitor in LOSSES else [LOSSES, (monitor,)]
    figure = Figure(figsize=(5.0 * len(panels), 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for number, names in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for name in names:
            known = [(e["epoch"] + 1, e[name]) for e in epochs if name in e]
            if known:
                color = LIGHT_GREY if name == "train_loss" else ACCENT
                axes.plot(*zip(*known, strict=True), label=name, color=color, marker=".")
        if kept_epoch is not None:
            label = f"kept: epoch {kept_epoch + 1}"
            axes.axvline(kept_epoch + 1, **(GUIDE | {"color": GREY}), label=label)
        axes.set_xlabel("epoch", color=DARK)
        axes.set_ylabel("loss" if names == LOSSES else names[0], color=DARK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1 or kept_epoch is not None:
            axes.legend(frameon=False)
    return figure


def _draw(axes: Axes, lines: Sequence[Line], drawstyle: str = "default") -> None:
    for number, line in enumerate(lines):
        colour, dash = line_style(number)
        if line.band_x is not None and line.low is not None and line.high is not None:
            axes.fill_between(
                line.band_x, line.low, line.high, color=colour, alpha=BAND_OPACITY, linewidth=0
            )
        axes.plot(
            line.x, line.y, color=colour, linestyle=dash, linewidth=1.8, label=line.label,
            drawstyle=drawstyle, solid_joinstyle="miter", zorder=3, clip_on=False,
        )  # fmt: skip


def _unit_square(title: str, num_lines: int, *, x: str, y: str) -> tuple[Figure, Axes]:
    """A plot of one share against another, with room for the legend of `num_lines`."""
    figure = blank_figure(5.2, 5.6 + 0.22 * num_lines)
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xlabel=x, ylabel=y)
    set_title(axes, title)
    style_axes(axes)
    return figure, axes
