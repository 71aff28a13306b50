import json
import uuid

import numpy as np
import pytest
from shapely.geometry import Polygon, box, mapping

from slidenet.core.errors import OutputError, SlideError
from slidenet.core.provenance import canonical_json
from slidenet.tissue import (
    Tissue,
    rasterize,
    read_geojson,
    tissue_from_geojson,
    tissue_polygons,
    write_geojson,
)

DONUT = Polygon([(0, 0), (40, 0), (40, 30), (0, 30)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


def saved(tmp_path, document):
    path = tmp_path / "drawn.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


@pytest.fixture
def slide(flat_slide):
    return flat_slide(np.full((60, 80, 3), 240, np.uint8), mpp=1.0)


class TestWriting:
    def test_the_file_is_what_qupath_reads(self, tmp_path):
        write_geojson(tmp_path / "t.geojson", [DONUT, box(50, 1, 60.25, 9)])
        document = json.loads((tmp_path / "t.geojson").read_text())
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

    def test_the_same_polygons_give_the_same_bytes(self, tmp_path):
        write_geojson(tmp_path / "a.geojson", [DONUT])
        write_geojson(tmp_path / "b.geojson", [DONUT])
        assert (tmp_path / "a.geojson").read_bytes() == (tmp_path / "b.geojson").read_bytes()

    def test_mask_to_file_to_mask_is_the_identity(self, tmp_path):
        mask = np.random.default_rng(1).random((50, 70)) < 0.5
        tissue = Tissue(mask, (11.59, 11.6012345), {})
        write_geojson(tmp_path / "t.geojson", tissue_polygons(tissue))
        polygons = read_geojson(tmp_path / "t.geojson", classification="Tissue")
        back = rasterize(polygons, shape=mask.shape, downsample_xy=tissue.downsample_xy)
        np.testing.assert_array_equal(back, mask)

    def test_no_polygons_are_still_a_file(self, tmp_path):
        write_geojson(tmp_path / "t.geojson", [])
        assert json.loads((tmp_path / "t.geojson").read_text())["features"] == []

    def test_a_file_in_place_of_the_folder_is_an_error_and_leaves_nothing(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError, match="cannot be written"):
            write_geojson(tmp_path / "file" / "t.geojson", [DONUT])
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


class TestReading:
    @pytest.mark.parametrize(
        "document",
        [
            {"type": "FeatureCollection", "features": [feature(DONUT)]},
            feature(DONUT),
            [feature(DONUT)],
            mapping(DONUT),
            {"type": "MultiPolygon", "coordinates": [mapping(DONUT)["coordinates"]]},
            {"type": "GeometryCollection", "geometries": [mapping(DONUT)]},
        ],
        ids=["collection", "feature", "array", "geometry", "multipolygon", "geometries"],
    )
    def test_every_form_of_the_same_polygon(self, tmp_path, document):
        (polygon,) = read_geojson(saved(tmp_path, document))
        assert polygon.equals(DONUT)

    def test_multipolygons_come_apart_in_order(self, tmp_path):
        parts = box(0, 0, 1, 1).union(box(5, 5, 7, 7))
        found = read_geojson(saved(tmp_path, [feature(parts), feature(box(9, 9, 10, 10))]))
        assert [p.area for p in found] == [1, 4, 1]

    def test_a_third_coordinate_does_no_harm(self, tmp_path):
        ring = [[x, y, 0] for x, y in box(0, 0, 4, 4).exterior.coords]
        (polygon,) = read_geojson(saved(tmp_path, {"type": "Polygon", "coordinates": [ring]}))
        assert polygon.area == 16

    @pytest.mark.parametrize(
        ("classification", "areas"),
        [(None, [1, 4, 9, 16]), ("Tissue", [1]), ("Tumor: Positive", [4]), ("Old", [9])],
    )
    def test_the_class_chooses(self, tmp_path, classification, areas):
        document = [
            feature(box(0, 0, 1, 1), classification={"name": "Tissue", "color": [0, 1, 2]}),
            feature(box(0, 0, 2, 2), classification={"names": ["Tumor", "Positive"]}),
            feature(box(0, 0, 3, 3), classification="Old"),
            {**feature(box(0, 0, 4, 4)), "properties": None},
        ]
        found = read_geojson(saved(tmp_path, document), classification=classification)
        assert [p.area for p in found] == areas

    def test_a_broken_feature_of_another_class_does_not_matter(self, tmp_path):
        line = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}
        document = [
            {"type": "Feature", "geometry": line, "properties": {}},
            feature(DONUT, classification={"name": "Tissue"}),
        ]
        assert len(read_geojson(saved(tmp_path, document), classification="Tissue")) == 1

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ("{not json", "cannot be read as GeoJSON"),
            ("3", "no GeoJSON"),
            ({"type": "FeatureCollection"}, "no GeoJSON"),
            ([3], "feature 0 of drawn.geojson is 3"),
            ({"type": "FeatureCollection", "features": []}, "holds no polygons"),
            ([feature(DONUT), {"type": "Feature", "geometry": None}], "feature 1 .*broken"),
            ([{"type": "Feature", "id": "abc", "geometry": {"type": "Blob"}}], r"\(id abc\)"),
            ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "feature 0 .*broken geometry"),
            ({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0]]]}, "broken geometry"),
            ({"type": "Polygon"}, "feature 0 .*broken geometry"),
            ({"type": "Point", "coordinates": [1, 2]}, "feature 0 .*is a Point, which has no area"),
            (
                {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]},
                r"feature 0 .*not a valid polygon \(Self-intersection",
            ),
            (
                {"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, float("nan")], [0, 0]]]},
                "feature 0",
            ),
        ],
    )  # fmt: skip
    @pytest.mark.filterwarnings("ignore:invalid value encountered in linearrings")
    def test_what_is_wrong_is_named(self, tmp_path, document, message):
        with pytest.raises(SlideError, match=message):
            read_geojson(saved(tmp_path, document))

    def test_a_class_nobody_has_lists_those_there_are(self, tmp_path):
        path = saved(tmp_path, [feature(DONUT, classification={"name": "Tissue"})])
        with pytest.raises(SlideError, match=r"class 'tissue'; its classes: \['Tissue'\]"):
            read_geojson(path, classification="tissue")

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(SlideError, match=r"no\.geojson cannot be read"):
            read_geojson(tmp_path / "no.geojson")


