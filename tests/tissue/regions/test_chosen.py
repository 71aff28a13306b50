"""Which drawn regions count, by what name; overlaps, exclusions, cores."""

import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon, box, mapping

from slidenet.core.errors import SlideError
from slidenet.tissue import drawn_regions
from slidenet.tissue.regions import overlaps


def feature(polygon, classification=None, name=None, core=None):
    properties = {"objectType": "annotation" if core is None else "tma_core"}
    if classification is not None:
        properties["classification"] = {"name": classification}
    if name is not None:
        properties["name"] = name
    if core is not None:
        properties["isMissing"] = core == "missing"
    return {"type": "Feature", "geometry": mapping(polygon), "properties": properties}


@pytest.fixture
def choose(saved, canvas):
    def call(*features, **settings):
        return drawn_regions(canvas(), saved(list(features), "s.geojson"), **settings)

    return call


def areas(chosen):
    return {name: shape.area for name, shape in zip(chosen.names, chosen.shapes, strict=True)}


TUMOR = feature(box(0, 0, 100, 100), "Tumor", "left")
MORE_TUMOR = feature(box(50, 0, 200, 100), "Tumor", "right")
STROMA = feature(box(200, 0, 300, 100), "Stroma", "left")


def test_one_region_per_class_without_counting_a_place_twice(choose):
    chosen = choose(TUMOR, STROMA, MORE_TUMOR)
    assert areas(chosen) == {"Stroma": 10_000, "Tumor": 20_000}
    assert (chosen.by, chosen.notes) == ("class", ())


def test_only_the_classes_asked_for(choose):
    assert areas(choose(TUMOR, STROMA, classes=["Stroma"])) == {"Stroma": 10_000}


def test_derived_classes_belong_to_theirs_unless_asked_for_themselves(choose):
    positive = feature(box(300, 0, 400, 10), "Tumor: Positive")
    tumorous = feature(box(500, 0, 600, 10), "Tumorous")
    both = [TUMOR, positive, tumorous]
    assert areas(choose(*both, classes=["Tumor"])) == {"Tumor": 11_000}
    asked = choose(*both, classes=["Tumor", "Tumor: Positive"])
    assert areas(asked) == {"Tumor": 10_000, "Tumor: Positive": 1_000}


def test_by_name(choose):
    chosen = choose(TUMOR, STROMA, feature(box(0, 500, 9, 509), "Tumor"), by="name")
    assert areas(chosen) == {"left": 20_000}
    assert chosen.notes == (
        "1 region without a name left out",
        "regions of several classes are one, called 'left'",
    )
    assert areas(choose(TUMOR, STROMA, by="name", classes=["Stroma"])) == {"left": 10_000}


def test_what_excludes_is_taken_out_of_every_region(choose):
    hole = feature(box(90, 0, 210, 50), "Ignore*")
    fold = feature(box(0, 90, 400, 100), "Fold")
    donut = Polygon(box(400, 0, 500, 100).exterior, [box(410, 10, 420, 20).exterior])
    chosen = choose(TUMOR, STROMA, hole, fold, feature(donut, "Fat"), exclude_classes=["Fold"])
    assert areas(chosen) == {"Fat": 9_900, "Stroma": 10_000 - 500 - 1_000, "Tumor": 8_500}


def test_a_class_that_is_wholly_drawn_out(choose):
    hole = feature(box(150, 0, 400, 200), "Artefact")
    chosen = choose(TUMOR, STROMA, hole)
    assert areas(chosen) == {"Tumor": 10_000}
    assert chosen.notes == ("nothing is left of Stroma: drawn out",)
    with pytest.raises(SlideError, match=r"nothing is left of Stroma: drawn out by 1 region;"):
        choose(STROMA, hole)


@pytest.mark.parametrize(("beyond", "part"), [(4, "4.0%"), (5, "5.0%")])
def test_borders_that_overlap_a_little_are_noted(choose, beyond, part):
    chosen = choose(TUMOR, feature(box(100 - beyond, 0, 900, 100), "Stroma"))
    assert chosen.notes == (f"regions overlap: Stroma and Tumor by {part} of Tumor",)


def test_classes_in_one_place_are_refused_by_name(choose):
    inside = feature(box(10, 10, 40, 40), "Necrosis")
    with pytest.raises(SlideError, match=r"Necrosis and Tumor overlap in s.geojson, by 100.0% of "
                       r"Necrosis; .* To fix: .* --region-classes"):  # fmt: skip
        choose(TUMOR, inside)
    assert areas(choose(TUMOR, inside, classes=["Tumor"])) == {"Tumor": 10_000}
    with pytest.raises(SlideError, match=r"by 5.1% of Tumor"):
        choose(TUMOR, feature(box(94.9, 0, 900, 100), "Stroma"))


def test_an_overlap_that_is_drawn_out_is_none(choose):
    chosen = choose(
        TUMOR, feature(box(80, 0, 300, 100), "Fat"), feature(box(80, 0, 100, 100), "Ignore*")
    )
    assert areas(chosen) == {"Fat": 20_000, "Tumor": 8_000}
    assert chosen.notes == ()


