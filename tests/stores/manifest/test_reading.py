import pytest

from slidenet.core.errors import ManifestError
from slidenet.core.records import SlideRow
from slidenet.stores import read_manifest


@pytest.fixture
def manifest(tmp_path):
    def write(content):
        path = tmp_path / "slides.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_full_manifest(manifest, tmp_path):
    path = manifest(
        "slide_id,slide_path,mpp,patient_id,label,site\n"
        "a,raw/a.svs,0.25,p1,tumour,\n"
        'b,/else/b.tiff,,,"lung, left", C\n'
    )
    assert read_manifest(path) == [
        SlideRow("a", str(tmp_path / "raw/a.svs"), 0.25, "p1", {"label": "tumour", "site": ""}),
        SlideRow("b", "/else/b.tiff", None, None, {"label": "lung, left", "site": " C"}),
    ]


def test_slide_path_alone_is_enough(manifest):
    rows = read_manifest(manifest("slide_path\nraw/TCGA-01.v2.svs\nb.mrxs\n"))
    assert [row.slide_id for row in rows] == ["TCGA-01.v2", "b"]


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_write(manifest, start, newline):
    text = newline.join([" slide_id , slide_path ", " ö1 , a.svs ", ",", ""])
    (row,) = read_manifest(manifest(start + text.encode()))
    assert (row.slide_id, row.slide_path[-6:]) == ("ö1", "/a.svs")


