"""GeoJSON as QuPath writes and reads it (QuPath documentation, "Exporting annotations").

Coordinates are level-0 pixels from the top-left corner of the slide. A file is a FeatureCollection,
one Feature, an array of Features, or a bare geometry; a Feature's class lies in
`properties.classification` as `name`, `names` (derived classes, "Tumor: Positive") or a string.
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import GeometryCollection, MultiPolygon, Polygon, mapping, shape

from slidenet.core.errors import SlideError
from slidenet.core.provenance import INPUTS_KEY, Identity, canonical_json, identity_hash
from slidenet.slides import Slide
from slidenet.stores.atomic import atomic_path
from slidenet.tissue.masks import MAX_SIDE_PX
from slidenet.tissue.polygons import rasterize
from slidenet.tissue.tissue import Tissue, tissue_on

TISSUE_RGB = (24, 140, 130)
"""Colour QuPath draws the class in."""

_ID_NAMESPACE = uuid.UUID("6f1f7f3e-5b0c-5d39-9f83-5c7f1c0d5b11")


def tissue_from_geojson(
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    classification: str | None = None,
    mask_mpp: float = 4.0,
) -> Tissue:
    """Tissue drawn or edited in QuPath.

    Args:
        slide: The slide the annotations belong to.
        path: GeoJSON file, level-0 pixels.
        classification: Only annotations of this class, for example "Tissue"; None takes all.
        mask_mpp: Resolution of the mask, microns per pixel; coarser where a side of the
            mask would exceed 4096 pixels. A pixel is tissue when its centre is inside.

    Raises:
        SlideError: The file is no GeoJSON, a feature is broken, or everything lies outside the
            slide. The message names the feature.
        MissingMppError: The slide has no mpp.
    """
    polygons = read_geojson(path, classification=classification)
    width, height = slide.level_dimensions[0]
    step = max(mask_mpp / slide.slide_mpp.value, 1.0, max(width, height) / MAX_SIDE_PX)
    size = (max(round(height / step), 1), max(round(width / step), 1))
    mask = rasterize(polygons, shape=size, downsample_xy=(width / size[1], height / size[0]))
    if not mask.any():
        left, top, right, bottom = shapely.total_bounds(polygons)
        raise SlideError(
            f"the {len(polygons)} polygons of {Path(path).name} cover nothing of the slide, "
            f"which is {width} x {height} level-0 pixels; they span x {left:.0f} to "
            f"{right:.0f}, y {top:.0f} to {bottom:.0f}",
            expected="level-0 pixels of this slide, as QuPath exports them",
            remedy="check that the file belongs to this slide and was drawn on the whole image",
            slide=slide.path.name,
        )
    identity: Identity = {
        "segmenter": "geojson",
        "classification": classification,
        "mask_mpp": mask_mpp,
        INPUTS_KEY: {"polygons": identity_hash({"wkt": [polygon.wkt for polygon in polygons]})},
    }
    return tissue_on(slide, mask, identity)


def read_geojson(
    path: str | os.PathLike[str], *, classification: str | None = None
) -> list[Polygon]:
    """Polygons of a GeoJSON file in file order, multipolygons taken apart.

    Args:
        path: GeoJSON file.
        classification: Only features of this class; None takes all.

    Raises:
        SlideError: Not readable as GeoJSON, a chosen feature is no valid polygon (it is named), or
            no feature was chosen.
    """
    name = Path(path).name
    found: list[Polygon] = []
    seen: set[str] = set()
    for label, feature in _features(path):
        value = (feature.get("properties") or {}).get("classification")
        if isinstance(value, dict):
            names = value.get("names")
            value = ": ".join(map(str, names)) if isinstance(names, list) else value.get("name")
        its_class = None if value is None else str(value)
        seen.add(its_class or "(none)")
        if classification is None or classification == its_class:
            found += _polygons_of(feature, f"{label} of {name}")
    if not found:
        raise SlideError(
            f"{name} holds no polygons"
            + (f" of the class {classification!r}; its classes: {sorted(seen)}" if seen else ""),
            expected="at least one Polygon or MultiPolygon",
            remedy="draw the tissue in QuPath and export it with File > Object data... > "
            "Export as GeoJSON" + (", or name another class" if classification else ""),
        )
    return found


def write_geojson(
    path: str | os.PathLike[str],
    polygons: Sequence[Polygon],
    *,
    classification: str = "Tissue",
    color: tuple[int, int, int] = TISSUE_RGB,
) -> None:
    """Writes polygons as annotations that QuPath opens; whole or not at all.

    The same polygons give the same bytes: ids are UUIDs made from class and geometry.

    Args:
        path: File to write; its folder must exist.
        polygons: Level-0 pixels.
        classification: Class of all of them.
        color: (r, g, b) of the class, 0 to 255.

    Raises:
        OutputError: The file cannot be written.
    """
    properties = {
        "objectType": "annotation",
        "classification": {"name": classification, "color": list(color)},
    }
    features = []
    for number, polygon in enumerate(polygons):
        geometry = mapping(polygon)
        key = canonical_json({"class": classification, "number": number, "geometry": geometry})
        identity = str(uuid.uuid5(_ID_NAMESPACE, key))
        features.append(
            {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}
        )
    # One feature a line: small, and still readable in a text editor.
    body = ",\n".join(json.dumps(feature, separators=(",", ":")) for feature in features)
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(
            f'{{"type":"FeatureCollection","features":[\n{body}\n]}}\n', encoding="utf-8"
        )


def _features(path: str | os.PathLike[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every feature with the words that name it in a message."""
    name = Path(path).name
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SlideError(
            f"{path} cannot be read as GeoJSON ({error})", expected="a GeoJSON text file"
        ) from error
    items = document
    if isinstance(document, dict) and document.get("type") == "FeatureCollection":
        items = document.get("features")
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        raise SlideError(
            f"{name} is JSON but no GeoJSON",
            expected="a FeatureCollection, a Feature, an array of Features or a geometry",
        )
    for number, item in enumerate(items):
        label = f"feature {number}"
        if not isinstance(item, dict):
            raise SlideError(f"{label} of {name} is {item!r}", expected="a GeoJSON object")
        feature = item if item.get("type") == "Feature" else {"geometry": item}
        if feature.get("id") is not None:
            label += f" (id {feature['id']})"
        yield label, feature


def _polygons_of(feature: dict[str, Any], label: str) -> list[Polygon]:
    expected = "a valid Polygon or MultiPolygon of [x, y] points"
    try:
        geometry = shape(feature.get("geometry"))
    except (
        AttributeError, IndexError, KeyError, TypeError, ValueError, shapely.errors.ShapelyError,
    ) as error:  # fmt: skip
        raise SlideError(f"{label} has a broken geometry ({error})", expected=expected) from error
    if not isinstance(geometry, Polygon | MultiPolygon | GeometryCollection):
        raise SlideError(
            f"{label} is a {geometry.geom_type}, which has no area",
            expected=expected,
            remedy="delete it in QuPath, or choose the tissue annotations by their class",
        )
    parts = [part for part in shapely.get_parts(geometry) if not part.is_empty]
    for part in parts:
        if not isinstance(part, Polygon):
            raise SlideError(f"{label} holds a {part.geom_type}", expected=expected)
        if not part.is_valid:
            raise SlideError(
                f"{label} is not a valid polygon ({shapely.is_valid_reason(part)})",
                expected=expected,
                remedy="redraw it in QuPath, or run Objects > Annotations... > Simplify shape",
            )
    return parts
