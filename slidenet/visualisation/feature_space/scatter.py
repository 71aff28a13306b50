"""Tiles or slides laid out on a plane, coloured by group or by number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from slidenet.core.arrays import Float64Array, FloatArray, UInt8Array
from slidenet.visualisation.feature_space.palette import palette
from slidenet.visualisation.page import MARGIN, Page
from slidenet.visualisation.style import DARK, FRAME, GREY, PALE, short_name

PANEL_IN = 3.72
GAP_IN = 0.26
POINT_AREA = (3.0, 60.0)
"""Area of a point where there are many and few, in square points."""
MISSING_RGB = (200, 204, 211)
NUMBERS = "viridis"
MOST_NAMED = 10


@dataclass(frozen=True, eq=False)
class Colouring:
    """One way to colour the points.

    Attributes:
        title: What the colours are.
        rgb: uint8 (n, 3).
        key: Colours with what they mean; of numbers the ends of the scale.
        labels: Texts at places of the layout, such as numbers of clusters.
        names_points: Whether the texts are names of the points they are at.
    """

    title: str
    rgb: UInt8Array
    key: Sequence[tuple[tuple[float, float, float], str]] = ()
    labels: Sequence[tuple[float, float, str]] = ()
    names_points: bool = False


def coloured_by_group(
    title: str, groups: Sequence[str | None], *, order: Sequence[str] | None = None
) -> Colouring:
    """Points in the colour of their group; the largest `MOST_NAMED` have one each.

    Args:
        title: What the groups are.
        groups: Of each point; None: not known, which is grey.
        order: All groups in the order of their colours; default: by size, then name.
    """
    counts = {name: groups.count(name) for name in dict.fromkeys(groups) if name is not None}
    names = sorted(counts, key=lambda name: (-counts[name], name)) if order is None else [*order]
    shown = names if order is not None else names[:MOST_NAMED]
    colour = dict(zip(shown, palette(len(shown)).tolist(), strict=True))
    rgb = np.array([colour.get(g, MISSING_RGB) if g else MISSING_RGB for g in groups], np.uint8)
    key = [(_unit(colour[name]), short_name(name)) for name in shown]
    others, unknown = len(names) - len(shown), sum(group is None for group in groups)
    if others or unknown:
        words = ([f"{others} more"] if others else []) + (["not known"] if unknown else [])
        key.append((_unit(MISSING_RGB), ", ".join(words)))
    return Colouring(title, rgb.reshape(-1, 3), key)


def coloured_by_number(title: str, values: FloatArray) -> Colouring:
    """Points by a number, dark to bright; NaN is grey."""
    import matplotlib

    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    scale, colours = Normalize(low, max(high, low + 1e-12)), matplotlib.colormaps[NUMBERS]
    rgb = np.full((len(values), 3), MISSING_RGB, np.uint8)
    rgb[known] = np.rint(255 * np.asarray(colours(scale(values[known])))[:, :3])
    steps = np.linspace(low, high, 4)
    key = [(colours(scale(step))[:3], f"{step:.4g}") for step in steps]
    if not known.all():
        key.append((_unit(MISSING_RGB), "not known"))
    return Colouring(title, rgb, key)


def layout_figure(
    points: Float64Array, colourings: Sequence[Colouring], *, title: str, note: str
) -> Figure:
    """One layout, once for each way to colour it, two beside each other.

    Args:
        points: (n, 2).
        colourings: At least one.
        title: Heading.
        note: What the layout is, and what it does not say; below.
    """
    page = Page(title)
    few = 1 / (1 + len(points) / 100)
    area = POINT_AREA[0] + (POINT_AREA[1] - POINT_AREA[0]) * few
    order = np.random.default_rng(0).permutation(len(points))  # no group lies over all others
    for first in range(0, len(colourings), 2):
        page.top += 0.18
        top = page.top
        pair = colourings[first : first + 2]
        for number, colouring in enumerate(pair):
            left = MARGIN + number * (PANEL_IN + GAP_IN)
            page.write(left, top - 0.08, colouring.title, size=10, bold=True, ha="left",
                       width=PANEL_IN)  # fmt: skip
            axes = page.axes(left, top + 0.04, PANEL_IN, PANEL_IN)
            rgb = colouring.rgb[order] / 255.0
            x, y = points[order].T
            axes.scatter(x, y, s=area, c=rgb, linewidths=0, rasterized=True)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.margins(0.1 if any(one.names_points for one in colourings) else 0.04)
            axes.set_aspect("equal", adjustable="datalim")
            for spine in axes.spines.values():
                spine.set_color(FRAME)
            _write_labels(axes, colouring)
        page.top = top + PANEL_IN + 0.16
        for colouring in pair:
            if colouring.key:
                if len(pair) > 1:
                    page.paragraph(colouring.title, size=8.5)
                    page.top += 0.04
                page.key(list(colouring.key))
    return page.finish(note)


def _write_labels(axes: Axes, colouring: Colouring) -> None:
    """Labels of groups on a plate in their middle, names of points below them in small letters."""
    plate = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "edgecolor": PALE,
             "linewidth": 0.6}  # fmt: skip
    for x, y, text in colouring.labels:
        if colouring.names_points:
            axes.annotate(
                text, (x, y), (0, -5), textcoords="offset points", fontsize=6, color=GREY,
                ha="center", va="top",
            )  # fmt: skip
        else:
            axes.text(
                x, y, text, fontsize=8.5, weight="bold", color=DARK, ha="center", va="center",
                bbox=plate,
            )  # fmt: skip


def middles(points: Float64Array, groups: Sequence[str]) -> list[tuple[float, float, str]]:
    """The median place of each group, with its name, for `Colouring.labels`."""
    of_point = np.array(groups)
    return [
        (*np.median(points[of_point == name], axis=0).tolist(), name)
        for name in dict.fromkeys(groups)
    ]


def _unit(rgb: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in rgb)
    return red, green, blue
