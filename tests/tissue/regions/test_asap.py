import gzip
import time

import pytest

from slidenet.core.errors import SlideError
from slidenet.tissue import read_regions

SQUARE = [(10, 20), (110, 20), (110, 120), (10, 120)]


def annotation(points, kind="Polygon", group="Tumor", name="Annotation 0", orders=None):
    orders = range(len(points)) if orders is None else orders
    coordinates = "".join(
        f'<Coordinate Order="{order}" X="{x}" Y="{y}"/>'
        for order, (x, y) in zip(orders, points, strict=True)
    )
    return (
        f'<Annotation Name="{name}" Type="{kind}" PartOfGroup="{group}" Color="#F4FA58">'
        f"<Coordinates>{coordinates}</Coordinates></Annotation>"
    )


def xml(*annotations, groups="", root="ASAP_Annotations"):
    return (
        f'<?xml version="1.0"?><{root}><Annotations>{"".join(annotations)}</Annotations>'
        f"<AnnotationGroups>{groups}</AnnotationGroups></{root}>"
    )


@pytest.fixture
def read(saved, canvas):
    def call(document, slide=None, name="drawn.xml", **settings):
        return read_regions(saved(document, name), slide or canvas(), **settings)

    return call


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (xml(annotation(SQUARE)), "polygon"),
        (xml(annotation(SQUARE, "Spline")), "spline"),
        (xml(annotation(SQUARE, "Rectangle")), "rectangle"),
        (xml(annotation([SQUARE[0], SQUARE[2]], "Rectangle")), "two corners"),
        (xml(annotation([*SQUARE, SQUARE[0]])), "closed"),
        (xml(annotation([SQUARE[i] for i in (2, 0, 3, 1)], orders=[2, 0, 3, 1])), "unordered"),
        (xml(annotation(SQUARE)).replace('X="110"', 'X="1,1e2"'), "comma"),
        (xml(annotation(SQUARE)).replace('Order="', 'Other="'), "no order"),
        (xml(annotation(SQUARE)).replace("ASAP_Annotations>", "Annotations>"), "old root"),
        (gzip.compress(xml(annotation(SQUARE)).encode()), "gzip"),
        (b"\xef\xbb\xbf\n" + xml(annotation(SQUARE))[21:].encode(), "byte order mark"),
        (xml(annotation(SQUARE)).replace("?>", ' encoding="utf-16"?>').encode("utf-16"), "utf-16"),
    ],
)
def test_every_spelling_of_the_same_square(read, document, kind):
    (region,) = read(document).regions
    assert region.polygon.bounds == (10, 20, 110, 120), kind
    assert region.polygon.area == 10_000
    assert (region.classification, region.name) == ("Tumor", "Annotation 0")


def test_it_is_always_in_level_0(read, canvas):
    for frame in ("qupath", "level0"):
        (region,) = read(
            xml(annotation(SQUARE)), canvas(bounds=(300, 200, 9, 9)), frame=frame
        ).regions
        assert region.polygon.bounds == (10, 20, 110, 120)


def test_groups_are_classes_and_some_exclude(read):
    inner = '<Group Name="Fat" PartOfGroup="Exclusion"/><Group Name="Loop" PartOfGroup="Loop"/>'
    names = ["None", "Tumor", "Exclusion", "Fat", "Loop", "artefact"]
    found = read(xml(*(annotation(SQUARE, group=n) for n in names), groups=inner)).regions
    assert [(r.classification, r.excludes) for r in found] == [
        (None, False),
        ("Tumor", False),
        ("Exclusion", True),
        ("Fat", True),
        ("Loop", False),
        ("artefact", True),
    ]


def test_groups_of_camelyon16(read):
    names = ["_0", "_1", "_2"]
    found = read(xml(*(annotation(SQUARE, group=name) for name in names)))
    assert [r.excludes for r in found.regions] == [False, False, True]
    assert found.notes == ("the group _2 is taken out, as in CAMELYON16",)
    asked = read(
        xml(*(annotation(SQUARE, group=name) for name in names)), wanted_classes=["_2"]
    ).regions
    assert not any(r.excludes for r in asked)
    other = read(xml(*(annotation(SQUARE, group=name) for name in [*names, "_3"])))
    assert not any(r.excludes for r in other.regions)


def test_points_and_lines_are_skipped_and_counted(read):
    found = read(
        xml(
            annotation([(1, 1)], "Dot"),
            annotation([(1, 1), (2, 2)], "PointSet"),
            annotation([(1, 1), (2, 2)], "Measurement"),
            annotation([(1, 1), (2, 2), (1, 1)]),
            annotation(SQUARE),
        )
    )
    assert [r.number for r in found.regions] == [4]
    assert found.notes == ("1 empty outline and 1 line and 2 points skipped",)


BOMB = "<!DOCTYPE a [" + "".join(
    f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "lol"}">' for i in range(10)
) + "]>"  # fmt: skip


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<a", "cannot be read as XML"),
        (xml(annotation(SQUARE))[:-9], "cannot be read as XML"),
        (xml().replace("?>", ' encoding="moon"?>'), "cannot be read as XML"),
        (BOMB + xml()[21:].replace("<Annotations>", "<Annotations>&e9;"), "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">' + xml()[21:], "document type"),
        (('<!DOCTYPE a [<!ENTITY x SYSTEM "http://e.org">]>' + xml()[21:]).encode("utf-16"), "DTD"),
        (xml().replace("<Annotations>", "<Annotations>&gone;"), "undefined entity"),
        ("<html></html>", "starts with 'html'"),
        ("<Annotations><Annotation><Regions><Region><Vertices><Vertex/>", "of ImageScope"),
        ("<Annotations>" + "<a>" * 100_000, "nested more than 32 deep"),
        (xml(annotation(SQUARE, "Ellipse")), "annotation 0 of drawn.xml is of the type 'Ellipse'"),
        (xml(annotation(SQUARE[:2])), "annotation 0 .* a ring of 2 points"),
        (xml(annotation([(0, 0), (4, 4), (4, 0), (0, 4)])), r"annotation 0 .*Self-intersection"),
        (xml(annotation(SQUARE, orders=[0, 1, 1, 2])), "share an Order"),
        (xml(annotation([(1, "nan"), *SQUARE])), "Y of a point of annotation 0 .* is 'nan'"),
        (xml(annotation([(1, "1_0"), *SQUARE])), "is '1_0'"),
        (xml(annotation([(1, "9" * 9999), *SQUARE])), "not finite"),
        (xml(annotation(SQUARE)).replace(' X="10"', ""), "X of a point .* is missing"),
        (xml(annotation(SQUARE, group="g" * 201)), "at most 200 characters"),
        (xml(annotation([(5000, 1), (6000, 1), (6000, 9)])), r"region 0 .* covers nothing"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_hostile_is_one_line(read, document, message):
    with pytest.raises(SlideError, match=message) as caught:
        read(document)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.slow
def test_the_budget_is_kept_within_seconds(read):
    document = "<Annotations><Annotation><Coordinates>" + '<Coordinate X="1" Y="1"/>' * 3_000_000
    start = time.process_time()
    with pytest.raises(SlideError, match=r"3,000,003 XML elements; expected at most 2,000,000"):
        read(document)
    assert time.process_time() - start < 5
