"""Polygons out of what files hold, checked; what has no area is counted."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import shapely
from shapely.geometry import MultiPoint, Polygon

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import SlideError
from slidenet.tissue.regions.contents import EXPORT_REMEDY, shown

MAX_COORDINATE = 2.0**31
MAX_PAIRS = 5e7
"""Most pairs of edges of a file that lie so near to each other that they must be compared."""

_MAX_DEPTH = 8
_NUM_SAMPLED = 32
_WITHOUT_AREA = {
    "Point": "point",
    "MultiPoint": "point",
    "LineString": "line",
    "MultiLineString": "line",
    "LinearRing": "line",
}


class Shapes:
    """Makes polygons of one file, and keeps account of what is skipped and of the work.

    Attributes:
        skipped: How many points, lines and empty outlines there were.
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._pairs_left = MAX_PAIRS

    def of_geometry(self, geometry: Any, label: str, depth: int = 0) -> list[Polygon]:
        """The polygons of a GeoJSON geometry, those of multipolygons and collections in order.

        Args:
            geometry: Of a Feature, as JSON gives it.
            label: Words that name the feature in messages.
            depth: How many collections are around it.

        Raises:
            SlideError: A geometry is broken, or crosses itself; the message says where.
        """
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind == "GeometryCollection":
            parts = geometry.get("geometries")
            if not isinstance(parts, list) or depth == _MAX_DEPTH:
                _broken(label, "a GeometryCollection without geometries, or nested too deep")
            return [found for part in parts for found in self.of_geometry(part, label, depth + 1)]
        if isinstance(kind, str) and kind in _WITHOUT_AREA:
            self.skipped[_WITHOUT_AREA[kind]] += 1
            return []
        if kind not in ("Polygon", "MultiPolygon"):
            what = "geometry" if kind is None else "geometry of the type"
            _broken(label, f"{what} {shown(geometry if kind is None else kind)}")
        coordinates = geometry.get("coordinates")
        outlines = [coordinates] if kind == "Polygon" else coordinates
        if not isinstance(outlines, list):
            _broken(label, f"coordinates are {shown(outlines)}")
        found = [self.polygon(_rings(outline, label), label) for outline in outlines]
        return [polygon for polygon in found if polygon is not None]

    def polygon(self, rings: Sequence[Float64Array], label: str) -> Polygon | None:
        """A valid polygon; None, and counted, where the outline encloses nothing.

        Args:
            rings: Shell, then holes; each float64 (n, 2), (x, y), n of at least 3.
            label: Words that name it in messages.

        Raises:
            SlideError: The outline crosses itself (the message says where), or its edges are so
                tangled that looking for it would take minutes.
        """
        if rings:
            self._count_pairs(rings, label)
            try:
                polygon = Polygon(rings[0], rings[1:])
                if polygon.is_valid and polygon.area > 0:
                    return polygon
            except (ValueError, shapely.errors.ShapelyError):
                pass  # too few different points, which is looked at now
        if not rings or _encloses_nothing(rings[0]):
            self.skipped["empty outline"] += 1
            return None
        holes = [hole for hole in rings[1:] if not _encloses_nothing(hole)]
        polygon = Polygon(rings[0], holes)
        if not polygon.is_valid:
            raise SlideError(
                f"{label} is not a valid polygon ({shapely.is_valid_reason(polygon)})",
                expected="an outline that does not cross itself",
                remedy="redraw it in QuPath, or run Objects > Annotations... > Simplify shape",
            )
        return polygon

    def _count_pairs(self, rings: Sequence[Float64Array], label: str) -> None:
        """Takes the work of checking these rings off the budget; it grows with their tangle.

        An outline costs as many comparisons as there are pairs of edges whose boxes meet: a few
        per edge of what is drawn, all with all in what is made to keep a computer busy. A sample
        of the edges tells which.
        """
        num_edges = sum(map(len, rings))
        if num_edges <= _NUM_SAMPLED:
            return
        low = np.concatenate([np.minimum(ring, np.roll(ring, 1, axis=0)) for ring in rings])
        high = np.concatenate([np.maximum(ring, np.roll(ring, 1, axis=0)) for ring in rings])
        some = slice(None, None, num_edges // _NUM_SAMPLED)
        meeting = (low[:, None] <= high[some]) & (high[:, None] >= low[some])
        self._pairs_left -= float(meeting.all(axis=2).sum(axis=0).mean()) * num_edges / 2
        if self._pairs_left < 0:
            raise SlideError(
                f"{label} has {num_edges:,} edges, so tangled that checking whether they cross "
                "would take minutes",
                expected="outlines that mostly keep away from themselves",
                remedy=EXPORT_REMEDY,
            )


def check_points(points: Float64Array, label: str) -> Float64Array:
    """Refuses rings that are too short, and numbers that are no places on any slide."""
    if len(points) < 3:
        _broken(label, f"a ring of {len(points)} points")
    if not (np.abs(points) <= MAX_COORDINATE).all():  # NaN is refused by this, too
        _broken(label, "a coordinate that is not finite, or beyond any slide")
    return points


def _rings(outline: Any, label: str) -> list[Float64Array]:
    if not isinstance(outline, list):
        _broken(label, f"an outline that is {shown(outline)}")
    rings = []
    for ring in outline:
        if not isinstance(ring, list) or any(
            type(point) is not list or len(point) < 2 for point in ring
        ):
            _broken(label, "a ring that is no array of [x, y] points")
        flat = [value for point in ring for value in point[:2]]
        wrong = [value for value in flat if type(value) is not float and type(value) is not int]
        if wrong:
            _broken(label, f"the coordinate {shown(wrong[0])}")
        rings.append(check_points(np.array(flat, dtype=np.float64).reshape(-1, 2), label))
    return rings


def _encloses_nothing(ring: Float64Array) -> bool:
    return bool(MultiPoint(ring).convex_hull.area == 0)


def _broken(label: str, found: str) -> NoReturn:
    raise SlideError(
        f"{label} has a broken geometry: {found}",
        expected="a Polygon or MultiPolygon of [x, y] points",
    )