class TestTissue:
    def test_drawn_tissue_with_a_hole(self, tmp_path, slide):
        tissue = tissue_from_geojson(slide, saved(tmp_path, feature(DONUT)), mask_mpp=1.0)
        assert tissue.mask.shape == (60, 80)
        assert tissue.downsample_xy == (1.0, 1.0)
        expected = np.zeros((60, 80), np.bool_)
        expected[:30, :40] = True
        expected[10:20, 10:20] = False
        np.testing.assert_array_equal(tissue.mask, expected)

    def test_the_mask_has_its_own_resolution(self, tmp_path, slide):
        tissue = tissue_from_geojson(slide, saved(tmp_path, feature(DONUT)), mask_mpp=4.0)
        assert tissue.mask.shape == (15, 20)
        assert tissue.downsample_xy == (4.0, 4.0)

    def test_polygons_over_the_edge_are_cut_off(self, tmp_path, slide):
        tissue = tissue_from_geojson(slide, saved(tmp_path, feature(box(-9, -9, 999, 999))))
        assert tissue.mask.all()

    def test_polygons_off_the_slide_are_an_error(self, tmp_path, slide):
        path = saved(tmp_path, feature(box(100, 10, 150, 20)))
        with pytest.raises(SlideError, match="80 x 60 level-0 pixels; they span x 100 to 150"):
            tissue_from_geojson(slide, path)

    def test_the_recipe_follows_the_shapes_and_not_the_file(self, tmp_path, slide):
        one = tissue_from_geojson(slide, saved(tmp_path, feature(DONUT))).identity
        same = tissue_from_geojson(slide, saved(tmp_path, [feature(DONUT, name="x")])).identity
        other = tissue_from_geojson(slide, saved(tmp_path, feature(box(0, 0, 9, 9)))).identity
        assert one == same
        assert one != other
        assert canonical_json(one)
