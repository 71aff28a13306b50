import re

import pytest

from slidenet.cli.main import main
from slidenet.core.errors import ArchiveError, ConfigError, ManifestError
from slidenet.pipelines.archives import gdc
from slidenet.pipelines.manifest import manifest
from slidenet.stores import read_manifest

A, B = ("a1111111-2222-3333-4444-555555555555", "b1111111-2222-3333-4444-555555555555")
NAME = "TCGA-AN-A0FL-01Z-00-DX1.20A041C6.svs"


def hit(uuid, name=NAME, patient="TCGA-AN-A0FL", **further):
    """A hit of /files with the fields that the question names."""
    return {
        "id": uuid,
        "file_id": uuid,
        "file_name": name,
        "file_size": 1_500_000_000,
        "md5sum": "d41d8cd98f00b204e9800998ecf8427e",
        "access": "open",
        "data_format": "SVS",
        "experimental_strategy": "Diagnostic Slide",
        "cases": [
            {
                "case_id": f"c{uuid[1:]}",
                "submitter_id": patient,
                "project": {"project_id": "TCGA-BRCA"},
                "samples": [{"sample_type": "Primary Tumor"}],
            }
        ],
        **further,
    }


def answer(*hits, total=None):
    total = len(hits) if total is None else total
    return {"data": {"hits": list(hits), "pagination": {"total": total}}, "warnings": {}}


@pytest.fixture
def api(archive):
    archive.says["/status"] = [{"data_release": "Data Release 45.0 - December 04, 2025"}]
    archive.says["/files"] = [answer(hit(A))]
    return archive


def test_a_project_becomes_a_table(api, tmp_path):
    path = tmp_path / "slides.csv"
    report = manifest("gdc", path, collections=["TCGA-BRCA"], slide_kind="diagnostic", api=api.url)
    assert path.read_text() == (
        "slide_id,slide_path,patient_id,collection,slide_kind,sample_type,format,md5,size_bytes,"
        "file_uuid\n"
        f"{NAME.removesuffix('.svs')},{api.url}/data/{A},TCGA-AN-A0FL,TCGA-BRCA,Diagnostic Slide,"
        f"Primary Tumor,SVS,d41d8cd98f00b204e9800998ecf8427e,1500000000,{A}\n"
    )
    assert report.table().startswith(
        f"wrote {path}: 1 slide of 1 patient, 1.5 GB; from GDC Data Release 45.0"
    )
    question = api.questions[0]
    assert question["filters"]["content"] == [
        {"op": "in", "content": {"field": "data_type", "value": ["Slide Image"]}},
        {"op": "in", "content": {"field": "experimental_strategy", "value": ["Diagnostic Slide"]}},
        {"op": "in", "content": {"field": "cases.project.project_id", "value": ["TCGA-BRCA"]}},
    ]
    assert question["sort"] == "file_id:asc"


def test_pages_are_read_to_the_end(api, tmp_path, monkeypatch):
    monkeypatch.setattr(gdc, "ROWS_PER_ANSWER", 1)
    api.says["/files"] = [answer(hit(A), total=2), answer(hit(B, name="B.svs"), total=2)]
    report = manifest("gdc", tmp_path / "s.csv", patients=["TCGA-AN-A0FL"], api=api.url)
    assert len(report.slides.slides) == 2
    assert [(q["from"], q["size"]) for q in api.questions] == [(0, 1), (1, 1)]
    api.says["/files"] = [answer(hit(A), total=2), answer(total=2)]
    with pytest.raises(ArchiveError, match="gave 1 of 2 files, and no more"):
        manifest("gdc", tmp_path / "s.csv", patients=["TCGA-AN-A0FL"], api=api.url)


def test_uuids_and_names_are_asked_for_by_their_fields(api, tmp_path):
    asked = {"ids": [A.upper(), NAME], "patients": ["TCGA-AN-A0FL", f"C{A[1:]}"]}
    manifest("gdc", tmp_path / "s.csv", **asked, api=api.url)
    fields = [
        {c["content"]["field"]: c["content"]["value"] for c in either["content"]}
        for either in api.questions[0]["filters"]["content"][1:]
    ]
    assert fields == [
        {"cases.case_id": [f"c{A[1:]}"], "cases.submitter_id": ["TCGA-AN-A0FL"]},
        {"file_id": [A], "file_name": [NAME]},
    ]


def test_what_is_mixed_closed_or_of_one_name_is_told(api, tmp_path):
    api.says["/files"] = [
        answer(
            hit(A),
            hit(B, experimental_strategy="Tissue Slide"),
            hit("d" + A[1:], name="other.svs", access="controlled"),
            hit(
                "e" + A[1:], name="two.svs", cases=[{"submitter_id": "P2"}, {"submitter_id": "P1"}]
            ),
        )
    ]
    report = manifest("gdc", tmp_path / "s.csv", collections=["TCGA-BRCA"], api=api.url)
    stem = NAME.removesuffix(".svs")
    assert [s.slide_id for s in report.slides.slides] == ["two", f"{stem}--{A}", f"{stem}--{B}"]
    said = report.table()
    assert "left out: 1 slide of controlled access" in said
    assert "1 slide of several patients each: two" in said
    assert "2 Diagnostic Slide, 1 Tissue Slide" in said
    assert "2 slides share the names of their files" in said


