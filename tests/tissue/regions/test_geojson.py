import gzip
import json
import time

import pytest
from shapely.geometry import Polygon, box, mapping

from slidenet.core.errors import SlideError
from slidenet.tissue import read_regions

DONUT = Polygon([(0, 0), (40, 0), (40, 30), (0, 30)], [[(10, 10), (10, 20), (20, 20), (20, 10)]])


def feature(geometry, **properties):
    geometry = geometry if isinstance(geometry, dict) else mapping(geometry)
    return {"type": "Feature", "geometry": geometry, "properties": properties}


POINT = {"type": "Point", "coordinates": [1, 2]}
LINE = {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}


@pytest.fixture
def read(saved, canvas):
    def call(document, slide=None, **settings):
        return read_regions(saved(document), slide or canvas(), **settings)

    return call


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [feature(DONUT)]},
        feature(DONUT),
        [feature(DONUT)],
        [{"type": "FeatureCollection", "features": [feature(DONUT)]}],
        mapping(DONUT),
        {"type": "MultiPolygon", "coordinates": [mapping(DONUT)["coordinates"]]},
        {"type": "GeometryCollection", "geometries": [mapping(DONUT)]},
        gzip.compress(json.dumps(feature(DONUT)).encode()),
        b"\xef\xbb\xbf" + json.dumps(feature(DONUT)).encode(),
        b"\n  " + json.dumps(feature(DONUT), indent=2).encode(),
    ],
    ids=["collection", "feature", "array", "array of collections", "geometry", "multipolygon",
         "geometries", "gzip", "byte order mark", "indented"],
)  # fmt: skip
def test_every_form_of_the_same_polygon(read, document):
    (region,) = read(document).regions
    assert region.polygon.equals(DONUT)
    assert not region.excludes


def test_multipolygons_come_apart_in_order(read):
    parts = box(0, 0, 1, 1).union(box(5, 5, 7, 7))
    found = read([feature(parts), feature(box(9, 9, 10, 10))]).regions
    assert [(r.polygon.area, r.number) for r in found] == [(1, 0), (4, 0), (1, 1)]


def test_a_third_coordinate_does_no_harm(read):
    ring = [[x, y, 0] for x, y in box(0, 0, 4, 4).exterior.coords]
    assert read({"type": "Polygon", "coordinates": [ring]}).regions[0].polygon.area == 16