BAD = {
    "empty": ("", r"slides.csv is empty; expected a header with a column slide_path"),
    "blank": ("\n\n", "is empty"),
    "no rows": ("slide_id,slide_path\n", "has a header and no rows"),
    "no slide_path": ("slide_id,path\na,b\n", r"row 1 has the columns 'slide_id', 'path'; exp"),
    "semicolons": ("slide_id;slide_path\na;b\n", "look separated by semicolons"),
    "tabs": ("slide_id\tslide_path\na\tb\n", "look separated by tabs"),
    "nameless column": ("slide_path,,label\na,x,b\n", "row 1, column 2 has no name"),
    "column twice": ("slide_path,label,label\na,b,c\n", "2 columns named 'label'"),
    "too few cells": ("slide_id,slide_path\na,a.svs\nb\n", "row 3 has 1 cells; expected 2"),
    "too many cells": ("slide_id,slide_path\na,a.svs,x\n", "row 2 has 3 cells; expected 2"),
    "open quote": ('slide_id,slide_path\na,"a.svs\n', "row 2 is no CSV"),
    "UTF-16": ("slide_id,slide_path\na,b\n".encode("utf-16"), "text in UTF-16.*CSV UTF-8"),
    "Latin-1": ("slide_id,slide_path\nä,b\n".encode("latin-1"), "not UTF-8 text.* at byte 20"),
    "no path": ("slide_id,slide_path\na,\n", "row 2, column 'slide_path' is ''"),
    "no id": ("slide_id,slide_path\n,a.svs\n", "row 2, column 'slide_id': slide_id is empty"),
    "same id": (
        "slide_id,slide_path\na,1.svs\nb,2.svs\na,3.svs\n",
        r"row 4, column 'slide_id': slide_id 'a' is already taken by 'a' \(.*row 2",
    ),
    "same id by case": ("slide_id,slide_path\na,1.svs\nA,2.svs\n", "'A' is already taken by 'a'"),
    "same id by accent": (
        "slide_id,slide_path\n\u00e9,1.svs\ne\u0301,2.svs\n",
        "is already taken",
    ),
    "too long for any disk": (f"slide_path\n{'a' * 300}.svs\n", "column 'slide_path'.* bytes"),
    "same stem": ("slide_path\nx/a.svs\ny/a.svs\n", "already taken"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_manifests(manifest, name):
    content, message = BAD[name]
    with pytest.raises(ManifestError, match=message) as error:
        read_manifest(manifest(content))
    assert "slides.csv" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "mpp", ["0", "-0.25", "nan", "inf", "abc", "0,25", "250", "0.25 um", "1e-9"]
)
def test_bad_mpp(manifest, mpp):
    with pytest.raises(ManifestError, match=r"row 3, column 'mpp' is .*such as 0.25"):
        read_manifest(manifest(f'slide_path,mpp\na.svs,\nb.svs,"{mpp}"\n'))


@pytest.mark.parametrize("mpp", [0.01, 0.2505, 1, 100])
def test_good_mpp(manifest, mpp):
    (row,) = read_manifest(manifest(f"slide_path,mpp\na.svs, {mpp} \n"))
    assert row.mpp == mpp


@pytest.mark.parametrize(
    "slide_id",
    ["a/b", "a\\b", "..", ".hidden", "a.", "a:b", "a*", "a?", "a|b", "<a>", "a\tb", "x" * 201],
)
def test_a_slide_id_that_cannot_be_a_file_name(manifest, slide_id):
    with pytest.raises(ManifestError, match=r"row 2, column 'slide_id': slide_id .*file name"):
        read_manifest(manifest(f'slide_id,slide_path\n"{slide_id}",a.svs\n'))


def test_an_absent_manifest(tmp_path):
    with pytest.raises(ManifestError, match=r"none.csv does not exist"):
        read_manifest(tmp_path / "none.csv")


def test_a_folder(tmp_path):
    for name in ("b.svs", "a.TIFF", "c.txt", ".d.svs", "e.png"):
        (tmp_path / name).touch()
    (tmp_path / "f.svs").mkdir()
    assert read_manifest(tmp_path) == [
        SlideRow("a", str(tmp_path / "a.TIFF")),
        SlideRow("b", str(tmp_path / "b.svs")),
        SlideRow("e", str(tmp_path / "e.png")),
    ]
    assert [row.slide_id for row in read_manifest(tmp_path, suffixes=[".png"])] == ["e"]


def test_a_folder_without_slides(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "a.svs").touch()
    with pytest.raises(
        ManifestError, match=r"holds no slides .*1 subfolder \(deeper\).*--recursive"
    ):
        read_manifest(tmp_path)


def test_slides_of_formats_that_nobody_reads_are_named(tmp_path, caplog):
    for name in ("a.svs", "b.vsi", "c.iSyntax", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "d.zarr").mkdir()
    assert [row.slide_id for row in read_manifest(tmp_path)] == ["a"]
    line, other = caplog.messages
    assert "left out 3 slides of formats that no reader here knows (b.vsi (the container" in line
    assert "c.iSyntax (a Philips iSyntax slide), d.zarr (a folder of OME-Zarr)" in line
    assert other.endswith("left out 1 file with the ending of no slide (notes.txt)")
    caplog.clear()
    assert [row.slide_id for row in read_manifest(tmp_path, suffixes=[".svs", ".vsi"])] == [
        "a",
        "b",
    ]
    assert ".vsi" not in caplog.text
    (tmp_path / "a.svs").unlink()
    with pytest.raises(
        ManifestError, match=r"no slides that can be read, but 3 .*b\.vsi .*OME-TIFF"
    ):
        read_manifest(tmp_path)
    assert read_manifest(tmp_path / "b.vsi")[0].slide_path == str(tmp_path / "b.vsi")


def test_a_link_to_a_slide_that_is_away_is_a_slide(tmp_path):
    (tmp_path / "a.svs").symlink_to(tmp_path / "away.svs")
    assert [row.slide_id for row in read_manifest(tmp_path)] == ["a"]


def test_a_folder_with_two_slides_of_one_stem(tmp_path):
    (tmp_path / "a.svs").touch()
    (tmp_path / "a.tif").touch()
    with pytest.raises(ManifestError, match=r"file a.tif: slide_id 'a' .*file a.svs"):
        read_manifest(tmp_path)


@pytest.mark.shared_data
def test_the_real_slides(shared_data):
    ids = [row.slide_id for row in read_manifest(shared_data / "slides")]
    assert ids == ["cmu_small_region", "her2st_B4", "her2st_C3", "tcga-cr-7395-01a-01-ts1"]


def test_one_slide_file_is_a_cohort_of_one(tmp_path):
    assert read_manifest(tmp_path / "one.svs") == [
        SlideRow(slide_id="one", slide_path=str(tmp_path / "one.svs"))
    ]


def test_parts_of_a_slide_are_not_slides(tmp_path):
    for name in ("a.vms", "a_0.jpg", "a_1.jpg", "b.svs"):
        (tmp_path / name).touch()
    assert [row.slide_id for row in read_manifest(tmp_path)] == ["a", "b"]
    for name in ("x.dcm", "y.dcm"):
        (tmp_path / name).touch()
    with pytest.raises(ManifestError, match=r"2 .dcm files.*one .dcm file of each slide"):
        read_manifest(tmp_path)


def test_a_deepzoom_copy_of_a_slide_is_no_second_slide(tmp_path):
    for name in ("s1.svs", "s1.dzi", "s2.dzi"):
        (tmp_path / name).write_bytes(b"x")
    assert [row.slide_path for row in read_manifest(tmp_path)] == [
        str(tmp_path / "s1.svs"),
        str(tmp_path / "s2.dzi"),
    ]


def test_a_known_column_in_other_letters_is_not_taken_for_a_label(tmp_path):
    path = tmp_path / "slides.csv"
    path.write_text("slide_path,MPP\na.svs,0.25\n")
    with pytest.raises(ManifestError, match="a column 'MPP'; expected 'mpp', in small letters"):
        read_manifest(path)


def test_resolution_of_both_axes(manifest):
    rows = read_manifest(manifest(
        "slide_path,mpp,mpp_x,mpp_y\na.svs,,0.5,0.504\nb.svs,0.25,,\nc.svs,,,\n"
    ))  # fmt: skip
    assert [row.mpp_xy for row in rows] == [(0.5, 0.504), None, None]
    assert [row.mpp for row in rows] == [pytest.approx(0.501996), 0.25, None]
    assert [row.declared_mpp(1.0) for row in rows] == [(0.5, 0.504), 0.25, 1.0]
    assert rows[0].labels == {}


@pytest.mark.parametrize("cells", ["0.5,0.5,", "0.5,0.5,0.5", ",,0.5", ",0.5,"])
def test_resolution_is_given_in_one_way(manifest, cells):
    with pytest.raises(ManifestError, match=r"row 2 has values in mpp.*mpp_x and mpp_y together"):
        read_manifest(manifest(f"slide_path,mpp,mpp_x,mpp_y\na.svs,{cells}\n"))


def test_sha256(manifest):
    rows = read_manifest(manifest(f"slide_path,sha256\na.svs,{'AB' * 32}\nb.svs,\n"))
    assert [row.sha256 for row in rows] == ["ab" * 32, None]
    with pytest.raises(ManifestError, match="column 'sha256' is 'abc'; expected 64 hex digits"):
        read_manifest(manifest("slide_path,sha256\na.svs,abc\n"))
