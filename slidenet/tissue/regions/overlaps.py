"""That no two regions claim one place, and that finding it out takes no minutes."""

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from slidenet.core.errors import SlideError
from slidenet.core.records import RegionBy
from slidenet.core.text import name_some

MOST_OVERLAP = 0.05
"""Two regions may share this part of the smaller one: hands draw no common line."""

LEAST_OVERLAP = 0.001
"""Less is not worth a word."""

MOST_CROSSINGS = 200_000
MOST_CROSSINGS_PER_EDGE = 8
"""Outlines may cross each other so often, and besides so often per edge: two small combs laid
across each other make more pieces than all that a person draws, and take minutes and gigabytes."""

_EDGES_TRIED = 4096
_EDGES_AT_ONCE = 16


def check_crossings(polygons: Sequence[Polygon], *, file_name: str) -> None:
    """Refuses outlines that cross each other too often to be cut against each other.

    Counts the crossings of some of the edges, taken by chance: those of outlines that cross far too
    often are among them.

    Args:
        polygons: All that will be cut against each other.
        file_name: For messages.

    Raises:
        SlideError: They cross each other too often.
    """
    points, owner = shapely.get_coordinates(np.array(polygons, dtype=object), return_index=True)
    same = owner[1:] == owner[:-1]  # an edge from ring to ring of one polygon does no harm
    edges = shapely.linestrings(np.stack([points[:-1], points[1:]], axis=1)[same])
    owner = owner[1:][same]
    limit = MOST_CROSSINGS + MOST_CROSSINGS_PER_EDGE * len(edges)
    tree = shapely.STRtree(edges)
    tried = np.random.default_rng(0).permutation(len(edges))[:_EDGES_TRIED]
    share = len(tried) / len(edges)
    crossings = 0
    for some in np.array_split(tried, -(-len(tried) // _EDGES_AT_ONCE)):
        one, other = tree.query(edges[some], predicate="intersects")
        # Each crossing is met from both of its edges.
        crossings += int(np.count_nonzero(owner[some[one]] != owner[other]))
        if crossings / 2 > limit * share:
            raise SlideError(
                f"the outlines of {file_name} cross each other again and again, "
                f"more than {limit:,} times",
                expected="regions that meet at their borders only",
                remedy="delete or redraw what lies across the others in QuPath",
            )


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
