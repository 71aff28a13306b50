"""GeoJSON as QuPath writes it: a FeatureCollection, a Feature, an array of either, bare geometries.

A Feature's `properties` hold `objectType` (versions before 0.4: `object_type`, or the `id`),
`classification`, `name`, `isMissing` of TMA cores, and `childObjects`, which are Features again.
"""

import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

from slidenet.core.errors import SlideError
from slidenet.tissue.regions.classes import class_of, name_excludes, text_of
from slidenet.tissue.regions.contents import EXPORT_REMEDY, shown
from slidenet.tissue.regions.records import Kind, Parsed, Region
from slidenet.tissue.regions.shapes import Shapes

MAX_ARRAYS = 2_000_000
"""Most arrays and objects of a file: about as many as points."""
MAX_VALUES = 8_000_000
"""Most values of a file."""
FRAME_KEY: Final = "slidenet"
"""Member of a FeatureCollection of slidenet's that says in which frame it is."""

_MAX_DEPTH = 16
_OLD_ID_VERSION = 5
_REGIONS: Final[dict[str, Kind]] = {
    "annotation": "annotation",
    "pathannotationobject": "annotation",
    "tmacore": "tma_core",
    "tma_core": "tma_core",
    "tmacoreobject": "tma_core",
}
_NO_REGIONS: Final = {
    "cell": "cell",
    "pathcellobject": "cell",
    "detection": "detection",
    "pathdetectionobject": "detection",
    "tile": "QuPath tile",
    "pathtileobject": "QuPath tile",
    "root": "root object",
    "pathrootobject": "root object",
}


def parse_geojson(content: bytes, name: str) -> Parsed:
    """The regions of a GeoJSON file in the file's own frame.

    Args:
        content: UTF-8 text.
        name: Of the file, for messages.

    Raises:
        SlideError: No GeoJSON, more than the budget allows, or a feature is broken (it is named).
    """
    document = _document(content, name)
    shapes, regions, old_numbers = Shapes(), [], set()
    parsed = Parsed(skipped=shapes.skipped)
    _read_frame(document, parsed, name)
    for number, (label, feature) in enumerate(_features(document, name)):
        properties = feature.get("properties")
        if not isinstance(properties, dict | None):
            raise SlideError(
                f"{label} has properties that are {shown(properties)}", expected="an object"
            )
        properties = properties or {}
        kind = _kind(feature, properties)
        if kind in _NO_REGIONS:
            parsed.skipped[_NO_REGIONS[kind]] += 1
            continue
        classification = class_of(properties.get("classification"), label)
        its_name = text_of(properties.get("name"), f"the name of {label}")
        is_missing = properties.get("isMissing", False)
        if not isinstance(is_missing, bool | None):
            raise SlideError(
                f"isMissing of {label} is {shown(is_missing)}", expected="true or false"
            )
        excludes = bool(is_missing) or name_excludes(its_name)
        for polygon in shapes.of_geometry(feature.get("geometry"), label):
            regions.append(
                Region(
                    polygon,
                    classification,
                    its_name,
                    _REGIONS.get(kind, "annotation"),
                    excludes,
                    number,
                )
            )
            if _is_old_id(feature.get("id")):
                old_numbers.add(number)
    parsed.regions, parsed.old_numbers = regions, frozenset(old_numbers)
    return parsed


def _document(content: bytes, name: str) -> Any:
    arrays = content.count(b"[") + content.count(b"{")
    values = content.count(b",")
    for what, found, most in (
        ("arrays and objects", arrays, MAX_ARRAYS),
        ("values", values, MAX_VALUES),
    ):
        if found > most:
            raise SlideError(
                f"{name} holds {found:,} JSON {what}",
                expected=f"at most {most:,}",
                remedy=EXPORT_REMEDY,
            )
    try:
        return json.loads(content.decode("utf-8"), parse_int=_whole)
    except RecursionError as error:
        raise SlideError(
            f"{name} cannot be read as GeoJSON (it is nested too deep)", expected="GeoJSON"
        ) from error
    except ValueError as error:  # no UTF-8, or no JSON
        raise SlideError(
            f"{name} cannot be read as GeoJSON ({error})", expected="a GeoJSON text file"
        ) from error


def _whole(digits: str) -> int | float:
    """Numbers of thousands of digits are no places; as infinity they are refused as such."""
    return int(digits) if len(digits) <= 20 else float(digits)


def _read_frame(document: Any, parsed: Parsed, name: str) -> None:
    """What a file of slidenet's says of its frame."""
    said = document.get(FRAME_KEY) if isinstance(document, dict) else None
    if said is None:
        return
    if isinstance(said, dict) and said.get("frame") == "level0":  # tiles of a slide not opened
        parsed.frame = "level0"
        return
    origin = said.get("origin") if isinstance(said, dict) else None
    if (
        not isinstance(origin, list)
        or len(origin) != 2
        or any(type(value) is not int or abs(value) > 2**31 for value in origin)
        or said.get("frame") != "qupath"
    ):
        raise SlideError(
            f"{name} does not say its frame rightly in {FRAME_KEY!r}",
            expected='{"frame": "qupath", "origin": [x, y]} or {"frame": "level0"}',
            remedy="let slidenet write the file again, or remove that member",
        )
    parsed.frame, parsed.origin = "qupath", (origin[0], origin[1])


def _features(document: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every feature, then its children, with the words that name it in a message."""
    items = document
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        items = document.get("features")
    elif isinstance(document, dict):
        items = [document]
    if not isinstance(items, list):
        raise SlideError(
            f"{name} is JSON but no GeoJSON",
            expected="a FeatureCollection, a Feature, an array of Features or a geometry",
        )
    # From the last to the first, so that `pop` gives them in order.
    waiting = [(f"feature {i} of {name}", item, 0) for i, item in enumerate(items)][::-1]
    while waiting:
        label, item, depth = waiting.pop()
        if not isinstance(item, dict):
            raise SlideError(f"{label} is {shown(item)}", expected="a GeoJSON object")
        feature = item if item.get("type") == "Feature" else {"geometry": item}
        if item.get("type") == "FeatureCollection":
            feature, children = {}, item.get("features")
        else:
            properties = feature.get("properties")
            known = properties if isinstance(properties, dict) else {}
            children = known.get("childObjects", known.get("children"))
        if isinstance(feature.get("id"), str | int):
            label += f" (id {str(feature['id'])[:40]!a})"
        if feature:
            yield label, feature
        if children is None:
            continue
        if not isinstance(children, list) or depth == _MAX_DEPTH:
            raise SlideError(
                f"{label} has children that are {shown(children)}, or nested too deep",
                expected=f"an array of Features, at most {_MAX_DEPTH} deep",
            )
        waiting += [
            (f"child {i} of {label}", child, depth + 1) for i, child in enumerate(children)
        ][::-1]


def _kind(feature: dict[str, Any], properties: dict[str, Any]) -> str:
    """What QuPath calls the object, in lower case; "" where the file does not say."""
    said = properties.get("objectType", properties.get("object_type", properties.get("type")))
    if not isinstance(said, str):
        said = feature.get("id")
    kind = said.lower() if isinstance(said, str) else ""
    return kind if kind in _REGIONS or kind in _NO_REGIONS else ""


def _is_old_id(value: object) -> bool:
    try:
        return isinstance(value, str) and uuid.UUID(value).version == _OLD_ID_VERSION
    except ValueError:
        return False
