"""What people draw, from the file to the tiles, and back to what QuPath opens."""

import json
import math

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box, mapping

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.inspection.info import info
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import PreprocessSettings
from slidenet.slides import open_slide
from slidenet.stores import read_tile_set
from slidenet.testing.mirax import write_mirax
from slidenet.tissue import qupath_origin, read_regions

BOUNDS = (384, 256)
"""Where the first stored image lies: QuPath shows the slide from here."""
DRAWN = Polygon(
    [
        (250 + (170 + 40 * math.sin(5 * a)) * math.cos(a), 210 + 160 * math.sin(a))
        for a in np.linspace(0, 2 * math.pi, 60, endpoint=False)
    ]
)
"""A wavy outline, as QuPath counts."""


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory):
    """A MIRAX slide of 1280 x 896 px, whose glass around the tissue is not stored."""
    pixels = np.full((896, 1280, 3), 255, np.uint8)
    tissue = np.random.default_rng(0).integers(90, 200, (384, 512, 3), dtype=np.uint8)
    pixels[BOUNDS[1] : BOUNDS[1] + 384, BOUNDS[0] : BOUNDS[0] + 512] = tissue
    return write_mirax(tmp_path_factory.mktemp("mirax") / "a.mrxs", pixels, skip_white=True)


def tiles_of(slide_path, out, regions, **settings):
    """Preprocesses with drawn tissue; the tile set, and the level-0 area that its tiles cover."""
    preprocess(
        [SlideRow("a", str(slide_path))],
        out,
        PreprocessSettings(
            target_mpp=0.5, tile_size_px=16, tissue_geojson=regions, isolate=False, **settings
        ),
    )
    tile_set = read_tile_set(OutputLayout(out).tiles("a"))
    corners = tile_set.coords
    return shapely.union_all(shapely.box(*corners.T, *(corners + 16).T))


def test_a_polygon_of_qupath_selects_the_tiles_it_was_drawn_on(tmp_path, slide_path):
    folder, out = tmp_path / "regions", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mrxs.geojson").write_text(json.dumps(mapping(DRAWN)))
    covered = tiles_of(slide_path, out, folder)
    on_slide = shapely.transform(DRAWN, lambda xy: xy + BOUNDS)
    assert covered.intersection(on_slide).area / on_slide.area > 0.98
    assert covered.intersection(on_slide).area / covered.area > 0.9
    # And back: the file for QuPath holds level 0 minus bounds, to a mask pixel of 4 um = 8 px.
    written = json.loads((out / "tissue" / "a.geojson").read_text())
    points = np.concatenate([f["geometry"]["coordinates"][0] for f in written["features"]])
    found = (*points.min(axis=0), *points.max(axis=0))
    np.testing.assert_allclose(found, DRAWN.bounds, atol=8)
    with open_slide(slide_path) as slide:
        assert qupath_origin(slide.properties) == BOUNDS
        again = read_regions(out / "tissue" / "a.geojson", slide)
    shapes = shapely.union_all([region.polygon for region in again.regions])
    np.testing.assert_allclose(shapes.bounds, np.add(found, (*BOUNDS, *BOUNDS)))


@pytest.mark.slow
def test_uncropped_in_and_out(tmp_path, slide_path):
    folder, out = tmp_path / "regions", tmp_path / "out"
    folder.mkdir()
    square = box(400, 300, 720, 480)
    (folder / "a.json").write_text(json.dumps(mapping(square)))
    covered = tiles_of(slide_path, out, folder, annotation_frame="level0")
    assert covered.intersection(square).area / square.area > 0.98
    written = json.loads((out / "tissue" / "a.geojson").read_text())
    assert "slidenet" not in written
    points = np.array(written["features"][0]["geometry"]["coordinates"][0])
    np.testing.assert_allclose((*points.min(axis=0), *points.max(axis=0)), square.bounds, atol=8)


@pytest.mark.slow
def test_what_excludes_has_no_tiles(tmp_path, slide_path):
    folder = tmp_path / "regions"
    folder.mkdir()
    names = {
        "Tumor": box(0, 0, 256, 128),
        "Ignore*": box(64, 0, 128, 128),
        "Fat": box(0, 0, 32, 128),
    }
    features = [
        {"type": "Feature", "geometry": mapping(shape), "properties": {"classification": name}}
        for name, shape in names.items()
    ]
    (folder / "a.geojson").write_text(json.dumps(features))
    covered = tiles_of(slide_path, tmp_path / "out", folder, exclude_classes=["fat"])
    expected = box(32, 0, 64, 128).union(box(128, 0, 256, 128))
    assert covered.equals(shapely.transform(expected, lambda xy: xy + BOUNDS))


@pytest.mark.slow
def test_what_was_written_is_read_again_but_never_written_over(tmp_path, slide_path):
    folder = tmp_path / "regions"
    folder.mkdir()
    (folder / "a.geojson").write_text(json.dumps(mapping(DRAWN)))
    covered = tiles_of(slide_path, tmp_path / "out", folder)
    own = tmp_path / "out" / "tissue"
    assert {path.suffix for path in own.iterdir()} == {".geojson", ".json"}
    assert tiles_of(slide_path, tmp_path / "again", own).equals(covered)
    with pytest.raises(ConfigError, match=r"is where the tissue .* a folder of their own"):
        tiles_of(slide_path, tmp_path / "out", own)


def test_info_says_the_bounds(slide_path):
    rows = dict(info(slide_path, isolate=False).rows)
    assert rows["bounds"] == "start at (384, 256), from where QuPath counts"