@pytest.mark.parametrize(
    ("classification", "expected"),
    [
        ({"name": "Tissue", "color": [0, 1, 2]}, "Tissue"),
        ({"name": "Tissue", "colorRGB": -1}, "Tissue"),
        ({"names": ["Tumor", "Positive"]}, "Tumor: Positive"),
        ("Old", "Old"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("", None),
        ({}, None),
        ({"names": [], "name": None}, None),
        (None, None),
    ],
)
def test_every_spelling_of_a_class(read, classification, expected):
    assert read(feature(DONUT, classification=classification)).regions[0].classification == expected


@pytest.mark.parametrize(
    ("properties", "excludes"),
    [
        ({"classification": {"name": "Ignore*"}}, True),
        ({"classification": "ignore"}, True),
        ({"classification": {"names": ["Ignore*", "fold"]}}, True),
        ({"classification": {"names": ["Tumor", "Artefact"]}}, True),
        ({"classification": "Artifact 2"}, True),
        ({"classification": "Pen artefacts"}, True),
        ({"classification": "Exclusion"}, True),
        ({"classification": "Blood*"}, True),
        ({"classification": "Artifact (pen), left"}, True),
        ({"classification": "tissue_artifact"}, True),
        ({"classification": "No artefacts"}, False),
        ({"classification": "artifact-free"}, False),
        ({"classification": "Tumor", "name": "tumour with some artefacts"}, False),
        ({"name": "Ignore*"}, True),
        ({"name": "fold artefact 3"}, True),
        ({"name": "artefact"}, True),
        ({"name": "ignore this fold"}, True),
        ({"objectType": "tmaCore", "name": "A-1", "isMissing": True}, True),
        ({"objectType": "tmaCore", "name": "A-1", "isMissing": False}, False),
        ({"classification": "Region*"}, False),
        ({"classification": "Ignorant"}, False),
        ({"classification": "Fact"}, False),
        ({"classification": "Tumor", "isLocked": True}, False),
        ({"name": "core 3*"}, False),
        ({}, False),
    ],
)
def test_what_excludes(read, properties, excludes):
    assert [r.excludes for r in read(feature(DONUT, **properties)).regions] == [excludes]


def test_the_caller_names_classes_that_exclude_and_that_do_not(read):
    names = ["Necrosis", "Necrosis: old", "Tumor", "Artefact"]
    document = [feature(box(i, 0, i + 1, 1), classification=name) for i, name in enumerate(names)]
    found = read(document, exclude_classes=["necrosis"], wanted_classes=["Artefact"]).regions
    assert [r.excludes for r in found] == [True, True, False, False]


def test_an_accent_is_one_letter_however_it_was_typed(read):
    typed = ["L\N{LATIN SMALL LETTER E WITH ACUTE}sion", "Le\N{COMBINING ACUTE ACCENT}sion"]
    document = [feature(box(i, 0, i + 1, 1), classification=name) for i, name in enumerate(typed)]
    for name in typed:
        found = read(document, exclude_classes=[name]).regions
        assert [(r.classification, r.excludes) for r in found] == [(typed[0], True)] * 2


def test_a_class_asked_for_does_not_bring_back_what_is_drawn_out_of_it(read):
    core = {"objectType": "tmaCore", "isMissing": True}
    document = [
        feature(box(i, 0, i + 1, 1), **properties)
        for i, properties in enumerate(
            [
                {"classification": "Tumor", "name": "Ignore*"},
                {"classification": "Tumor: Artefact"},
                {"classification": "Tumor: Necrotic"},
                {"classification": "Tumor", **core},
                {"classification": "Tumor"},
            ]
        )
    ]
    found = read(document, exclude_classes=["Tumor: Necrotic"], wanted_classes=["Tumor"]).regions
    assert [r.excludes for r in found] == [True, True, True, True, False]
    found = read(document, wanted_classes=["Tumor: Artefact"]).regions
    assert [r.excludes for r in found] == [True, False, False, True, False]


@pytest.mark.parametrize(
    "properties",
    [{"objectType": "tmaCore"}, {"object_type": "tma_core"}, {"type": "tmaCore"}],
)
def test_cores_of_every_version(read, properties):
    (core,) = read(feature(DONUT, name="A-1", **properties)).regions
    assert (core.kind, core.name, core.classification) == ("tma_core", "A-1", None)
    assert str(core) == 'region 0 ("A-1")'


def test_cores_of_version_0_2_go_by_their_id(read):
    core = {**feature(DONUT), "id": "TMACoreObject"}
    assert read([core]).regions[0].kind == "tma_core"


def test_what_is_no_region_is_skipped_and_counted(read):
    cells = [feature(DONUT, objectType="cell"), {**feature(DONUT), "id": "PathCellObject"}]
    mixed = {"type": "GeometryCollection", "geometries": [mapping(box(0, 0, 2, 2)), POINT]}
    flat = {"type": "Polygon", "coordinates": [[[1, 1], [5, 1], [1, 1], [1, 1]]]}
    empty = {"type": "Polygon", "coordinates": []}
    found = read([POINT, LINE, feature(mixed), *cells, flat, empty])
    assert [r.polygon.area for r in found.regions] == [4]
    assert found.notes == ("2 cells and 2 empty outlines and 1 line and 2 points skipped",)


def test_children_are_read_after_their_parent(read):
    child = feature(box(1, 1, 2, 2), name="child")
    parent = feature(DONUT, objectType="tmaCore", name="A-1", childObjects=[child])
    found = read([parent, feature(box(3, 3, 5, 5), name="last")]).regions
    assert [r.name for r in found] == ["A-1", "child", "last"]


def test_measurements_that_are_no_numbers_do_no_harm(read):
    text = json.dumps(feature(DONUT, measurements={"a": 1})).replace('"a": 1', '"a": NaN')
    assert len(read(text).regions) == 1


def test_a_hole_without_area_takes_nothing_away(read):
    rings = [list(box(0, 0, 9, 9).exterior.coords), [[1, 1], [2, 2], [1, 1], [1, 1]]]
    assert read({"type": "Polygon", "coordinates": rings}).regions[0].polygon.area == 81


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{not json", "cannot be read as GeoJSON"),
        ("", "cannot be read as GeoJSON"),
        (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as GeoJSON"),
        (json.dumps(feature(DONUT)).encode("utf-16"), "not UTF-8 .*save it again as UTF-8"),
        (json.dumps(feature(DONUT)).encode("utf-16-le"), "not UTF-8"),
        (json.dumps("é").encode("latin-1").replace(b"\\u00e9", b"\xe9"), "cannot be read"),
        ("3", "no GeoJSON"),
        ({"type": "FeatureCollection"}, "no GeoJSON"),
        ([3], "feature 0 of drawn.geojson is 3"),
        ([feature(DONUT), {"type": "Feature", "geometry": None}], "feature 1 .*broken"),
        ([{"type": "Feature", "id": "abc", "geometry": {"type": "Blob"}}], r"\(id 'abc'\).*Blob"),
        ({"type": ["Polygon"]}, "feature 0 .*broken geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "a ring of 2 points"),
        ({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0]]]}, "the coordinate 'a'"),
        ({"type": "Polygon", "coordinates": [[["1", 0], [1, 1], [2, 0]]]}, "the coordinate '1'"),
        ({"type": "Polygon", "coordinates": [[[True, 0], [1, 1], [2, 0]]]}, "coordinate True"),
        ({"type": "Polygon", "coordinates": [[[0], [1, 1], [2, 0]]]}, "broken geometry"),
        ({"type": "Polygon", "coordinates": [[1, 2, 3]]}, "broken geometry"),
        ({"type": "Polygon", "coordinates": {"0": 1}}, "an outline that is an object"),
        ({"type": "MultiPolygon", "coordinates": "x"}, "broken geometry"),
        ({"type": "Polygon"}, "feature 0 .*broken geometry"),
        ({"type": "GeometryCollection", "geometries": 3}, "broken geometry"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, float("nan")], [0, 0]]]},
         "feature 0 .*not finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, float("inf")], [0, 0]]]},
         "feature 0 .*not finite"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 1e300], [0, 0]]]}, "beyond any"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]]},
         r"feature 0 .*not a valid polygon \(Self-intersection\[2 2\]"),
        ([{"type": "Feature", "geometry": mapping(DONUT), "properties": [1]}], "properties that"),
        (feature(DONUT, classification=["Tumor"]), "the class of feature 0 .* an array"),
        (feature(DONUT, classification={"names": [["Tumor"]]}), "names that are an array"),
        (feature(DONUT, name={"a": 1}), "the name of feature 0 .* an object"),
        (feature(DONUT, name="n" * 201), "at most 200 characters"),
        (feature(DONUT, isMissing="yes"), "isMissing of feature 0 .* 'yes'"),
        (feature(DONUT, childObjects=7), "children that are 7"),
        ({"type": "FeatureCollection", "slidenet": {"frame": "moon"}, "features": []}, "frame"),
        (feature(box(2000, 10, 2500, 20), classification="Tumor"),
         r"region 0 \(Tumor\) of drawn.geojson covers nothing.*1000 x 800.*x 2000 to 2500"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(read, document, message):
    with pytest.raises(SlideError, match=message) as caught:
        read(document)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def nested(depth):
    return '{"type":"GeometryCollection","geometries":[' * depth + "]}" * depth


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[" * 400 + "]" * 400, "feature 0 of drawn.geojson is an array"),
        (nested(400), "nested too deep"),
        ('{"type":"Polygon","coordinates":[[[0,0],[1,' + "9" * 100_000 + "],[2,0]]]}", "finite"),
        ('{"type":"Polygon","coordinates":[[[0,0],[1,1e999],[2,0]]]}', "finite"),
        (gzip.compress(b"[]")[:-6], "cannot be read"),
        (gzip.compress(gzip.compress(b"[]")), "no text at all"),
    ],
    ids=["arrays", "some arrays", "collections", "digits", "exponent", "cut gzip", "gzip twice"],
)  # fmt: skip
def test_hostile_files_are_one_line(read, document, message):
    with pytest.raises(SlideError, match=message) as caught:
        read(document)
    assert len(str(caught.value)) < 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: '{"type":"Polygon","coordinates":[[' + "[1,2]," * 9_999_999 + "[1,2]]]}",
         "10,000,003 JSON arrays .* at most 2,000,000"),
        (lambda: "[" + "1," * 9_000_000 + "1]", "at most 8,000,000"),
        (lambda: gzip.compress(b" " * 300_000_000, 1), "unpacks to more than 210 MB"),
        (lambda: b" " * 300_000_000, "is 300 MB; expected at most 210 MB"),
    ],
    ids=["points", "values", "bomb", "size"],
)  # fmt: skip
def test_the_budget_is_kept_within_seconds(read, make, message):
    document = make()
    start = time.process_time()
    with pytest.raises(SlideError, match=message):
        read(document)
    assert time.process_time() - start < 5


