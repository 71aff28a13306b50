"""Places of tiles in the names of their files, as the tools of the field write them.

The pattern says where the two numbers stand; what they count is declared, but for tools whose names
say it themselves.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.errors import UnreadableSlideError
from slidenet.core.text import name_some
from slidenet.slides.tile_images.declaration import LEVEL0

_NUMBER = "[0-9]{1,10}"
_MORE = "(?:[_, -].*)?"
"""What may follow where letters say which number is which: `_class0`, `_size256`."""


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One way of writing a place into a name.

    Attributes:
        words: How it looks, for messages.
        expression: Has the groups x and y; d (downsample) or x2 (right edge) where the tool says
            how large a tile is.
        frame: What x and y count, where the tool leaves no choice.
    """

    words: str
    expression: re.Pattern[str]
    frame: str | None = None


PATTERNS = (
    NamePattern(
        "[d=..,x=..,y=..,w=..,h=..]",  # QuPath's TileExporter
        re.compile(
            rf"\[(?:d=(?P<d>[0-9]+(?:\.[0-9]+)?),)?x=(?P<x>{_NUMBER}),y=(?P<y>{_NUMBER})"
            r"(?:,[a-z]=[0-9.]+)*\]$"
        ),
        LEVEL0,
    ),
    NamePattern(
        "_level.._left-top-right-bottom",  # histolab
        re.compile(rf"_level[0-9]+_(?P<x>{_NUMBER})-(?P<y>{_NUMBER})-(?P<x2>{_NUMBER})-{_NUMBER}$"),
        LEVEL0,
    ),
    NamePattern(  # GigaPath's own cutting
        "..x_..y",
        re.compile(rf"(?:^|[^0-9])(?P<x>{_NUMBER})x_(?P<y>{_NUMBER})y{_MORE}$", re.IGNORECASE),
    ),
    NamePattern(  # cutting derived from it, rows first
        "..y_..x",
        re.compile(rf"(?:^|[^0-9])(?P<y>{_NUMBER})y_(?P<x>{_NUMBER})x{_MORE}$", re.IGNORECASE),
    ),
    NamePattern(
        "y.._x..",
        re.compile(
            rf"(?:^|[^0-9a-z])y[_= -]?(?P<y>{_NUMBER})[_, -]+x[_= -]?(?P<x>{_NUMBER}){_MORE}$",
            re.IGNORECASE,
        ),
    ),
    NamePattern(
        "x.._y..",
        re.compile(
            rf"(?:^|[^0-9a-z])x[_= -]?(?P<x>{_NUMBER})[_, -]+y[_= -]?(?P<y>{_NUMBER}){_MORE}$",
            re.IGNORECASE,
        ),
    ),
    NamePattern("x_y", re.compile(rf"(?:^|_)(?P<x>{_NUMBER})_(?P<y>{_NUMBER})$")),
    NamePattern("x-y", re.compile(rf"(?:^|-)(?P<x>{_NUMBER})-(?P<y>{_NUMBER})$")),
)
"""The particular come before the general: histolab's four numbers end in two that are no corner."""


@dataclass(frozen=True, slots=True)
class NamedPlaces:
    """What the names of the images of a folder say.

    Attributes:
        pattern: How most of them are written.
        kept: Indices of the names that say a place.
        xy: (x, y) of each of those.
        downsamples: Pixels of level 0 per pixel of a tile, where the names say it.
        widths: Width of a tile in pixels of level 0, where the names say it.
    """

    pattern: NamePattern
    kept: tuple[int, ...]
    xy: tuple[tuple[int, int], ...]
    downsamples: frozenset[float]
    widths: frozenset[int]


def places_in_names(stems: Sequence[str], *, slide: str) -> NamedPlaces | None:
    """The places that names of images say; None where they say none.

    Args:
        stems: Names without their endings.
        slide: For messages.

    Raises:
        UnreadableSlideError: Less than half of the names say a place, or one of the two numbers is
            the same in all of them while another number of the names is not.
    """
    found: dict[NamePattern, list[tuple[int, re.Match[str]]]] = {}
    for index, stem in enumerate(stems):
        for pattern in PATTERNS:
            match = pattern.expression.search(stem)
            if match is not None:
                found.setdefault(pattern, []).append((index, match))
                break
    if not found:
        return None
    pattern = max(found, key=lambda one: len(found[one]))
    matches = found[pattern]
    if 2 * len(matches) < len(stems):
        others = set(range(len(stems))) - {index for index, _ in matches}
        raise UnreadableSlideError(
            f"the names of {len(matches)} of its {len(stems)} images end in a place "
            f"({stems[matches[0][0]]!r}), those of the others do not "
            f"({name_some((repr(stems[i]) for i in sorted(others)), most=2)})",
            expected="a place in the name of every tile, or of none",
            remedy="move what is no tile out of the folder; or give --tile-frame none (in Python, "
            "tile_frame), which takes all of them without places",
            slide=slide,
        )
    xy = tuple((int(match["x"]), int(match["y"])) for _, match in matches)
    _check_both_vary([stems[index] for index, _ in matches], xy, pattern, slide)
    groups = pattern.expression.groupindex
    return NamedPlaces(
        pattern,
        tuple(index for index, _ in matches),
        xy,
        frozenset(float(m["d"]) for _, m in matches if "d" in groups and m["d"] is not None),
        frozenset(int(m["x2"]) - int(m["x"]) for _, m in matches if "x2" in groups),
    )


def _check_both_vary(
    stems: Sequence[str], xy: Sequence[tuple[int, int]], pattern: NamePattern, slide: str
) -> None:
    """Refuses x_y_size, of which the last two numbers look like a place."""
    for axis, name in enumerate("xy"):
        if pattern.frame is not None or len({place[axis] for place in xy}) > 1 or len(xy) < 4:
            continue
        numbers = {tuple(re.findall("[0-9]+", stem)[:-2]) for stem in stems}
        if len(numbers) > 1:
            raise UnreadableSlideError(
                f"{name} would be {xy[0][axis]} in the names of all its {len(xy)} tiles (read as "
                f"{pattern.words}, such as {stems[0]!r}), and other numbers of the names differ",
                expected="names that end in x and y",
                remedy="put a CSV with the columns tile, x and y into the folder, which says the "
                "places instead",
                slide=slide,
            )
