"""That no two regions claim one place: a tile lies in one of them."""

from collections.abc import Mapping

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from slidenet.core.errors import SlideError
from slidenet.core.records import RegionBy
from slidenet.core.text import name_some

MOST_OVERLAP = 0.05
"""Two regions may share this part of the smaller one: hands draw no common line."""

LEAST_OVERLAP = 0.001
"""Less is not worth a word."""


def check_overlaps(
    areas: Mapping[str, BaseGeometry], *, by: RegionBy, file_name: str
) -> tuple[str, ...]:
    """Refuses regions that claim one place.

    Args:
        areas: Valid polygons or multipolygons by the name of their region.
        by: What they are told apart by.
        file_name: For messages.

    Returns:
        What overlaps a little, in words; empty where nothing does.

    Raises:
        SlideError: Two of them share more than `MOST_OVERLAP` of the smaller one.
    """
    names, shapes = list(areas), np.array(list(areas.values()), dtype=object)
    sizes = shapely.area(shapes)
    parts, owner = shapely.get_parts(shapes, return_index=True)
    starts = np.searchsorted(owner, np.arange(len(names) + 1))
    tree = shapely.STRtree(parts)
    noted = []
    for this, name in enumerate(names):
        mine = parts[starts[this] : starts[this + 1]]
        one, other = tree.query(mine, predicate="intersects")
        later = owner[other] > this
        one, other = one[later], other[later]
        shared = shapely.area(shapely.intersection(mine[one], parts[other]))
        by_region = np.bincount(owner[other], shared, len(names))
        for that in np.flatnonzero(by_region):
            smaller = this if sizes[this] <= sizes[that] else that
            part = by_region[that] / sizes[smaller]
            if part > MOST_OVERLAP:
                remedy = "cut one out of the other in QuPath"
                if by == "class":
                    remedy += ", or name only one of them in --region-classes"
                raise SlideError(
                    f"{name} and {names[that]} overlap in {file_name}, by {part:.1%} of "
                    f"{names[smaller]}",
                    expected=f"at most {MOST_OVERLAP:.0%}, so that a tile lies in one region",
                    remedy=remedy,
                )
            if part >= LEAST_OVERLAP:
                noted.append(f"{name} and {names[that]} by {part:.1%} of {names[smaller]}")
    return (f"regions overlap: {name_some(noted, most=3)}",) if noted else ()
