import numpy as np
import pytest
from shapely.geometry import box, mapping

from slidenet.core.errors import EmptyTissueError, SlideError
from slidenet.core.provenance import cohort_identity
from slidenet.tissue import Finding, Reason, Tissue, drawn_out, find_tissue, take_off
from slidenet.tissue.tissue import tissue_on

IGNORED = {"classification": {"name": "Ignore*"}}


def feature(shape, **properties):
    return {"type": "Feature", "geometry": mapping(shape), "properties": properties}


@pytest.fixture
def slide(flat_slide):
    return flat_slide(np.full((60, 80, 3), 240, np.uint8), mpp=8.0)


@pytest.fixture
def found(slide):
    """Tissue on the left, ink beside it."""
    reasons = np.full((60, 80), Reason.GROUND, np.uint8)
    reasons[:, :40] = Reason.TISSUE
    reasons[:, 40:50] = Reason.INK
    finding = Finding(reasons == Reason.TISSUE, reasons, doubt=0.25, notes=("pale",))
    return tissue_on(slide, finding.mask, {"segmenter": "x"}, finding)


def test_only_what_excludes_is_taken_off_and_other_reasons_stay(saved, slide, found):
    missing_core = feature(box(2, 2, 7, 8), objectType="tma_core", isMissing=True)
    document = [
        feature(box(20, 10, 60, 30), **IGNORED),
        feature(box(0, 40, 10, 50), classification="Fold"),
        feature(box(10, 40, 20, 50), classification="Tumor"),
        missing_core,
    ]
    out = drawn_out(slide, saved(document), exclude_classes=["fold"])
    left = take_off(found, out, slide)
    expected = np.array(found.finding.reasons)
    expected[10:30, 20:40] = expected[40:50, :10] = expected[2:8, 2:7] = Reason.EXCLUDED
    np.testing.assert_array_equal(left.finding.reasons, expected)
    np.testing.assert_array_equal(left.mask, expected == Reason.TISSUE)
    assert (left.finding.doubt, left.finding.notes, left.notes) == (0.25, ("pale",), ())


def test_the_identity_follows_the_shapes_but_the_cohort_stays_one(saved, slide, found):
    shapes = [box(0, 0, 9, 9), box(20, 20, 29, 29)]
    first, turned, other, none = (
        take_off(found, drawn_out(slide, saved([feature(s, **IGNORED) for s in some])), slide)
        for some in (shapes, shapes[::-1], shapes[:1], [])
    )
    assert first.identity == turned.identity != other.identity
    assert cohort_identity(first.identity) == cohort_identity(other.identity) == found.identity
    assert none.identity == found.identity
    assert none.finding is found.finding


def test_the_frame_is_that_of_all_that_is_drawn(canvas, saved):
    path = saved(feature(box(0, 0, 10, 10), **IGNORED))
    slide = canvas(bounds=(100, 50, 800, 700))
    assert drawn_out(slide, path).polygons[0].bounds == (100, 50, 110, 60)
    assert drawn_out(slide, path, frame="level0").polygons[0].bounds == (0, 0, 10, 10)


def test_masks_of_one_pixel_are_made_finer_first(flat_slide, saved):
    slide = flat_slide(np.full((60, 80, 3), 240, np.uint8), mpp=8.0)
    out = drawn_out(slide, saved(feature(box(8, 8, 24, 16), **IGNORED)))
    left = take_off(find_tissue(slide, "all"), out, slide)
    assert left.mask.shape == (60, 80)
    assert (~left.mask).sum() == 16 * 8
    assert not left.mask[8:16, 8:24].any()


def test_drawn_tissue_keeps_what_is_known_of_its_file(saved, slide):
    identity = {"segmenter": "geojson", "inputs": {"polygons": "abc"}}
    drawn = Tissue(np.ones((60, 80), np.bool_), (1.0, 1.0), identity, notes=("1 point skipped",))
    left = take_off(drawn, drawn_out(slide, saved(feature(box(0, 0, 9, 9), **IGNORED))), slide)
    assert left.identity["inputs"].keys() == {"polygons", "drawn_out"}
    assert left.notes == ("1 point skipped",)
    assert left.finding.doubt is None
    assert (left.finding.reasons == Reason.EXCLUDED).sum() == 81


def test_what_takes_nothing_off_is_said(saved, slide, found):
    tumor = feature(box(0, 0, 9, 9), classification="Tumor")
    (note,) = take_off(found, drawn_out(slide, saved([tumor])), slide).notes
    assert note.startswith("nothing in drawn.geojson excludes (its classes: 'Tumor'): areas to be")
    on_glass = drawn_out(slide, saved(feature(box(60, 0, 70, 9), **IGNORED)))
    assert take_off(found, on_glass, slide).notes == (
        "what excludes in drawn.geojson (1 region) takes nothing off the tissue",
    )


def test_a_slide_drawn_out_wholly_and_files_of_other_slides_are_errors(saved, slide, found):
    out = drawn_out(slide, saved(feature(box(-9, -9, 99, 99), **IGNORED)))
    with pytest.raises(EmptyTissueError, match=r"all tissue is drawn out \(1 region of drawn.geoj"):
        take_off(found, out, slide)
    with pytest.raises(SlideError, match="covers nothing of the slide"):
        drawn_out(slide, saved(feature(box(100, 0, 200, 9), **IGNORED)))
