"""Rows of tiles: each row a cluster, or a query with what is nearest to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from slidenet.core.arrays import UInt8Array
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page, line_height
from slidenet.visualisation.side_by_side import frame_panel
from slidenet.visualisation.style import ACCENT, DARK, GREY, PALE

PER_LINE = 6
GAP_IN = 0.14
WORDS_PT = 7.5


@dataclass(frozen=True, eq=False)
class TilePicture:
    """A tile, or a slide, in a row.

    Attributes:
        pixels: uint8 RGB (h, w, 3), square or not; None where it cannot be shown.
        words: Lines below it, the first in bold.
        framed: Whether it is what the others are compared with.
    """

    pixels: UInt8Array | None
    words: Sequence[str]
    framed: bool = False


@dataclass(frozen=True, eq=False)
class TileRow:
    """Pictures that belong together.

    Attributes:
        title: What they have in common.
        pictures: In order.
        colour: Of the row, drawn beside its title; None: no colour.
    """

    title: str
    pictures: Sequence[TilePicture]
    colour: tuple[float, float, float] | None = None
    notes: Sequence[str] = field(default=())


def rows_figure(rows: Sequence[TileRow], *, title: str, note: str, missing: str = "") -> Figure:
    """Rows of pictures with their words, `PER_LINE` on a line.

    Args:
        rows: At least one.
        title: Heading.
        note: Said below.
        missing: Why pictures are missing, said in their place in short; the note says the rest.
    """
    page = Page(title)
    side = (PAGE_WIDTH - 2 * MARGIN - (PER_LINE - 1) * GAP_IN) / PER_LINE
    for row in rows:
        page.top += 0.1
        left = MARGIN
        if row.colour is not None:
            page.box(left, page.top, 0.14, 0.14, facecolor=row.colour)
            left += 0.22
        if row.title:
            page.paragraph(row.title, left=left, size=10, bold=True, colour=DARK)
        for words in row.notes:
            page.paragraph(words, size=8.5)
        page.top += 0.05
        for start in range(0, len(row.pictures), PER_LINE):
            line = row.pictures[start : start + PER_LINE]
            for number, picture in enumerate(line):
                _draw(page, picture, MARGIN + number * (side + GAP_IN), side, missing)
            num_words = max(len(picture.words) for picture in line)
            page.top += side + 0.06 + num_words * line_height(WORDS_PT) + 0.1
    return page.finish(note)


def _draw(page: Page, picture: TilePicture, left: float, side: float, missing: str) -> None:
    """One picture, as wide and high as fits into a square, and its words."""
    if picture.pixels is None:
        page.box(left, page.top, side, side, facecolor=PALE, edgecolor="none")
        page.write(left + side / 2, page.top + side / 2, missing or "no picture", size=8,
                   colour=GREY)  # fmt: skip
    else:
        height, width = picture.pixels.shape[:2]
        wide, high = side * min(1, width / height), side * min(1, height / width)
        axes = page.axes(left + (side - wide) / 2, page.top + (side - high) / 2, wide, high)
        axes.imshow(picture.pixels, interpolation="antialiased", aspect="auto")
        frame_panel(axes)
    if picture.framed:
        page.box(left - 0.03, page.top - 0.03, side + 0.06, side + 0.06, edgecolor=ACCENT,
                 linewidth=1.8)  # fmt: skip
    below = page.top + side + 0.06
    for number, words in enumerate(picture.words):
        page.write(
            left, below + (number + 0.5) * line_height(WORDS_PT), words, size=WORDS_PT,
            bold=number == 0, colour=GREY if number else DARK, ha="left", width=side,
        )  # fmt: skip
