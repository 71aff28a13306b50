"""Reads GeoJSON as QuPath 0.4 to 0.6 do, as strict as all of their readers together.

What they read of a Feature: a UUID as `id` (other ids are dropped), the kind in `objectType`,
`measurements` as an object of numbers, and a `classification`, which needs both a name and a
colour. A colon in the name of a class makes a derived class, an end of line is refused, and a star
at the end says that the class is to be ignored.
"""

import json
import math
import os
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

OBJECT_TYPES = ("annotation", "cell", "detection", "root", "tile", "tmaCore")
_MEMBERS = {"type", "id", "geometry", "properties"}
_PROPERTIES = {"objectType", "name", "color", "classification", "measurements"}

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class QuPathObject:
    """A rectangle as QuPath has it after import.

    Attributes:
        kind: One of `OBJECT_TYPES`.
        name: Its own name.
        box: (x, y, width, height), pixels of what QuPath shows.
        colour: Of the object.
        class_name: Of its class.
        class_colour: Of its class.
        measurements: By name.
    """

    kind: str
    name: str
    box: Box
    colour: Colour
    class_name: str
    class_colour: Colour
    measurements: dict[str, float]


def read_qupath_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[QuPathObject]]:
    """The rectangles of a file, and what slidenet says of it.

    Returns:
        The member `slidenet` of the collection (frame, origin, maps), and the objects.

    Raises:
        ValueError: QuPath would refuse the file, or take something for another thing.
    """
    document = json.loads(
        Path(path).read_text("utf-8"), parse_constant=_refuse, object_pairs_hook=_no_repeats
    )
    _must(document.get("type") == "FeatureCollection", "no FeatureCollection")
    _must(set(document) <= {"type", "features", "slidenet"}, f"members {sorted(document)}")
    ids = [feature.get("id") for feature in document["features"]]
    _must(len(set(ids)) == len(ids), "two objects of one id")
    return document.get("slidenet", {}), [_object(each) for each in document["features"]]


def _object(feature: dict[str, Any]) -> QuPathObject:
    _must(set(feature) == _MEMBERS and feature["type"] == "Feature", f"members {sorted(feature)}")
    _must(str(uuid.UUID(feature["id"])) == feature["id"], f"the id {feature['id']}")
    said = feature["properties"]
    _must(set(said) == _PROPERTIES, f"properties {sorted(said)}")
    _must(said["objectType"] in OBJECT_TYPES, f"an object of type {said['objectType']!r}")
    its_class = said["classification"]
    _must(set(its_class) == {"name", "color"}, f"a class of {sorted(its_class)}")
    name = its_class["name"]
    plain = name == name.strip() != "" and not set(name) & set(":\r\n") and name[-1] != "*"
    _must(plain, f"the class {name!r}")
    for label, value in said["measurements"].items():
        good = label and label.isprintable() and type(value) in (int, float)
        _must(good and math.isfinite(value), f"the measurement {label!r}: {value!r}")
    return QuPathObject(
        said["objectType"],
        said["name"],
        _box(feature["geometry"]),
        _colour(said["color"]),
        name,
        _colour(its_class["color"]),
        said["measurements"],
    )


def _box(geometry: dict[str, Any]) -> Box:
    (ring,) = geometry["coordinates"]
    closed = geometry["type"] == "Polygon" and ring[0] == ring[-1] and len(ring) == 5
    whole = all(type(number) is int for point in ring for number in point)
    _must(closed and whole, f"the outline {ring}")
    xs, ys = (sorted({point[i] for point in ring}) for i in (0, 1))
    corners = {(x, y) for x in xs for y in ys}
    upright = len(xs) == len(ys) == 2 and {tuple(point) for point in ring} == corners
    _must(upright, f"the outline {ring}")
    # RFC 7946, section 3.1.6: outer rings turn from x to y.
    turn = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    _must(turn > 0, f"the outline {ring} turns the wrong way")
    return xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]


def _colour(value: list[int]) -> Colour:
    _must(len(value) == 3, f"the colour {value}")
    _must(all(type(part) is int and 0 <= part <= 255 for part in value), f"the colour {value}")
    red, green, blue = value
    return red, green, blue


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    _must(len(found) == len(pairs), f"a member twice: {[name for name, _ in pairs]}")
    return found


def _must(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
