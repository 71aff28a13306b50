import re
from pathlib import Path

import pytest

from slidenet.cli.flags import build_parser, parse_arguments
from slidenet.cli.main import main
from slidenet.core.errors import ArchiveError, ConfigError, ManifestError
from slidenet.pipelines.archives import idc, slides
from slidenet.pipelines.manifest import manifest
from slidenet.pipelines.run import run
from slidenet.stores import read_csv_table, read_manifest

A, B = ("11111111-2222-3333-4444-55555555555a", "11111111-2222-3333-4444-55555555555b")
ONE, TWO = "1.3.6.1.4.1.5962.99.1.1", "1.3.6.1.4.1.5962.99.1.2"


def row(series, uuid, patient, **further):
    """A row of IDC's index, with the columns that the question names."""
    return {
        "collection_id": "tcga_luad",
        "PatientID": patient,
        "StudyInstanceUID": "2.25.7",
        "SeriesInstanceUID": series,
        "SeriesDescription": "FFPE HE TP DX1",
        "license_short_name": "CC BY 3.0",
        "source_DOI": "10.5281/zenodo.1",
        "instanceCount": 4,
        "series_size_MB": 237.5,
        "aws_bucket": "idc-open-data",
        "crdc_series_uuid": uuid,
        "ContainerIdentifier": f"{patient}-01Z-00-DX1",
        **further,
    }


def answer(*rows):
    return {"columns": [], "rows": list(rows), "row_count": len(rows), "truncated": False,
            "max_rows": 5000}  # fmt: skip


@pytest.fixture
def api(archive):
    archive.says["/v3/version"] = [{"idc_version": "v25", "api_version": "3.0.0"}]
    archive.says["/v3/sql"] = [answer(row(TWO, B, "TCGA-05-4245"), row(ONE, A, "TCGA-05-4244"))]
    return archive


def test_a_collection_becomes_a_table_in_order(api, tmp_path):
    path = tmp_path / "slides.csv"
    report = manifest("idc", path, collections=["TCGA-LUAD"], api=api.url)
    table = read_csv_table(path, error=ManifestError)
    assert [r.cells["slide_id"] for r in table.rows] == [ONE, TWO]
    assert table.rows[0].cells == {
        "slide_id": ONE,
        "slide_path": f"s3://idc-open-data/{A}/",
        "patient_id": "TCGA-05-4244",
        "collection": "tcga_luad",
        "container_id": "TCGA-05-4244-01Z-00-DX1",
        "description": "FFPE HE TP DX1",
        "licence": "CC BY 3.0",
        "doi": "10.5281/zenodo.1",
        "num_files": "4",
        "size_bytes": "237500000",
        "series_uuid": A,
    }
    rows = read_manifest(path)
    assert [(r.slide_path, r.patient_id) for r in rows] == [
        (f"s3://idc-open-data/{A}/", "TCGA-05-4244"),
        (f"s3://idc-open-data/{B}/", "TCGA-05-4245"),
    ]
    assert report.exit_code == 0
    assert report.table().splitlines() == [
        f"wrote {path}: 2 slides of 2 patients, 0.5 GB; from IDC v25",
        "collection  tcga_luad (2)",
        "licence     CC BY 3.0 (2)",
        "doi         10.5281/zenodo.1 (2)",
    ]
    question = api.questions[0]["sql"]
    assert "i.Modality = 'SM'" in question
    assert "i.collection_id IN ('tcga_luad')" in question
    assert question.startswith("SELECT")  # the API takes nothing else
    assert ";" not in question


def test_pages_go_on_behind_the_last_series(api, tmp_path, monkeypatch):
    monkeypatch.setattr(idc, "ROWS_PER_ANSWER", 1)
    api.says["/v3/sql"] = [answer(row(ONE, A, "p")), answer(row(TWO, B, "p")), answer()]
    report = manifest("idc", tmp_path / "s.csv", patients=["p"], api=api.url)
    assert [slide.slide_id for slide in report.slides.slides] == [ONE, TWO]
    after = [re.search(r"i\.SeriesInstanceUID > '(.*?)'", q["sql"])[1] for q in api.questions]
    assert after == ["", ONE, TWO]
    api.says["/v3/sql"] = [answer(row(ONE, A, "p"))]  # for ever the same page
    with pytest.raises(ArchiveError, match="does not go on after series"):
        manifest("idc", tmp_path / "s.csv", patients=["p"], api=api.url)


