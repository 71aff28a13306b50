from dataclasses import replace

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.explanation.exports import write_tile_geojson
from slidenet.explanation.exports.geojson import tile_classes
from slidenet.slides import open_slide
from slidenet.testing.mirax import write_mirax
from slidenet.testing.qupath_file import read_qupath_file
from slidenet.tissue import qupath_bounds, qupath_origin, read_regions
from slidenet.visualisation.heatmaps import scale_of


def test_qupath_reads_tiles_with_measurements_and_classes(tmp_path, maps):
    said, found = read_qupath_file(write_tile_geojson(tmp_path / "a.geojson", maps, origin=(0, 0)))
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
    assert [each.colour for each in found] == [tuple(rgb) for rgb in colours.tolist()]
    facts = said["maps"]["attention tumour (not evidence)"]
    assert facts["details"] == {"heads": 1}
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
        said, found = read_qupath_file(file)
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
    said, found = read_qupath_file(file)
    assert said["frame"] == "level0"
    assert found[0].box == (128, 128, 64, 64)
    slide = flat_slide(np.full((512, 384, 3), 255, np.uint8))
    assert read_regions(file, slide).notes == ("4 QuPath tiles skipped",)


def test_odd_names_and_slides_without_tiles(tmp_path, odd_names, no_tiles, unplaced):
    _, found = read_qupath_file(
        write_tile_geojson(tmp_path / "a.geojson", odd_names, origin=(0, 0))
    )
    assert len(found[0].measurements) == 5
    assert found[0].class_name == "for a\u2236b*."
    _, found = read_qupath_file(write_tile_geojson(tmp_path / "b.geojson", no_tiles, origin=(0, 0)))
    assert found == []
    with pytest.raises(CoordinateError, match=r"not known where the tiles.*--formats"):
        write_tile_geojson(tmp_path / "c.geojson", unplaced, origin=(0, 0))
    with pytest.raises(ConfigError, match="map 3 of 3"):
        write_tile_geojson(tmp_path / "c.geojson", no_tiles, origin=(0, 0), lead=3)
    assert not (tmp_path / "c.geojson").exists()


def test_the_same_maps_give_the_same_bytes(tmp_path, maps):
    files = [write_tile_geojson(tmp_path / f"{i}.geojson", maps, origin=(5, 7)) for i in (0, 1)]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = write_tile_geojson(tmp_path / "2.geojson", maps, origin=(5, 7), lead=2)
    assert read_qupath_file(other)[1][1].class_name.startswith("attention tumour, highest 5%")


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ('"objectType":"tile"', '"objectType":"pixel"', "type 'pixel'"),
        ('"name":"for tumour"', '"name":"for: tumour"', "the class 'for: tumour'"),
        ('"name":"for tumour"', '"name":"for tumour*"', "the class"),
        (':1.5', ':NaN', "NaN is no JSON"),
        (':1.5', ':"1.5"', "the measurement 'evidence tumour'"),
        ('[192,192],[128,192]', '[192,193],[128,192]', "the outline"),
        ('"color":[', '"color":[300,', "the colour"),
        ('"evidence tumour":', '"single_tile tumour":', "a member twice"),
    ],
)  # fmt: skip
def test_the_reader_refuses_what_qupath_would(tmp_path, maps, before, after, found):
    file = write_tile_geojson(tmp_path / "a.geojson", maps, origin=(0, 0))
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
    with pytest.raises(ValueError, match=found):
        read_qupath_file(file)


def test_the_lead_is_the_map_of_what_the_model_calls_the_slide(tmp_path, making):
    make_map, _, make_maps = making
    maps = make_maps(make_map([1, 2, 3, 4], target="normal"), make_map([1, 2, 3, 4]))
    called = replace(maps, prediction={"slide_1": {"called": ["tumour"]}})
    said, found = read_qupath_file(write_tile_geojson(tmp_path / "a", called, origin=(0, 0)))
    assert (said["lead"], found[0].class_name) == ("evidence tumour", "for tumour")
    said, _ = read_qupath_file(write_tile_geojson(tmp_path / "b", maps, origin=(0, 0)))
    assert said["lead"] == "evidence normal"
