import json
import math
import uuid
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.explanation.exports import write_tile_geojson
from slidenet.explanation.exports.geojson import tile_classes
from slidenet.slides import open_slide
from slidenet.testing.mirax import write_mirax
from slidenet.tissue import qupath_bounds, qupath_origin, read_regions
from slidenet.visualisation.heatmaps import scale_of

# What QuPath 0.4 to 0.6 does with a GeoJSON file, as strict as its readers are together:
# `objectType`, `measurements` as an object of numbers, a `classification` that has a name and a
# colour, a UUID for an id, names of classes without a colon (it would be a derived class) or an end
# of line (refused), and a star at the end of a class for what is to be ignored.
TYPES = {"annotation", "detection", "tile", "cell", "tmaCore", "root"}


@dataclass(frozen=True)
class QuPathObject:
    kind: str
    name: str
    box: tuple  # (x, y, width, height), pixels of what QuPath shows
    color: tuple
    class_name: str
    class_color: tuple
    measurements: dict


def read_as_qupath(path):
    """Objects of a file; AssertionError where QuPath would refuse or misread it."""

    def no_constant(text):
        raise AssertionError(f"{text} is no JSON")

    def no_repeats(pairs):
        assert len({name for name, _ in pairs}) == len(pairs), f"a member comes twice: {pairs}"
        return dict(pairs)

    document = json.loads(
        path.read_text("utf-8"), parse_constant=no_constant, object_pairs_hook=no_repeats
    )
    assert document["type"] == "FeatureCollection"
    assert set(document) <= {"type", "features", "slidenet"}
    found = [_object(feature) for feature in document["features"]]
    ids = [feature["id"] for feature in document["features"]]
    assert len(set(ids)) == len(ids)
    return document.get("slidenet"), found


def _object(feature):
    assert set(feature) == {"type", "id", "geometry", "properties"}
    assert feature["type"] == "Feature"
    assert str(uuid.UUID(feature["id"])) == feature["id"]
    said = feature["properties"]
    assert set(said) == {"objectType", "name", "color", "classification", "measurements"}
    assert said["objectType"] in TYPES
    assert set(said["classification"]) == {"name", "color"}
    name = said["classification"]["name"]
    assert name == name.strip()
    assert name
    assert not set(name) & set(":\r\n")
    assert not name.endswith("*")
    for label, value in said["measurements"].items():
        assert label
        assert label.isprintable()
        assert type(value) in (int, float)
        assert math.isfinite(value)
    return QuPathObject(
        said["objectType"],
        said["name"],
        _box(feature["geometry"]),
        _color(said["color"]),
        name,
        _color(said["classification"]["color"]),
        said["measurements"],
    )


def _box(geometry):
    assert set(geometry) == {"type", "coordinates"}
    assert geometry["type"] == "Polygon"
    (ring,) = geometry["coordinates"]
    assert ring[0] == ring[-1]
    assert len(ring) == 5
    assert all(type(number) is int for point in ring for number in point)
    xs, ys = sorted({x for x, _ in ring}), sorted({y for _, y in ring})
    assert len(xs) == len(ys) == 2
    assert {tuple(point) for point in ring} == {(x, y) for x in xs for y in ys}
    # RFC 7946: outer rings turn from x to y.
    turn = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    assert turn > 0
    return xs[0], ys[0], xs[1] - xs[0], ys[1] - ys[0]


def _color(value):
    assert len(value) == 3
    assert all(type(part) is int and 0 <= part <= 255 for part in value)
    return tuple(value)


def test_qupath_reads_tiles_with_measurements_and_classes(tmp_path, maps):
    said, found = read_as_qupath(write_tile_geojson(tmp_path / "a.geojson", maps, origin=(0, 0)))
    assert [each.box for each in found] == [(x, y, 64, 64) for x, y in maps.coords.tolist()]
    assert {each.kind for each in found} == {"tile"}
    assert found[0].measurements == {
        "evidence tumour": 1.5,
        "single_tile tumour": 2.0,
        "attention tumour (not evidence)": float(str(np.float32(0.1))),
    }
    assert found[3].measurements == {}
    assert [each.class_name for each in found] == [
        "for tumour", "against tumour", "neither for nor against tumour", "no value",
    ]  # fmt: skip
    colours = scale_of(maps.maps[0]).rgb(maps.maps[0].values)
    assert [each.color for each in found] == [tuple(rgb) for rgb in colours.tolist()]
    facts = said["maps"]["attention tumour (not evidence)"]
    assert said["lead"] == "evidence tumour"
    assert (facts["unit"], facts["is_evidence"], facts["highest"]) == (
        "share", False, pytest.approx(0.7),
    )  # fmt: skip