def comb(num_teeth, lean):
    """Teeth side by side, which lean over all others: valid, and dear to check."""
    foot = [(20_000 * i / num_teeth, 10) for i in range(num_teeth)]
    teeth = [p for x, y in foot for p in ((x, y), (x + lean + 5_000 / num_teeth, y + 30_000))]
    return {"type": "Polygon", "coordinates": [[*teeth, (45_000, 39_000), (0, 39_000), (0, 20)]]}


@pytest.mark.slow
@pytest.mark.parametrize(("lean", "is_refused"), [(0, False), (20_000, True)])
def test_tangled_outlines_are_refused_before_they_are_checked(read, canvas, lean, is_refused):
    document, slide = comb(10_000, lean), canvas(50_000, 40_000)
    start = time.process_time()
    if is_refused:
        with pytest.raises(SlideError, match=r"feature 0 .* 20,003 edges, so tangled"):
            read(document, slide)
    else:
        assert len(read(document, slide).regions) == 1
    assert time.process_time() - start < 3


def test_outlines_that_leave_the_slide_without_end_are_refused(read, canvas, monkeypatch):
    assert len(read(comb(40, 0), canvas(50_000, 20_000)).regions) == 40
    monkeypatch.setattr("slidenet.tissue.regions.reading.MOST_EXITS", 50)
    with pytest.raises(SlideError, match="cross the edge of the slide more than 50 times"):
        read(comb(40, 0), canvas(50_000, 20_000))