def test_a_manifest_of_the_portal_needs_no_network(tmp_path, caplog):
    listed = tmp_path / "gdc_manifest.txt"
    listed.write_text(
        "id\tfilename\tmd5\tsize\tstate\n"
        f"{A}\t{NAME}\td41d8cd98f00b204e9800998ecf8427e\t15\treleased\n"
        f"{B}\tC3L-1.svs\t\t\treleased\n"
        f"{'e' + A[1:]}\tcounts.tsv\t\t7\treleased\n"
    )
    asked = {"portal_file": listed, "offline": True}
    report = manifest("gdc", tmp_path / "s.csv", **asked)
    first, second = report.slides.slides
    assert "left out 1 row without a slide" in caplog.text
    assert (second.slide_id, second.patient_id) == (NAME.removesuffix(".svs"), "TCGA-AN-A0FL")
    assert second.slide_path == f"https://api.gdc.cancer.gov/data/{A}"
    assert (first.slide_id, first.patient_id) == ("C3L-1", "")
    (tmp_path / A).mkdir()
    (tmp_path / A / NAME).touch()
    with pytest.raises(ManifestError, match=f"1 slide of 2 have no copy: {B}"):
        manifest("gdc", tmp_path / "t.csv", **asked, copies=tmp_path)
    report = manifest("gdc", tmp_path / "t.csv", **asked, copies=tmp_path, allow_missing=True)
    assert [s.slide_path for s in report.slides.slides] == [str(tmp_path / A / NAME)]
    with pytest.raises(ArchiveError, match="no slides of 1 patient: 'nobody'"):
        manifest("gdc", tmp_path / "u.csv", **asked, patients=["nobody"])
    with pytest.raises(ConfigError, match="slide_kind is 'tissue' beside --offline"):
        manifest("gdc", tmp_path / "u.csv", **asked, slide_kind="tissue")
    listed.write_text("id\tfilename\n1\tcounts.tsv\n")
    with pytest.raises(ManifestError, match=r"1 row and no slide \(counts\.tsv\)"):
        manifest("gdc", tmp_path / "u.csv", **asked)


def test_names_that_look_alike_or_cannot_be_files_are_told_or_changed(tmp_path):
    listed = tmp_path / "gdc_manifest.txt"
    listed.write_text(f"id\tfilename\n{A}\tB0.svs\n{B}\tBO.svs\n{'e' + A[1:]}\ta:b?.svs\n")
    report = manifest("gdc", tmp_path / "s.csv", portal_file=listed, offline=True)
    assert [slide.slide_id for slide in report.slides.slides] == ["B0", "BO", "a_b_"]
    assert "1 group of slide_ids that look alike" in report.table()


def test_as_it_is_typed(api, tmp_path, capsys):
    out = tmp_path / "s.csv"
    arguments = ["--collections", "TCGA-BRCA", "--out", str(out), "--api", api.url]
    assert main(["manifest", "gdc", *arguments]) == 0
    assert f"wrote {out}: 1 slide" in capsys.readouterr().out
    api.says["/status"] = [503]
    assert main(["manifest", "gdc", *arguments]) == 1  # the network is nobody's typing
    error = capsys.readouterr().err
    assert error.startswith("slidenet manifest: error: http://127.0.0.1")
    assert error.count("\n") == 1
    assert main(["manifest", "gdc", "--offline"]) == 2


def test_commands_of_the_page(api, tmp_path, monkeypatch, commands):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gdc_manifest.txt").write_text(f"id\tfilename\n{A}\t{NAME}\n")
    case = {"project": {"project_id": "TCGA-LUAD"}, "submitter_id": "TCGA-05-4244"}
    api.says["/files"] = [
        lambda asked: answer(hit(A, *re.findall(r"[\w.-]+\.svs", str(asked)), cases=[case]))
    ]
    own = [words[1:] for words in commands if words[:3] == ["slidenet", "manifest", "gdc"]]
    assert len(own) == 3
    for arguments in own:
        assert main([*arguments, "--api", api.url, "--overwrite"]) == 0
    assert len(api.questions) == 2  # --offline asks nobody
    assert len(read_manifest("luad.csv")) == len(read_manifest("slides.csv")) == 1


@pytest.mark.parametrize(
    ("row", "found"),
    [
        (f"../../etc\t{NAME}\td41d\t5\treleased", "names a file by '../../etc'"),
        (f"{A}\t{NAME}\td41d\t1,5e\treleased", "gives a size of '1,5e'"),
        (f'{A}\t"{"x" * 200_000}\td41d\t5\treleased', "is no table"),
    ],
)
def test_a_list_that_others_have_spoilt_is_one_error(tmp_path, row, found):
    path = tmp_path / "list.txt"
    path.write_text(f"id\tfilename\tmd5\tsize\tstate\n{row}\n")
    with pytest.raises((ArchiveError, ManifestError), match=found):
        manifest("gdc", tmp_path / "slides.csv", portal_file=path, offline=True)