def test_classes_say_what_a_map_is(making):
    make_map, attention_map, _ = making
    index, classes = tile_classes(attention_map([*range(20), np.nan]))
    names = [classes[place][0] for place in index]
    assert names[19] == "attention tumour, highest 5% (not evidence)"
    assert names[16:19] == ["attention tumour, highest 20% (not evidence)"] * 3
    assert names[:16] == ["attention tumour, lower (not evidence)"] * 16
    assert names[20] == "no value"
    risk = make_map([1, -1], target="risk", details={"relative": True})
    assert [name for name, _ in tile_classes(risk)[1]][:2] == ["raises risk", "lowers risk"]
    same, _ = tile_classes(attention_map([0.25] * 4))
    assert len(set(same.tolist())) == 1


def test_the_frame_is_that_of_qupath(tmp_path, making):
    """A slide with bounds: each tile's pixels lie where its object is in what QuPath shows."""
    make_map, _, make_maps = making
    pixels = np.full((512, 384, 3), 255, np.uint8)
    places = [(128, 128), (192, 192), (256, 320)]
    for number, (x, y) in enumerate(places):
        pixels[y : y + 64, x : x + 64] = (40 + 60 * number, 90, 30)
    path = write_mirax(tmp_path / "a.mrxs", pixels, side_px=64, skip_white=True)
    with open_slide(path) as slide:
        left, top, width, height = bounds = qupath_bounds(slide.properties)
        assert bounds == (128, 128, 192, 256)
        maps = make_maps(make_map([1, 2, 3]), coords=places)
        origin = qupath_origin(slide.properties)
        file = write_tile_geojson(tmp_path / "a.geojson", maps, origin=origin)
        said, found = read_as_qupath(file)
        shown = slide.read_region((left, top), 0, (width, height))  # QuPath crops to the bounds
        for number, each in enumerate(found):
            x, y, across, down = each.box
            assert (x, y) == (places[number][0] - 128, places[number][1] - 128)
            assert (shown[y : y + down, x : x + across] == (40 + 60 * number, 90, 30)).all()
        assert (said["frame"], said["origin"]) == ("qupath", [128, 128])
        regions = read_regions(file, slide)  # tiles are no regions that somebody drew
        assert (regions.regions, regions.notes) == ((), ("3 QuPath tiles skipped",))


def test_a_slide_that_cannot_be_opened_leaves_level_0(tmp_path, maps, flat_slide):
    file = write_tile_geojson(tmp_path / "a.geojson", maps, origin=None)
    said, found = read_as_qupath(file)
    assert said["frame"] == "level0"
    assert found[0].box == (128, 128, 64, 64)
    slide = flat_slide(np.full((512, 384, 3), 255, np.uint8))
    assert read_regions(file, slide).notes == ("4 QuPath tiles skipped",)


def test_odd_names_and_slides_without_tiles(tmp_path, odd_names, no_tiles, unplaced):
    _, found = read_as_qupath(write_tile_geojson(tmp_path / "a.geojson", odd_names, origin=(0, 0)))
    assert len(found[0].measurements) == 5
    assert found[0].class_name == "for a\u2236b*."
    _, found = read_as_qupath(write_tile_geojson(tmp_path / "b.geojson", no_tiles, origin=(0, 0)))
    assert found == []
    with pytest.raises(CoordinateError, match=r"not known where the tiles.*--formats"):
        write_tile_geojson(tmp_path / "c.geojson", unplaced, origin=(0, 0))
    with pytest.raises(ConfigError, match="map 3 as the lead of 3"):
        write_tile_geojson(tmp_path / "c.geojson", no_tiles, origin=(0, 0), lead=3)
    assert not (tmp_path / "c.geojson").exists()


def test_the_same_maps_give_the_same_bytes(tmp_path, maps):
    files = [write_tile_geojson(tmp_path / f"{i}.geojson", maps, origin=(5, 7)) for i in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = write_tile_geojson(tmp_path / "2.geojson", maps, origin=(5, 7), lead=2)
    assert read_as_qupath(other)[1][1].class_name.startswith("attention tumour, highest 5%")
