"""What the sections of a page are made of: tables, facts, pictures with captions, notes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from slidenet.core.escapes import shorten
from slidenet.visualisation.html.markup import Child, Html, element, joined
from slidenet.visualisation.html.pictures import Picture

Tone = Literal["plain", "good", "look", "bad"]

LONGEST_CELL = 1200
"""Letters of a cell or a line of others; a traceback is not a message."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: In its head.
        numeric: Whether its cells are numbers, which stand at the right and sort as such.
    """

    name: str
    numeric: bool = False


def paragraph(*children: Child) -> Html:
    """One paragraph."""
    return element("p", *map(_spoken, children))


def note(tone: Tone, *children: Child) -> Html:
    """A paragraph that stands out, with a word that says why, for those who see no colours."""
    word = {"plain": "Note", "good": "Fine", "look": "Look at", "bad": "Warning"}[tone]
    inner = element("strong", f"{word}: ")
    return element("p", inner, *map(_spoken, children), class_=f"note {tone}")


def missing(*children: Child) -> Html:
    """Says what is not there, and how to get it."""
    inner = element("strong", "Not there: ")
    return element("p", inner, *map(_spoken, children), class_="missing")


def badge(tone: Tone, text: str) -> Html:
    """A word in a coloured frame."""
    return element("span", _short(text), class_=f"badge {tone}")


def facts(pairs: Mapping[str, Child] | Iterable[tuple[str, Child]]) -> Html:
    """Names and what they are, side by side."""
    listed = pairs.items() if isinstance(pairs, Mapping) else pairs
    inner = [
        element("div", element("dt", _short(name)), element("dd", _short(value)))
        for name, value in listed
    ]
    return element("dl", *inner, class_="facts")


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Child]], *, caption: str, sorts: bool = True
) -> Html:
    """A table with a caption, that readers with a keyboard can scroll and sort.

    Args:
        columns: Its head.
        rows: Cells, as many per row as there are columns; the first names the row.
        caption: What it shows; also its name for screen readers.
        sorts: Whether the page offers to sort it.
    """
    head = [
        element("th", _short(c.name), scope="col", class_="number" if c.numeric else None)
        for c in columns
    ]
    body = []
    for row in rows:
        assert len(row) == len(columns)
        cells = [
            element("th", _short(cell), scope="row")
            if number == 0
            else element("td", _short(cell), class_="number" if column.numeric else None)
            for number, (column, cell) in enumerate(zip(columns, row, strict=True))
        ]
        body.append(element("tr", *cells))
    inner = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_="sorts" if sorts and len(body) > 1 else None,
    )
    return element("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)


def figure(picture: Picture | None, alt: str, *caption: Child, tone: Tone = "plain") -> Html:
    """A picture with its caption; where there is none, the caption says so.

    Args:
        picture: To show.
        alt: What it shows, for those who cannot see it.
        *caption: Below it.
        tone: "look" frames it.
    """
    if picture is None:
        image = element("p", "no picture", class_="absent")
    else:
        image = element(
            "img", src=picture.uri, alt=shorten(alt, LONGEST_CELL), width=picture.width,
            height=picture.height, loading="lazy", decoding="async",
        )  # fmt: skip
    words = element("figcaption", *map(_short, caption))
    return element("figure", image, words, class_=None if tone == "plain" else tone)


def gallery(figures: Iterable[Html], kind: str = "gallery") -> Html:
    """Figures in as many columns as there is room for."""
    return element("ul", *(element("li", one) for one in figures), class_=kind)


def details(summary: str, *children: Child, is_open: bool = False) -> Html:
    """What is folded away until somebody asks for it; all of it is on paper."""
    return element("details", element("summary", summary), *children, open=is_open)


def listing(lines: Iterable[Child]) -> Html:
    """Lines with a dot each."""
    return element("ul", *(element("li", _spoken(line)) for line in lines))


def lines_of(children: Iterable[Child]) -> Html:
    """Parts below each other."""
    kept = [child for child in children if child is not None]
    broken: list[Child] = []
    for child in kept:
        broken += [element("br")] if broken else []
        broken.append(_short(child))
    return joined(broken)


def _short(child: Child) -> Child:
    return shorten(child, LONGEST_CELL) if isinstance(child, str) else child


def _spoken(child: Child) -> Child:
    """A sentence, in which `commands` look like commands."""
    if not isinstance(child, str) or child.count("`") % 2:
        return _short(child)
    pieces = shorten(child, LONGEST_CELL).split("`")
    return joined(element("code", p) if i % 2 else p for i, p in enumerate(pieces))
