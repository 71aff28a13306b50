import json
import uuid

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from slidenet.core.errors import OutputError
from slidenet.tissue import Tissue, rasterize, read_regions, tissue_polygons, write_geojson

DONUT = Polygon([(0, 0), (40, 0), (40, 30), (0, 30)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])


def test_the_file_is_what_qupath_reads(tmp_path):
    write_geojson(tmp_path / "t.geojson", [DONUT, box(50, 1, 60.25, 9)])
    document = json.loads((tmp_path / "t.geojson").read_text())
    assert document.keys() == {"type", "features"}
    assert document["type"] == "FeatureCollection"
    first, second = document["features"]
    assert first["type"] == "Feature"
    assert uuid.UUID(first["id"]).version == 5
    assert first["id"] != second["id"]
    assert first["geometry"]["type"] == "Polygon"
    assert [len(ring) for ring in first["geometry"]["coordinates"]] == [5, 5]
    assert first["geometry"]["coordinates"][0][0] == first["geometry"]["coordinates"][0][-1]
    assert first["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "Tissue", "color": [24, 140, 130]},
    }


def test_the_same_polygons_give_the_same_bytes(tmp_path):
    write_geojson(tmp_path / "a.geojson", [DONUT])
    write_geojson(tmp_path / "b.geojson", [DONUT])
    assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()


def test_the_bytes_of_older_versions(tmp_path):
    write_geojson(tmp_path / "t.geojson", [box(0, 0, 2, 1)])
    assert (tmp_path / "t.geojson").read_text() == (
        '{"type":"FeatureCollection","features":[\n'
        '{"type":"Feature","id":"5e7fcff5-6122-5601-9598-4ba16f2256d8","geometry":{"type":"Polygon","coordinates":'
        "[[[2.0,0.0],[2.0,1.0],[0.0,1.0],[0.0,0.0],[2.0,0.0]]]},"
        '"properties":{"objectType":"annotation","classification":{"name":"Tissue",'
        '"color":[24,140,130]}}}\n'
        "]}\n"
    )


def test_mask_to_file_to_mask_is_the_identity(tmp_path, canvas):
    mask = np.random.default_rng(1).random((25, 35)) < 0.5
    tissue = Tissue(mask, (11.59, 11.6012345), {})
    slide = canvas(406, 291, bounds=(100, 50, 300, 300))
    for origin in ((0, 0), (100, 50)):
        write_geojson(tmp_path / "t.geojson", tissue_polygons(tissue), origin=origin)
        polygons = [r.polygon for r in read_regions(tmp_path / "t.geojson", slide).regions]
        back = rasterize(polygons, shape=mask.shape, downsample_xy=tissue.downsample_xy)
        np.testing.assert_array_equal(back, mask)


def test_no_polygons_are_still_a_file(tmp_path):
    write_geojson(tmp_path / "t.geojson", [])
    assert json.loads((tmp_path / "t.geojson").read_text())["features"] == []


def test_a_file_in_place_of_the_folder_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_geojson(tmp_path / "file" / "t.geojson", [DONUT])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
