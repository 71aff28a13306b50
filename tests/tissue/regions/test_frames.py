import json
import uuid

import pytest
from shapely.geometry import box, mapping

from slidenet.core.errors import SlideError
from slidenet.tissue import qupath_origin, read_regions, write_geojson

BOUNDS = (300, 200, 500, 400)


def annotation(shape, identity=None):
    found = {"type": "Feature", "geometry": mapping(shape), "properties": {}}
    return found if identity is None else {**found, "id": identity}


def drawn(document, version, shape=(10, 20, 60, 50)):
    """A feature as somebody left it, with an id of a version of UUIDs."""
    identity = str(uuid.UUID(int=1, version=version))
    document.append(annotation(box(*shape), identity))
    return document


def extent(path, slide, **settings):
    (region,) = read_regions(path, slide, **settings).regions
    return region.polygon.bounds


@pytest.mark.parametrize(
    ("bounds", "origin"),
    [
        (None, (0, 0)),
        ((300, 200), (0, 0)),  # QuPath crops only by all four
        ((300, 200, "wide", 400), (0, 0)),
        ((300, "2e2", 500, 400), (0, 0)),
        (BOUNDS, (300, 200)),
    ],
)
def test_the_origin_is_that_of_qupath(canvas, bounds, origin):
    assert qupath_origin(canvas(bounds=bounds).properties) == origin


def test_coordinates_of_qupath_and_of_level_0(saved, canvas):
    slide, path = canvas(bounds=BOUNDS), saved(annotation(box(10, 20, 60, 50)))
    assert extent(path, slide) == (310, 220, 360, 250)
    assert extent(path, slide, frame="level0") == (10, 20, 60, 50)
    assert extent(path, canvas()) == (10, 20, 60, 50)


def test_the_digest_is_that_of_level_0(saved, canvas):
    path, slide = saved(annotation(box(10, 20, 60, 50))), canvas(bounds=BOUNDS)
    moved = saved(annotation(box(310, 220, 360, 250)), "moved.geojson")
    assert read_regions(path, slide).digest == read_regions(moved, slide, frame="level0").digest
    assert read_regions(path, slide).digest != read_regions(moved, slide).digest


def test_own_files_say_their_frame(tmp_path, canvas):
    slide, path = canvas(bounds=BOUNDS), tmp_path / "t.geojson"
    write_geojson(path, [box(310, 220, 360, 250)], origin=qupath_origin(slide.properties))
    document = json.loads(path.read_text())
    corner = document["features"][0]["geometry"]["coordinates"][0]
    # 310 - 300 and 220 - 200: where QuPath shows it.
    assert [min(x for x, _ in corner), min(y for _, y in corner)] == [10, 20]
    assert document["slidenet"] == {"frame": "qupath", "origin": [300, 200]}
    for frame in ("qupath", "level0"):
        assert extent(path, slide, frame=frame) == (310, 220, 360, 250)
    with pytest.raises(SlideError, match=r"bounds start at \(300, 200\).*start at \(0, 0\)"):
        read_regions(path, canvas())


def test_own_files_saved_anew_by_qupath_stay_where_they_are(tmp_path, canvas, saved):
    slide, path = canvas(bounds=BOUNDS), tmp_path / "t.geojson"
    write_geojson(path, [box(310, 220, 360, 250)], origin=(300, 200))
    features = json.loads(path.read_text())["features"]
    assert uuid.UUID(features[0]["id"]).version == 8
    features.append(annotation(box(0, 0, 5, 5), str(uuid.uuid4())))
    regions = read_regions(saved({"type": "FeatureCollection", "features": features}), slide)
    assert [r.polygon.bounds[:2] for r in regions.regions] == [(310, 220), (300, 200)]


def test_files_of_older_versions_are_in_level_0(saved, canvas):
    slide = canvas(bounds=BOUNDS)
    old = read_regions(saved(drawn([], 5)), slide)
    assert old.regions[0].polygon.bounds == (10, 20, 60, 50)
    assert old.notes == ("read in level-0 pixels, as an older slidenet wrote it",)
    assert extent(saved(drawn([], 4)), slide) == (310, 220, 360, 250)


def test_a_mixture_is_an_error_only_where_the_frames_differ(saved, canvas):
    path = saved(drawn(drawn([], 5), 4, (1, 2, 3, 4)))
    with pytest.raises(SlideError, match=r"mixes 1 regions .* --annotation-frame level0"):
        read_regions(path, canvas(bounds=BOUNDS))
    assert len(read_regions(path, canvas()).regions) == 2
    assert len(read_regions(path, canvas(bounds=BOUNDS), frame="level0").regions) == 2


def test_the_wrong_frame_is_named_where_it_leads_off_the_slide(saved, canvas):
    path = saved(annotation(box(800, 700, 900, 790)))
    with pytest.raises(SlideError, match="--annotation-frame level0"):
        read_regions(path, canvas(bounds=BOUNDS))


@pytest.mark.parametrize(
    ("shape", "frame", "said"),
    [
        ((520, 450, 600, 590), "qupath", "pass --annotation-frame level0 if"),
        ((10, 20, 60, 50), "level0", "pass --annotation-frame qupath if"),
        ((400, 100, 600, 200), "qupath", "pass --annotation-frame level0 if"),
        ((400, 100, 505, 200), "qupath", None),
        ((300, 200, 400, 300), "level0", None),
    ],
)
def test_the_wrong_frame_is_guessed_at_where_nothing_was_scanned(saved, canvas, shape, frame, said):
    notes = read_regions(saved(annotation(box(*shape))), canvas(bounds=BOUNDS), frame=frame).notes
    if said is None:
        assert not notes
    else:
        assert notes[0].startswith(
            "1 region (first: region 0) beyond what was scanned, x 300 to 800"
        )
        assert said in notes[0]
