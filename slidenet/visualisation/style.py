"""How every picture looks: one palette, plain axes, legends below; and how figures are saved.

Colours of curves are those of Okabe and Ito (2008), different for colour-blind readers too, and
every line has its own dash pattern as well. Legends lie below the axes, where no curve can run into
them. Figures are bound to no global state of matplotlib.
"""

import io
import os
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.font_manager import findfont as find_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FuncFormatter

from slidenet.core.errors import ConfigError
from slidenet.core.escapes import in_terminal, shorten
from slidenet.stores.atomic import atomic_path

DARK, GREY, LIGHT_GREY = "#1d2433", "#5d6675", "#8a93a3"
PALE, FRAME, ACCENT = "#e6e8ec", "#d5d8de", "#c2410c"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", DARK)
DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)), (0, (10, 3)))
GUIDE: dict[str, Any] = {"color": GREY, "linewidth": 0.9, "linestyle": (0, (3, 3)), "zorder": 1}
"""Lines of reference: chance, equality, prevalence."""

SHADES = LinearSegmentedColormap.from_list("shades", ["#ffffff", COLOURS[0]])
BAND_OPACITY = 0.16
MAX_NAME, MAX_LINE = 22, 200
"""Letters of a name beside an axis, and of a line of any text: our own sentences are shorter."""
FONT = "DejaVu Sans"
"""It comes with matplotlib, which takes it unless told otherwise."""
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".svg")


def line_style(number: int) -> tuple[str, Any]:
    """Colour and dashes of the curve of this number, from 0."""
    return COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]


def blank_figure(width: float, height: float) -> Figure:
    """An empty white figure, inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)
    figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    return figure


def set_title(axes: Axes, title: str) -> None:
    """The title, bold above the left edge; none for an empty text."""
    if title:
        axes.set_title(title, loc="left", fontsize=11.5, weight="bold", color=DARK, pad=10)


def style_axes(axes: Axes) -> None:
    """A pale grid, dark labels, and a frame at the left and the bottom only."""
    axes.grid(color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, colors=GREY, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=DARK, fontsize=10)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.8)


def legend_below(figure: Figure, axes: Axes, note: str = "") -> None:
    """The legend of `axes` below the figure, under a note."""
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside lower center", frameon=False, fontsize=9.5, ncols=1,
        handlelength=3, labelcolor=DARK, title=note or None, title_fontsize=9.5,
    )  # fmt: skip
    legend.get_title().set_color(DARK)


def short_name(name: str) -> str:
    """A name cut to what fits beside an axis."""
    return shorten(in_figure(name), MAX_NAME)


def in_figure(text: str, *, keep: str = "") -> str:
    """Text for a figure, on one line; signs that the font lacks by their numbers, as in a terminal.

    An empty box for each would make all names of such signs alike. Fonts of the machine are not
    asked: the same figure has the same bytes everywhere.

    Args:
        text: Anything.
        keep: As of `in_terminal`.
    """
    text = in_terminal(text, keep=keep)
    if text.isascii():
        return text
    drawn = _drawn_signs()
    return "".join(
        sign if ord(sign) in drawn or sign in keep else sign.encode("unicode_escape").decode()
        for sign in text
    )


@cache
def _drawn_signs() -> frozenset[int]:
    """Code points that our font has, in regular and bold."""
    fonts = [find_font(FontProperties(family=FONT, weight=w)) for w in ("regular", "bold")]
    regular, bold = (frozenset(get_font(font).get_charmap()) for font in fonts)
    return regular & bold


def capital(text: str) -> str:
    """The text with a capital first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def save_figure(
    figure: Figure,
    path: str | os.PathLike[str],
    *,
    dpi: float = 200,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Writes a figure as PNG, JPEG or SVG; whole or not at all.

    Its texts are shown as they are: names of others may hold signs that matplotlib would set as
    formulas, or that no font has.

    An SVG bears no date and no random names: the same figure gives the same bytes.

    Args:
        figure: What to write.
        path: A name ending in .png, .jpg or .svg.
        dpi: Pixels per inch; in an SVG, of pictures within it.
        metadata: Entries of the file; `{"Software": None}` leaves out matplotlib's own.

    Raises:
        ConfigError: None of .png, .jpg and .svg.
        OutputError: The file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ConfigError(
            f"picture file {path.name!r}", expected="a name ending in .png, .jpg or .svg"
        )
    with atomic_path(path) as temporary:
        _write(figure, temporary, suffix[1:], dpi, metadata)


def figure_bytes(figure: Figure, kind: str, *, dpi: float = 200) -> bytes:
    """What `save_figure` writes, for pages that hold their pictures.

    Args:
        figure: What to write.
        kind: png, jpg or svg.
        dpi: Pixels per inch.
    """
    buffer = io.BytesIO()
    _write(figure, buffer, kind, dpi, {"Software": None} if kind == "png" else None)
    return buffer.getvalue()


def _write(
    figure: Figure,
    target: Path | IO[bytes],
    kind: str,
    dpi: float,
    metadata: Mapping[str, Any] | None,
) -> None:
    _take_as_text(figure)
    with ExitStack() as stack:
        if kind == "svg":
            metadata = {"Date": None, "Creator": None, **(metadata or {})}
            # Names of shapes are not random, and letters are shapes: text is as wide on a machine
            # without our font. matplotlib takes both from nowhere but its global settings.
            stack.enter_context(rc_context({"svg.hashsalt": "slidenet", "svg.fonttype": "path"}))
        figure.savefig(target, format=kind, dpi=dpi, metadata=metadata)


def _take_as_text(figure: Figure) -> None:
    """Makes matplotlib show every text as it is, but for the numbers it writes along an axis."""
    numbers: set[Text] = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
            numbers.update(axis.get_ticklabels(which="both"))
        numbers.add(axis.get_offset_text())
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        if text not in numbers:
            text.set_parse_math(False)
            lines = in_figure(text.get_text(), keep="\n").split("\n")
            text.set_text("\n".join(shorten(line, MAX_LINE) for line in lines))