def test_ids_of_every_kind_and_names_that_would_end_a_text(api, tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "IDS_PER_QUESTION", 3)
    names = [A.upper(), ONE, "O'Hara--x/*", "more"]
    api.says["/v3/sql"] = [
        answer(row(ONE, A, "p", ContainerIdentifier="O'Hara--x/*")),
        answer(row(TWO, B, "p", ContainerIdentifier="more")),
    ]
    manifest("idc", tmp_path / "s.csv", ids=names, api=api.url)
    first, second = (question["sql"] for question in api.questions)
    assert f"i.crdc_series_uuid IN ('{A}')" in first
    assert f"i.SeriesInstanceUID IN ('{ONE}') OR i.StudyInstanceUID IN ('{ONE}')" in first
    assert "s.ContainerIdentifier IN ('O''Hara-' || '-x/' || '*')" in first
    assert "--" not in first + second  # the API cuts comments out, in texts too
    assert "/*" not in first + second
    assert "IN ('more')" in second


def test_names_it_does_not_have_are_refused_or_told(api, tmp_path):
    path = tmp_path / "s.csv"
    asked = {"collections": ["tcga_luad", "tcga_nope"], "api": api.url}
    with pytest.raises(ArchiveError, match=r"IDC v25 has no slides of 1 collection: 'tcga_nope'"):
        manifest("idc", path, **asked)
    assert not path.exists()
    report = manifest("idc", path, **asked, allow_missing=True)
    assert report.table().endswith("has no slides of 1 collection: 'tcga_nope'")
    api.says["/v3/sql"] = [answer()]
    with pytest.raises(ArchiveError, match="no slides of 2 collections"):
        manifest("idc", path, **asked, allow_missing=True)


def test_another_table_is_not_replaced(api, tmp_path):
    path = tmp_path / "deep" / "s.csv"
    asked = {"collections": ["tcga_luad"], "api": api.url}
    manifest("idc", path, **asked)
    before = path.read_bytes()
    manifest("idc", path, **asked)  # the same again
    path.write_bytes(before + b"mine")
    with pytest.raises(ManifestError, match="there already, and says something else"):
        manifest("idc", path, **asked)
    manifest("idc", path, **asked, overwrite=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "text", "slide_id", "path", "patient"),
    [
        (
            "a.s5cmd",
            "# s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com run a.s5cmd\n"
            f"cp s3://idc-open-data/{A}/* .\n",
            A,
            f"s3://idc-open-data/{A}/",
            "",
        ),
        (
            "google.s5cmd",
            "# s5cmd --no-sign-request --endpoint-url https://storage.googleapis.com run x\n"
            f"cp s3://public-datasets-idc/{A}/* .\n",
            A,
            f"gs://public-datasets-idc/{A}/",
            "",
        ),
        ("urls.txt", f"s3://idc-open-data/{A}/*\n", A, f"s3://idc-open-data/{A}/", ""),
        (
            "table.tsv",
            "Cohort: mine\n\nPatientID\tcollection_id\tSeriesInstanceUID\tseries_uuid\tgcs_url\n"
            f"P 1\tnlst\t{ONE}\t{A}\tgs://public-datasets-idc/{A}/x.dcm\n",
            ONE,
            f"gs://public-datasets-idc/{A}/",
            "P 1",
        ),
        (
            "index.csv",
            "Modality,PatientID,SeriesInstanceUID,series_aws_url\n"
            f"SM,P1,{ONE},s3://idc-open-data/{A}/*\nCT,P1,{TWO},s3://idc-open-data/{B}/*\n",
            ONE,
            f"s3://idc-open-data/{A}/",
            "P1",
        ),
    ],
)
def test_a_list_of_the_portal_needs_no_network(name, text, slide_id, path, patient, tmp_path):
    (tmp_path / name).write_text(text)
    asked = {"portal_file": tmp_path / name, "offline": True, "api": "http://127.0.0.1:9"}
    report = manifest("idc", tmp_path / "s.csv", **asked)
    slide = report.slides.slides[0]
    assert len(report.slides.slides) == 1
    assert (slide.slide_id, slide.slide_path, slide.patient_id) == (slide_id, path, patient)
    assert ("1 slide without a patient" in report.table()) == (patient == "")


