"""What may be a slide_id: refused is what disks refuse or nobody sees, all else is a name."""

import unicodedata

import pytest

from slidenet.core.errors import ManifestError
from slidenet.core.records import SlideRow
from slidenet.stores import read_manifest
from slidenet.stores.manifest.look_alikes import look_alikes, outline
from slidenet.stores.manifest.slide_ids import check_slide_ids, name_for_file

REFUSED = {
    "is empty": [""],
    "holds": [
        *("../evil", "a/b", "a\\b", "/tmp/evil", "a:b", "a*", "a?", "a|b", "<a>", 'a"b'),
        *("a\nb", "a\rb", "a\tb", "a\0b", "a\x1b[31mred", "a\x7f", "a\x85b", "a\x9b31mred"),
        *("a\u200bb", "a\u202egpj", "a\u2066b", "a\ufeffb", "a\u00adb", "a\U000e0041b"),
        *("a\u2028b", "a\u2029b", "a\ud800", "\udcffa"),
    ],
    "begins or ends": ["..", ".hidden", "a.", " a", "a ", "a\u00a0", "..."],
    "is the name of a device of Windows": [
        *("CON", "con", "Aux", "NUL.svs", "com1", "COM0", "lpt9.tar.gz", "prn .x", "CONIN$"),
        *("COM\u00b9", "LPT\u00b3.x"),
    ],
    "has 201 bytes": ["x" * 201, "\u00e9" * 100 + "x"],
    "has 240 bytes": ["\U0001f600" * 60],
}
TAKEN = [
    *("a b", "a  b", "a\u00a0b", "\u00e9", "e\u0301", "\u75c5\u7406", "\u05d0\u05d1", "\U0001f600"),
    *("a#b", "a%20b", "%s%s%n", "$alpha$", "`id`", "a&lt", "~root", "a[0]b", "{0}", "[x](y)"),
    *("-1", "--out", "=1+1", "+1+1", "@SUM(A1)", "it's", "a;b", "a,b", "a=b", "x.h5.tmp"),
    *("A.h5.partial", "CONSOLE", "COM", "COM10", "nul2", "auxiliary", "a.CON", "x" * 200),
    "\U0001f9ec\ufe0f",
]


def check(slide_id):
    check_slide_ids([SlideRow(slide_id, "a.svs")], ["slides.csv, row 2"], error=ManifestError)


@pytest.mark.parametrize("wrong", REFUSED)
def test_what_is_refused_says_why_in_signs_that_can_be_seen(wrong):
    for slide_id in REFUSED[wrong]:
        with pytest.raises(ManifestError, match=wrong) as error:
            check(slide_id)
        assert str(error.value).isprintable()


def test_every_other_name_is_taken():
    for slide_id in TAKEN:
        check(slide_id)
        assert name_for_file(slide_id) == slide_id


def test_no_kind_of_sign_that_nobody_sees_is_forgotten():
    unseen = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) in ("Cc", "Cf")]
    assert len(unseen) > 200
    for sign in unseen:
        with pytest.raises(ManifestError, match=f"U\\+{ord(sign):04X}"):
            check(f"a{sign}b")


def test_any_text_becomes_the_name_of_a_file():
    names = {"Tumor: Necrosis": "Tumor_ Necrosis", "a/b": "a_b", "..": "_", "con": "_con"}
    assert {text: name_for_file(text) for text in names} == names
    for refused in REFUSED.values():
        for text in refused:
            check(name_for_file(text))


ALIKE = [
    ("A1", "\u04101"),  # Cyrillic
    ("PATHO", "\u03a1\u0391\u03a4\u0397\u039f"),  # Greek
    ("A1", "A1\ufe0f"),
    ("A1", "\uff211"),
    ("s-1", "s\u20131"),
    ("a b", "a\u00a0b"),
    ("B0", "BO"),
    ("l1", "Il"),
    ("fi", "\ufb01"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_look_alike(one, other):
    assert look_alikes(["x", one, "y", other]) == [(one, other)]


def test_names_that_can_be_told_apart():
    for one, other in (("e", "\u00e9"), ("A1", "A2"), ("a-b", "a_b"), ("i1", "l1"), ("ab", "a b")):
        assert outline(one) != outline(other)


def test_slides_that_look_alike_are_told_and_taken(tmp_path, caplog):
    path = tmp_path / "slides.csv"
    path.write_text("slide_id,slide_path\nA1,a.svs\n\u04101,b.svs\nB,c.svs\n", encoding="utf-8")
    assert len(read_manifest(path)) == 3
    (line,) = caplog.messages
    assert "'A1', '\u04101' (U+0410 cyrillic capital letter a)" in line


def test_all_ids_that_come_again_are_named(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_text("slide_path\n" + "".join(f"{f}/{s}.svs\n" for f in "xy" for s in "abc"))
    with pytest.raises(
        ManifestError, match=r"'a' is already.*row 2.*; so is it with 2 more: 'b', 'c"
    ):
        read_manifest(path)
