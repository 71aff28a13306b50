"""GeoJSON that QuPath opens at the right place."""

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from shapely.geometry import Polygon, mapping

from slidenet.core.provenance import canonical_json
from slidenet.stores.atomic import atomic_path
from slidenet.tissue.regions.frames import moved
from slidenet.tissue.regions.geojson import FRAME_KEY

TISSUE_RGB = (24, 140, 130)
"""Colour QuPath draws the class in."""

_ID_NAMESPACE = uuid.UUID("6f1f7f3e-5b0c-5d39-9f83-5c7f1c0d5b11")


def write_geojson(
    path: str | os.PathLike[str],
    polygons: Sequence[Polygon],
    *,
    classification: str = "Tissue",
    color: tuple[int, int, int] = TISSUE_RGB,
    origin: tuple[int, int] = (0, 0),
) -> None:
    """Writes polygons as annotations that QuPath opens; whole or not at all.

    The same polygons give the same bytes: ids are UUIDs made from class and geometry. Of version 5
    where the file is in level-0 pixels, which is all that older versions wrote; of version 8 in a
    frame of QuPath's own, so that the two are told apart also after QuPath has saved the file anew
    without the member that says its frame.

    Args:
        path: File to write; its folder must exist.
        polygons: Level-0 pixels.
        classification: Class of all of them.
        color: (r, g, b) of the class, 0 to 255.
        origin: (x, y) in level-0 pixels of QuPath's (0, 0), which is taken off; see
            `qupath_origin`.

    Raises:
        OutputError: The file cannot be written.
    """
    properties = {
        "objectType": "annotation",
        "classification": {"name": classification, "color": list(color)},
    }
    away = (-origin[0], -origin[1])
    features = []
    for number, polygon in enumerate(polygons):
        geometry = mapping(moved(polygon, away))
        key = canonical_json({"class": classification, "number": number, "geometry": geometry})
        identity = uuid.uuid5(_ID_NAMESPACE, key)
        if origin != (0, 0):
            identity = uuid.UUID(int=identity.int & ~(0xF << 76) | 8 << 76)
        features.append(
            {"type": "Feature", "id": str(identity), "geometry": geometry, "properties": properties}
        )
    # One feature a line: small, and still readable in a text editor.
    body = ",\n".join(json.dumps(feature, separators=(",", ":")) for feature in features)
    said = {FRAME_KEY: {"frame": "qupath", "origin": list(origin)}} if origin != (0, 0) else {}
    head = json.dumps({"type": "FeatureCollection", **said}, separators=(",", ":"))[:-1]
    with atomic_path(Path(path)) as temporary:
        temporary.write_text(f'{head},"features":[\n{body}\n]}}\n', encoding="utf-8")
