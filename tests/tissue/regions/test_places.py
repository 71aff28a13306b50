import pytest

from slidenet.core.errors import SlideError
from slidenet.tissue import find_region_file


@pytest.mark.parametrize(
    "name",
    ["case.geojson", "case.json", "case.geojson.gz", "case.xml", "scan.tif.geojson",
     "scan.tif.json", "scan.tif.xml"],
)  # fmt: skip
def test_a_slide_goes_by_its_id_or_its_file(tmp_path, name):
    (tmp_path / name).write_text("")
    (tmp_path / "other.geojson").write_text("")
    assert find_region_file(tmp_path, "case", "slides/scan.tif") == tmp_path / name


def test_there_may_be_none(tmp_path):
    assert find_region_file(tmp_path, "case", "case.tif") is None


def test_a_file_that_cannot_be_opened_is_named_when_it_is_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "case.json").write_text("{}")
    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert find_region_file(tmp_path, "case", "case.tif") == tmp_path / "case.json"


def test_two_files_for_one_slide_are_an_error(tmp_path):
    for name in ("case.geojson", "case.tif.geojson"):
        (tmp_path / name).write_text("")
    with pytest.raises(SlideError, match=r"case\.geojson and case\.tif\.geojson; expected one"):
        find_region_file(tmp_path, "case", "case.tif")


@pytest.mark.parametrize("slide_id", ["../case", "..", "", "a/b", "a\\b", "a\0b", "/etc/passwd"])
def test_names_that_leave_the_folder(tmp_path, slide_id):
    (tmp_path / "case.geojson").write_text("")
    folder = tmp_path / "regions"
    folder.mkdir()
    with pytest.raises(SlideError, match=r"leads out of .*regions"):
        find_region_file(folder, slide_id, "case.tif")


def test_links_that_leave_the_folder(tmp_path):
    (tmp_path / "case.geojson").write_text("")
    folder = tmp_path / "regions"
    folder.mkdir()
    (folder / "case.geojson").symlink_to(tmp_path / "case.geojson")
    with pytest.raises(SlideError, match="is a link to"):
        find_region_file(folder, "case", "case.tif")
    (tmp_path / "linked").symlink_to(folder)
    (folder / "b.geojson").write_text("")
    assert find_region_file(tmp_path / "linked", "b", "b.tif") is not None