def test_a_list_of_the_portal_is_what_is_asked_for(api, tmp_path):
    (tmp_path / "m.s5cmd").write_text(f"cp s3://old-bucket/{A}/* .\ncp s3://old-bucket/{B}/* .\n")
    report = manifest("idc", tmp_path / "s.csv", portal_file=tmp_path / "m.s5cmd", api=api.url)
    assert f"i.crdc_series_uuid IN ('{A}', '{B}')" in api.questions[0]["sql"]
    assert all("idc-open-data" in slide.slide_path for slide in report.slides.slides)


def test_a_list_without_slides_or_places_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    for text, words in (
        ("nothing here\n", "holds no slides"),
        ("Modality,SeriesInstanceUID\nCT,1.2\n", r"1 row and no slide \(CT\)"),
        (f"SeriesInstanceUID\n{ONE}\n", "does not say where series"),
    ):
        path.write_text(text)
        with pytest.raises((ManifestError, ArchiveError), match=words):
            manifest("idc", tmp_path / "s.csv", portal_file=path, offline=True)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="not UTF-8"):
        manifest("idc", tmp_path / "s.csv", portal_file=path, offline=True)


def test_copies_are_found_as_in_the_bucket_and_as_idc_lays_them(api, tmp_path):
    first = tmp_path / "data" / A
    second = tmp_path / "data" / "tcga_luad" / "TCGA-05-4245" / "2.25.7" / f"SM_{TWO}"
    asked = {"collections": ["tcga_luad"], "copies": tmp_path / "data", "api": api.url}
    first.mkdir(parents=True)
    (first / "b.dcm").touch()
    (first / "a.DCM").touch()
    with pytest.raises(ManifestError, match=f"1 slide of 2 have no copy: {TWO}"):
        manifest("idc", tmp_path / "s.csv", **asked)
    report = manifest("idc", tmp_path / "some.csv", **asked, allow_missing=True)
    assert [slide.slide_path for slide in report.slides.slides] == [str(first / "a.DCM")]
    assert "left out: 1 slide of 2 have no copy" in report.table()
    second.mkdir(parents=True)
    (second / "x.dcm").touch()
    report = manifest("idc", tmp_path / "s.csv", **asked)
    assert report.slides.slides[1].slide_path == str(second / "x.dcm")


def test_what_is_typed_wrong_is_refused_before_anybody_is_asked(tmp_path):
    out = tmp_path / "s.csv"
    for settings, words in (
        ({}, "nothing of idc is asked for"),
        ({"offline": True, "ids": ["x"]}, "--offline is given without a list"),
        ({"slide_kind": "tissue", "ids": ["x"]}, "slide_kind is 'tissue'"),
        ({"api": "nowhere", "ids": ["x"]}, "api is 'nowhere'"),
    ):
        with pytest.raises(ConfigError, match=words):
            manifest("idc", out, **settings)
    with pytest.raises(ConfigError, match="archive is 'tcia'"):
        manifest("tcia", out)


def test_commands_of_the_page(api, tmp_path, monkeypatch, commands):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cohort.s5cmd").write_text(f"cp s3://idc-open-data/{A}/* .\n")
    own = [words[1:] for words in commands if words[:3] == ["slidenet", "manifest", "idc"]]
    assert len(own) == 2
    for arguments in own:
        assert main([*arguments, "--api", api.url, "--allow-missing"]) == 0
    assert len(read_manifest("luad.csv")) == len(read_manifest("slides.csv")) == 2
    (following,) = (words[2:] for words in commands if words[1] == "run")
    call = parse_arguments(build_parser("run", run), run, following)
    assert call["slides"] == Path("luad.csv")