def test_regions_over_the_edge_are_cut_and_that_is_said(read, canvas):
    found = read([feature(box(-9, -9, 20, 20)), feature(box(5, 5, 9, 9))], canvas(10, 10))
    assert [r.polygon.area for r in found.regions] == [100, 16]
    assert found.notes == ("1 region cut at the edge of the slide",)


def test_the_same_region_twice_is_taken_once(read):
    found = read([feature(DONUT, name="a"), feature(DONUT, name="a"), feature(DONUT, name="b")])
    assert [r.name for r in found.regions] == ["a", "b"]
    assert found.notes == ("1 region drawn twice, taken once",)


def test_the_digest_follows_the_shapes_and_not_the_spelling(read):
    one = read(feature(DONUT, classification="Tumor"))
    same = read([{**feature(DONUT, classification={"name": "Tumor"}), "id": "x"}])
    assert one.digest == same.digest
    others = [
        feature(DONUT), feature(box(0, 0, 9, 9), classification="Tumor"),
        feature(DONUT, classification="Tumor", name="a"),
    ]  # fmt: skip
    assert len({one.digest, *(read(other).digest for other in others)}) == 4


@pytest.mark.parametrize("content", [None, "folder"])
def test_what_is_no_file(tmp_path, canvas, content):
    path = tmp_path / "no.geojson"
    if content == "folder":
        path.mkdir()
    with pytest.raises(SlideError, match=r"no\.geojson (cannot be read|is no ordinary file)"):
        read_regions(path, canvas())
