"""A page laid out in inches: a title, panels and squares where they are put, a caption below.

Documentation shows a picture about 800 pixels wide. A page is 8 inches wide, so that a text of
9 points is as large as the text around it. Positions run from the top left corner; the height is
that of what was put on the page.
"""

import textwrap
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from slidenet.visualisation.style import (
    COLOURS,
    DARK,
    FONT,
    FRAME,
    GREY,
    SHADES,
    blank_figure,
    in_figure,
)

Array = npt.NDArray[Any]

PAGE_WIDTH = 8.0
MARGIN = 0.15
LINE_SPACING = 1.35
FAINTEST = 0.18
"""How strong the colour of the smallest share above none is: nothing attended is invisible."""

_LETTER, _BOLD_LETTER = 0.545, 0.62  # width of a letter in prose, in units of the font size
_DIGIT, _POINT = 0.64, 0.36  # of a digit, and of a point or minus
_POINTS = 72  # per inch
_COARSE_DPI, _FINE_GRID = 100, 1.02  # how much wider letters become on finer grids


class Page:
    """A figure that is filled from top to bottom.

    Attributes:
        figure: The figure; its height is right after `finish`.
        width: Of the page, inches.
        ground: Axes under everything, in inches from the top left corner.
        top: Where the next thing goes, inches from the top.
    """

    def __init__(self, title: str = "", *, width: float = PAGE_WIDTH) -> None:
        self.width = width
        self.figure: Figure = blank_figure(width, 1)
        self.figure.set_layout_engine("none")
        self.ground: Axes = self.figure.add_axes((0, 0, 1, 1), label="ground")
        self.ground.set_axis_off()
        self.ground.set_xlim(0, width)
        self.top = MARGIN
        self._boxes: list[tuple[Axes, tuple[float, float, float, float]]] = []
        if title:
            self.paragraph(title, size=12.5, bold=True, colour=DARK)
            self.top += 0.08

    def paragraph(
        self,
        text: str,
        *,
        left: float = MARGIN,
        width: float | None = None,
        size: float = 9.5,
        bold: bool = False,
        colour: Any = GREY,
    ) -> None:
        """Lines of text at the top, broken at `width` inches; moves the top below them.

        Without a width they are as long as the page allows.
        """
        width = self.width - MARGIN - left if width is None else width
        for line in wrapped(in_figure(text, keep="\n"), width, size=size, bold=bold):
            self.write(
                left, self.top, line, size=size, bold=bold, colour=colour, ha="left", va="top"
            )
            self.top += line_height(size)

    def write(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 9,
        bold: bool = False,
        colour: Any = DARK,
        ha: str = "center",
        va: str = "center",
        width: float | None = None,
    ) -> None:
        """One text at a place, inches; centred there unless said otherwise, cut at `width`."""
        text = in_figure(text, keep="\n")
        if width is not None:
            text = cut_to(text, width, size=size, bold=bold)
        self.ground.text(
            x, y, text, fontsize=size, color=colour, weight="bold" if bold else "normal", zorder=6,
            horizontalalignment=ha, verticalalignment=va, linespacing=LINE_SPACING,
            parse_math=False,
        )  # fmt: skip

    def box(self, x: float, y: float, width: float, height: float, **style: Any) -> None:
        """A rectangle with its top left corner at a place, inches; framed thinly unless said."""
        drawn: dict[str, Any] = {"facecolor": "none", "edgecolor": FRAME, "linewidth": 0.6} | style
        self.ground.add_patch(Rectangle((x, y), width, height, **drawn))

    def square(self, x: float, y: float, side: float, text: str = "", **style: Any) -> None:
        """A square with a text in it, as large as fits.

        Args:
            x: Left edge, inches.
            y: Upper edge, inches.
            side: Inches.
            text: A number.
            **style: As of `box`; `colour` and `size` of the text; `zero=True` hatches it, as a slot
                that was filled up and holds no token.
        """
        if style.pop("zero", False):
            style = {"hatch": "////", "hatch_linewidth": 0.5, "facecolor": "white"} | style
        colour, most = style.pop("colour", DARK), style.pop("size", 9.0)
        self.box(x, y, side, side, **style)
        if text:
            size = min(most, number_size(text, side))
            self.write(x + side / 2, y + side / 2, text, size=size, colour=colour)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes at a place, inches."""
        axes = self.figure.add_axes((0, 0, 1, 1), label=f"panel {len(self._boxes)}")
        self._boxes.append((axes, (left, top, width, height)))
        return axes

    def picture(self, x: float, y: float, width: float, height: float, pixels: Array) -> None:
        """A framed picture with its top left corner at a place, inches.

        Without axes of its own: those of a few dozen tiles take most of the time of a page.

        Args:
            x: Left edge, inches.
            y: Upper edge, inches.
            width: Inches.
            height: Inches.
            pixels: uint8 RGB (h, w, 3), stretched to this size.
        """
        extent = (x, x + width, y + height, y)
        self.ground.imshow(
            pixels, extent=extent, aspect="auto", interpolation="antialiased", zorder=2
        )
        self.ground.set_xlim(0, self.width)  # which a picture would set to its own
        self.box(x, y, width, height, zorder=3)

    def key(self, entries: list[tuple[Any, str]], *, left: float = MARGIN) -> None:
        """Squares with what their colours mean, in one line, or in several where it is too long."""
        x, size = left, 9.0
        for colour, meaning in entries:
            width = 0.24 + text_width(meaning, size) + 0.2
            if x > left and x + width > self.width - MARGIN:
                x, self.top = left, self.top + 0.2
            self.box(x, self.top, 0.14, 0.14, facecolor=colour)
            room = self.width - MARGIN - x - 0.22
            self.write(x + 0.22, self.top + 0.07, meaning, size=size, ha="left", width=room)
            x += width
        self.top += 0.24

    def finish(self, note: str = "") -> Figure:
        """The figure, with the caption below and everything in place."""
        if note:
            self.top += 0.1
            self.paragraph(note, size=9)
        height = self.top + MARGIN
        self.figure.set_size_inches(self.width, height)
        self.ground.set_ylim(height, 0)
        for axes, (left, top, wide, high) in self._boxes:
            bottom = 1 - (top + high) / height
            axes.set_position((left / self.width, bottom, wide / self.width, high / height))
        return self.figure


def line_height(size: float) -> float:
    """From one line of text to the next, inches, for a font size in points."""
    return LINE_SPACING * size / _POINTS


def number_size(text: str, side: float) -> float:
    """The font size, points, at which a number fits into a square of `side` inches."""
    width = sum(_POINT if letter in ".-" else _DIGIT for letter in text)
    return 0.9 * side * _POINTS / max(width, 2 * _DIGIT)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a line of prose is, inches."""
    return len(text) * size * (_BOLD_LETTER if bold else _LETTER) / _POINTS


