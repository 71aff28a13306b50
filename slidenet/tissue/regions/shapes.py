"""Polygons out of the `geometry` of GeoJSON, checked; what has no area is counted."""

from collections import Counter
from typing import Any, NoReturn

import numpy as np
import shapely
from shapely.geometry import MultiPoint, Polygon

from slidenet.core.arrays import Float64Array
from slidenet.core.errors import SlideError
from slidenet.tissue.regions.contents import shown

MAX_COORDINATE = 2.0**31
_MAX_DEPTH = 8
_WITHOUT_AREA = {
    "Point": "point",
    "MultiPoint": "point",
    "LineString": "line",
    "MultiLineString": "line",
    "LinearRing": "line",
}


def polygons_of(geometry: Any, label: str, skipped: Counter[str], depth: int = 0) -> list[Polygon]:
    """The polygons of a geometry, multipolygons and collections taken apart, in their order.

    Args:
        geometry: Of a Feature, as JSON gives it.
        label: Words that name the feature in messages.
        skipped: Counts points, lines and outlines without area.
        depth: How many collections are around it.

    Raises:
        SlideError: A geometry is broken, or crosses itself; the message says where.
    """
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        parts = geometry.get("geometries")
        if not isinstance(parts, list) or depth == _MAX_DEPTH:
            _broken(label, "a GeometryCollection without geometries, or nested too deep")
        return [found for part in parts for found in polygons_of(part, label, skipped, depth + 1)]
    if isinstance(kind, str) and kind in _WITHOUT_AREA:
        skipped[_WITHOUT_AREA[kind]] += 1
        return []
    if kind not in ("Polygon", "MultiPolygon"):
        what = "geometry" if kind is None else "geometry of the type"
        _broken(label, f"{what} {shown(geometry if kind is None else kind)}")
    coordinates = geometry.get("coordinates")
    outlines = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(outlines, list):
        _broken(label, f"coordinates are {shown(outlines)}")
    found = [polygon_from(_rings(outline, label), label) for outline in outlines]
    skipped["empty outline"] += sum(polygon is None for polygon in found)
    return [polygon for polygon in found if polygon is not None]


def polygon_from(rings: list[Float64Array], label: str) -> Polygon | None:
    """A valid polygon; None where the outline encloses nothing.

    Args:
        rings: Shell, then holes; each float64 (n, 2), (x, y), n of at least 3.
        label: Words that name it in messages.

    Raises:
        SlideError: The outline crosses itself; the message says where.
    """
    if not rings:
        return None
    try:
        polygon = Polygon(rings[0], rings[1:])
        if polygon.is_valid and polygon.area > 0:
            return polygon
    except (ValueError, shapely.errors.ShapelyError):
        pass  # too few different points, which is looked at now
    shell, *holes = rings
    if _encloses_nothing(shell):
        return None
    polygon = Polygon(shell, [hole for hole in holes if not _encloses_nothing(hole)])
    if not polygon.is_valid:
        raise SlideError(
            f"{label} is not a valid polygon ({shapely.is_valid_reason(polygon)})",
            expected="an outline that does not cross itself",
            remedy="redraw it in QuPath, or run Objects > Annotations... > Simplify shape",
        )
    return polygon


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
