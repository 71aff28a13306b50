import numpy as np
import pytest
from shapely.geometry import Polygon, box, mapping

from slidenet.core.errors import SlideError
from slidenet.core.provenance import canonical_json
from slidenet.tissue import Reason, drawn_tissue

DONUT = Polygon([(0, 0), (40, 0), (40, 30), (0, 30)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": mapping(geometry), "properties": properties}


@pytest.fixture
def slide(flat_slide):
    return flat_slide(np.full((60, 80, 3), 240, np.uint8), mpp=1.0)


def test_drawn_tissue_with_a_hole(saved, slide):
    tissue = drawn_tissue(slide, saved(feature(DONUT)), mask_mpp=1.0)
    assert tissue.mask.shape == (60, 80)
    assert tissue.downsample_xy == (1.0, 1.0)
    expected = np.zeros((60, 80), np.bool_)
    expected[:30, :40] = True
    expected[10:20, 10:20] = False
    np.testing.assert_array_equal(tissue.mask, expected)


def test_what_excludes_is_taken_out_also_of_later_regions(saved, slide):
    document = [
        feature(box(0, 0, 40, 40)),
        feature(box(10, 0, 20, 40), classification={"name": "Ignore*"}),
        feature(box(0, 0, 30, 10), classification="Tumor"),
    ]
    tissue = drawn_tissue(slide, saved(document), mask_mpp=1.0)
    expected = np.zeros((60, 80), np.bool_)
    expected[:40, :40] = True
    expected[:40, 10:20] = False
    np.testing.assert_array_equal(tissue.mask, expected)
    assert sorted(tissue.identity["inputs"]) == ["excluded", "polygons"]
    off = np.zeros((60, 80), np.bool_)
    off[:40, 10:20] = True
    np.testing.assert_array_equal(tissue.finding.reasons == Reason.EXCLUDED, off)
    np.testing.assert_array_equal(tissue.finding.mask, expected)
    assert tissue.finding.doubt is None


@pytest.mark.parametrize(
    ("classification", "area"), [(None, 16), ("Tumor", 8), ("Tumor: Positive", 4), ("Ignore*", 4)]
)
def test_the_class_chooses_with_what_is_derived_from_it(saved, slide, classification, area):
    names = ["Tumor", "Tumor: Positive", "Stroma", None, "Ignore*"]
    document = [
        feature(box(4 * i, 0, 4 * i + 2, 2), classification=name) for i, name in enumerate(names)
    ]
    tissue = drawn_tissue(slide, saved(document), classification=classification, mask_mpp=1.0)
    assert tissue.mask.sum() == area


def test_the_mask_has_its_own_resolution(saved, slide):
    tissue = drawn_tissue(slide, saved(feature(DONUT)), mask_mpp=4.0)
    assert tissue.mask.shape == (15, 20)
    assert tissue.downsample_xy == (4.0, 4.0)


def test_polygons_over_the_edge_are_cut_off_and_that_is_said(saved, slide):
    tissue = drawn_tissue(slide, saved(feature(box(-9, -9, 999, 999))))
    assert tissue.mask.all()
    assert tissue.notes == ("1 region cut at the edge of the slide",)


def test_outlines_without_end_are_refused(saved, slide, monkeypatch):
    monkeypatch.setattr("slidenet.tissue.regions.drawn.MAX_SIDE_PX", 100)
    ring = [[x / 10, 60 * (x % 2)] for x in range(1, 700)] + [[80, 0], [80, 70], [0, 70]]
    path = saved({"type": "Polygon", "coordinates": [[ring[-1], *ring]]})
    with pytest.raises(SlideError, match=r"outlines of drawn.geojson are [\d,]+ mask pixels long"):
        drawn_tissue(slide, path)


def test_polygons_off_the_slide_are_an_error(saved, slide):
    path = saved([feature(box(0, 0, 9, 9)), feature(box(100, 10, 150, 20))])
    with pytest.raises(SlideError, match="80 x 60 level-0 pixels; it spans x 100 to 150"):
        drawn_tissue(slide, path)


def test_the_identity_follows_the_shapes_and_not_the_file(saved, slide):
    one = drawn_tissue(slide, saved(feature(DONUT))).identity
    same = drawn_tissue(slide, saved([feature(DONUT, name="x")])).identity
    other = drawn_tissue(slide, saved(feature(box(0, 0, 9, 9)))).identity
    assert one == same
    assert one != other
    assert canonical_json(one)


def test_the_identity_of_older_versions(saved, slide):
    path = saved([feature(DONUT), feature(DONUT), feature(box(-1, 0, 9, 9.5))])
    assert drawn_tissue(slide, path).identity == {
        "segmenter": "geojson",
        "classification": None,
        "mask_mpp": 4.0,
        "inputs": {"polygons": "f1728e99675bd561"},
    }


@pytest.mark.parametrize(
    ("document", "classification", "message"),
    [
        ([], None, "holds no polygons; expected at least one"),
        ([{"type": "Point", "coordinates": [1, 2]}], None, "no polygons; 1 point skipped"),
        ([feature(DONUT, classification="Ignore*")], None, "no polygons but 1 that exclude"),
        ([feature(DONUT, classification={"name": "Tissue"}), feature(DONUT)], "tissue",
         r"class 'tissue'; its classes: '\(none\)', 'Tissue'; .*--tissue-class"),
        ([feature(DONUT), feature(box(0, 0, 50, 50), classification="Ignore*")], None,
         "1 regions of drawn.geojson nothing is left"),
        ([feature(box(0, 0, 0.5, 0.5))], None, "nothing is left on a mask of 20 x 15"),
    ],
)  # fmt: skip
def test_nothing_to_take_is_an_error(saved, slide, document, classification, message):
    with pytest.raises(SlideError, match=message):
        drawn_tissue(slide, saved(document), classification=classification)
