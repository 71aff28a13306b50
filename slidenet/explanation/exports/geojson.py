"""Tiles as QuPath's tile objects, with measurements, colours and classes, in QuPath's own frame.

What QuPath 0.4 to 0.6 read: a FeatureCollection whose Features have a UUID as `id` and in
`properties` an `objectType` ("tile" is a detection), `measurements` as an object of numbers, and a
`classification` with both `name` and `color`. Coordinates are pixels of what QuPath shows, which
for a slide with bounds is level 0 minus the corner of the bounds (see `tissue.regions.frames`).
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.escapes import in_qupath
from slidenet.core.provenance import canonical_json
from slidenet.explanation.exports.columns import (
    NOT_EVIDENCE,
    chosen_map,
    map_facts,
    map_names,
    require_places,
)
from slidenet.stores.atomic import atomic_path
from slidenet.stores.tile_maps import TileMap, TileMaps
from slidenet.tissue.regions.geojson import FRAME_KEY
from slidenet.visualisation.heatmaps import scale_of

TileClasses = tuple[IntArray, Sequence[tuple[str, tuple[int, int, int]]]]
"""Class of each tile, int64 (N,), as its place in the classes; name and RGB of each class."""

NO_VALUE = "no value"
HIGHEST, HIGH = 0.05, 0.2
"""Shares of the tiles in the two upper classes of a map without sign."""

_ID_NAMESPACE = uuid.UUID("0f0c3a52-59a4-5a0c-8e8f-0b1d9f1c7a31")
_FOR, _AGAINST, _MIDDLE, _LOWER = 0.86, 0.14, 0.5, 0.2
"""Places on a scale of colours."""


def write_tile_geojson(
    path: str | os.PathLike[str],
    maps: TileMaps,
    *,
    origin: tuple[int, int] | None,
    lead: int | None = None,
    names: Sequence[str] | None = None,
    classes: TileClasses | None = None,
) -> Path:
    """Writes the tiles of a slide as objects that QuPath opens; whole or not at all.

    Every map is a measurement with its raw numbers. One of them, the lead, gives each tile its
    colour (as in slidenet's figures; QuPath's measurement maps replace it) and its class: "for
    TARGET" and "against TARGET" by the sign ("raises" and "lowers" a value or a risk); of a map
    without sign "highest 5%", "highest 20%" and "lower". A tile in no bag has the class "no value"
    and no measurement.

    Args:
        path: The file.
        maps: The maps of one slide.
        origin: (x, y) in level-0 pixels of QuPath's (0, 0), which is taken off: `qupath_origin` of
            the slide's properties. None: unknown, since the slide cannot be opened; the file then
            is in level-0 pixels and says so, which is QuPath's frame too unless the slide has
            bounds.
        lead: Which map, by its place in `maps.maps`; None: the first of what the model calls the
            slide.
        names: Of the measurements, where those of the maps do not suit.
        classes: Of the tiles, where they come from elsewhere than a map, with their colours.

    Returns:
        The path written.

    Raises:
        CoordinateError: It is not known where the tiles lie.
        ConfigError: There is no such map.
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    require_places(maps, "QuPath")
    lead = chosen_map(maps, lead)
    said: dict[str, Any] = {"frame": "level0"}
    if origin is not None:
        said = {"frame": "qupath", "origin": list(origin)}
    names = map_names(maps.maps) if names is None else names
    if classes is None:
        said["lead"] = names[lead]
    said["maps"] = {name: map_facts(each) for name, each in zip(names, maps.maps, strict=True)}
    head = _json({"type": "FeatureCollection", FRAME_KEY: said})[:-1]
    with (
        atomic_path(path, slide=maps.slide_id) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(f'{head},"features":[')
        ends = "\n"
        for feature in _features(maps, names, origin or (0, 0), maps.maps[lead], classes):
            file.write(ends + feature)
            ends = ",\n"
        file.write("\n]}\n")
    return path


def tile_classes(tile_map: TileMap) -> TileClasses:
    """Class of each tile by one map.

    Returns:
        int64 (N,), the place in the classes; name and RGB of each class.
    """
    scale = scale_of(tile_map)
    values, target = tile_map.values, in_qupath(tile_map.target)
    grey = _rgb(scale.rgb(np.full(1, np.nan, np.float32))[0])

    def shade(place: float) -> tuple[int, int, int]:
        return _rgb(np.asarray(scale.colours(place, bytes=True))[:3])

    if tile_map.signed:
        words = [f"for {target}", f"against {target}", f"neither for nor against {target}"]
        if tile_map.details.get("relative"):
            words = [f"raises {target}", f"lowers {target}", f"neither raises nor lowers {target}"]
        places = [_FOR, _AGAINST, _MIDDLE]
        conditions = [values > 0, values < 0, values == 0]
    else:
        # Equal values get one class: which of them came first says nothing.
        ordered = np.sort(values[~np.isnan(values)])
        at_least = np.searchsorted(ordered, values, side="right") - 1
        rank = 1 - at_least / max(len(ordered) - 1, 1)  # 0: the largest, 1: the smallest
        method = in_qupath(tile_map.method)
        words = [
            f"{method} {target}, {part}"
            for part in (f"highest {HIGHEST:.0%}", f"highest {HIGH:.0%}", "lower")
        ]
        places = [_FOR, _MIDDLE, _LOWER]
        conditions = [rank <= HIGHEST, rank <= HIGH, ~np.isnan(values)]
    if not tile_map.is_evidence:
        words = [f"{each} ({NOT_EVIDENCE})" for each in words]
    index = np.select([np.isnan(values), *conditions], [3, 0, 1, 2], 3).astype(np.int64)
    classes = [(name, shade(place)) for name, place in zip(words, places, strict=True)]
    return index, [*classes, (NO_VALUE, grey)]


def _features(
    maps: TileMaps,
    names: Sequence[str],
    origin: tuple[int, int],
    lead: TileMap,
    given: TileClasses | None,
) -> Iterator[str]:
    """The tiles as JSON texts, one after the other."""
    side = maps.geometry.tile_size_level0
    key = canonical_json(
        {"slide": maps.slide_id, "fingerprint": maps.fingerprint, "identity": maps.identity}
    )
    namespace = uuid.uuid5(_ID_NAMESPACE, key)
    index, classes = tile_classes(lead) if given is None else given
    colours = scale_of(lead).rgb(lead.values).tolist()
    if given is not None:
        colours = [list(classes[which][1]) for which in index.tolist()]
    class_texts = [_json({"name": name, "color": rgb}) for name, rgb in classes]
    # Shortest decimals that give the same float32 back; NaN is no JSON and is left out.
    numbers = [each.values.astype(str).tolist() for each in maps.maps]
    keys = [_json(name) for name in names]
    rows = zip(
        (maps.coords - np.array(origin, np.int64)).tolist(),
        index.tolist(),
        colours,
        zip(*numbers, strict=True),
        strict=True,
    )
    for number, ((x, y), which, (red, green, blue), values) in enumerate(rows):
        right, bottom = x + side, y + side
        measurements = ",".join(
            f"{key}:{value}" for key, value in zip(keys, values, strict=True) if value != "nan"
        )
        yield (
            f'{{"type":"Feature","id":"{uuid.uuid5(namespace, str(number))}",'
            '"geometry":{"type":"Polygon","coordinates":'
            f"[[[{x},{y}],[{right},{y}],[{right},{bottom}],[{x},{bottom}],[{x},{y}]]]}},"
            f'"properties":{{"objectType":"tile","name":"tile {number}",'
            f'"color":[{red},{green},{blue}],"classification":{class_texts[which]},'
            f'"measurements":{{{measurements}}}}}}}'
        )


def _rgb(colour: Any) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in colour)
    return red, green, blue


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