def wrapped(text: str, width: float, *, size: float, bold: bool = False) -> list[str]:
    """The text in lines of at most `width` inches; line ends of the text are kept.

    Lines are broken where prose would be full; where that does not fit, by what is drawn, and in
    the middle of a word that would leave a line half empty.
    """
    letters = max(int(width / text_width("x", size, bold=bold)), 4)
    lines: list[str] = []
    for part in text.split("\n"):
        broken = textwrap.wrap(part, letters) or [""]
        if any(_letters_within(line, width, size=size, bold=bold) < len(line) for line in broken):
            broken, rest = [], " ".join(part.split())
            while rest:
                fits = _letters_within(rest, width, size=size, bold=bold)
                space = rest.rfind(" ", 0, fits + 1) if fits < len(rest) else fits
                at = space if space > fits / 2 else fits
                broken.append(rest[:at])
                rest = rest[at:].lstrip()
        lines += broken
    return lines


def cut_to(text: str, width: float, *, size: float, bold: bool = False) -> str:
    """The text, with an ellipsis for what does not fit into `width` inches."""
    if _letters_within(text, width, size=size, bold=bold) == len(text):
        return text
    room = width - _drawn_width("…", size, bold)
    return text[: _letters_within(text, room, size=size, bold=bold)].rstrip() + "…"


def _letters_within(text: str, width: float, *, size: float, bold: bool) -> int:
    """How many of the first letters are drawn within `width` inches; at least one."""
    if _drawn_width(text, size, bold) <= width:
        return len(text)
    least, most = 1, len(text)  # the most that fit are among [least, most)
    while most - least > 1:
        middle = (least + most) // 2
        if _drawn_width(text[:middle], size, bold) <= width:
            least = middle
        else:
            most = middle
    return least


def _drawn_width(text: str, size: float, bold: bool) -> float:
    """How wide a line is drawn at most, inches: letters change a little on a grid of pixels."""
    font = FontProperties(family=FONT, weight="bold" if bold else "normal", size=size)
    free: float = text_to_path.get_text_width_height_descent(text, font, False)[0]
    on_grid: float = _coarse_grid().get_text_width_height_descent(text, font, False)[0]
    return max(_FINE_GRID * free / _POINTS, on_grid / _COARSE_DPI)


@cache
def _coarse_grid() -> Any:
    return RendererAgg(1, 1, _COARSE_DPI)  # type: ignore[no-untyped-call]


def shaded(share: Array) -> Array:
    """Shares from 0 to 1 as RGB: white for none, and from pale to full blue above.

    Args:
        share: (rows, columns).

    Returns:
        float (rows, columns, 3).
    """
    return np.asarray(SHADES(strength(share)))[..., :3]


def strength(share: Array) -> Array:
    """How strong a colour shows each share: 0 for none, from `FAINTEST` to 1 above."""
    share = np.clip(np.asarray(share, dtype=np.float64), 0, 1)
    return np.where(share > 0, FAINTEST + (1 - FAINTEST) * share, 0.0)


def two_colours(first: Array, second: Array) -> Array:
    """Two shares of the same squares as RGB: blue for the first, vermilion for the second.

    Args:
        first: (rows, columns) from 0 to 1.
        second: (rows, columns) from 0 to 1; with `first` at most 1 together.

    Returns:
        float (rows, columns, 3); a square that has both is of a colour between.
    """
    total = np.asarray(first, dtype=np.float64) + second
    part = np.divide(second, total, out=np.zeros(total.shape), where=total > 0)[..., None]
    full = (1 - part) * np.array(to_rgb(COLOURS[0])) + part * np.array(to_rgb(COLOURS[1]))
    weight = strength(total)[..., None]
    return np.asarray(1 - weight + weight * full)