def test_an_unknown_class_names_those_there_are(choose):
    with pytest.raises(SlideError, match=r"s.geojson holds no region of the class 'Tumour'; its "
                       r"classes: 'Stroma', 'Tumor'; expected"):  # fmt: skip
        choose(TUMOR, STROMA, classes=["Tumour"])
    chosen = choose(TUMOR, STROMA, classes=["Tumor", "Fat"])
    assert chosen.names == ("Tumor",)
    assert chosen.notes == ("no region of the class 'Fat' (there are 'Stroma', 'Tumor')",)


def test_without_classes(choose):
    bare = feature(box(0, 500, 10, 510))
    assert choose(TUMOR, bare).notes == ("1 region without a class left out",)
    with pytest.raises(SlideError, match=r"1 region of s.geojson has a class.*--region-by name"):
        choose(bare)


@pytest.mark.parametrize(
    ("features", "by", "message"),
    [
        ([], "class", r"s.geojson holds no region; expected at least one annotation"),
        ([feature(box(0, 0, 9, 9), "Ignore*")], "class", r"holds 1 excluded region; .*annotation"),
        ([feature(box(0, 0, 9, 9), core="A-1")], "class", r"holds 1 core;.* --region-by core$"),
        ([TUMOR, STROMA], "core", r"holds 2 annotations;.* or pass --region-by class$"),
    ],
)
def test_nothing_of_the_kind_asked_for(choose, features, by, message):
    with pytest.raises(SlideError, match=message):
        choose(*features, by=by)


def test_a_class_that_is_nearly_there_is_named(choose):
    with pytest.raises(SlideError, match=r"To fix: did you mean 'Tumor'\? If not, name other"):
        choose(TUMOR, STROMA, classes=["tumor"])
    (note,) = choose(TUMOR, STROMA, classes=["Tumor", "stroma"]).notes
    assert note.endswith("(there are 'Stroma', 'Tumor'; did you mean 'Stroma'?)")


def core(column, name, there="there"):
    spot = shapely.Point(100 + 200 * column, 100).buffer(80)
    return feature(spot, name=name, core=there)


def test_cores_that_are_missing_or_have_no_name(choose):
    cores = core(0, "A-1"), core(1, "A-2", "missing"), core(2, None), core(3, "A-4")
    chosen = choose(*cores, TUMOR, by="core")
    assert chosen.names == ("A-1", "core 3", "A-4")
    assert chosen.notes == (
        "1 core without a name called core 3",
        "1 core left out (missing or excluded)",
    )
    assert chosen.shapes[0].area == pytest.approx(3.1365 * 80**2, rel=1e-3)


def test_two_cores_of_one_name(choose):
    with pytest.raises(SlideError, match=r"two cores of s.geojson are called 'A-1'"):
        choose(core(0, "A-1"), core(1, "A-1"), by="core")


def test_the_identity_says_what_was_chosen_and_follows_the_drawing(choose):
    chosen = choose(TUMOR, STROMA, classes=["Tumor", "Stroma"], exclude_classes=["Fold"])
    assert chosen.identity["classes"] == ["Stroma", "Tumor"]
    assert chosen.identity["exclude_classes"] == ["Fold"]
    changed = choose(MORE_TUMOR, STROMA, classes=["Stroma", "Tumor"], exclude_classes=["Fold"])
    assert (
        changed.identity.keys()
        == chosen.identity.keys()
        == {"by", "classes", "exclude_classes", "inputs"}
    )
    assert changed.identity["inputs"] != chosen.identity["inputs"]


def comb(num_teeth, *, upright):
    """A comb over 1000 x 800 px whose teeth run across it."""
    step = 1000 / num_teeth
    tooth = np.array([(0, 790), (step / 2, 790), (step / 2, 10), (step, 10)])
    teeth = np.concatenate([tooth + np.array([step * i, 0]) for i in range(num_teeth)])
    points = np.concatenate([[(0, 0)], teeth, [(1000, 0)]])
    return Polygon(points if upright else points[:, ::-1] * (1, 0.8))


def test_outlines_that_cross_again_and_again_are_refused_at_once(choose, monkeypatch):
    monkeypatch.setattr(overlaps, "MOST_CROSSINGS", 1000)
    across = [feature(comb(40, upright=upright), "T") for upright in (False, True)]
    with pytest.raises(SlideError, match=r"outlines of s.geojson cross each other again and again"):
        choose(*across)
    assert choose(*[feature(comb(9, upright=u), "T") for u in (False, True)]).names == ("T",)


def test_regions_lie_where_qupath_shows_them(saved, canvas):
    slide = canvas(bounds=(300, 200, 700, 600))
    path = saved([TUMOR])
    assert drawn_regions(slide, path).shapes[0].bounds == (300, 200, 400, 300)
    uncropped = drawn_regions(slide, path, frame="level0")
    assert uncropped.shapes[0].bounds == (0, 0, 100, 100)
    assert uncropped.identity["inputs"] != drawn_regions(slide, path).identity["inputs"]
