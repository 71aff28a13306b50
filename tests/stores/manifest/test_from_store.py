"""Manifests that name objects, and cohorts that are named by an address."""

import logging
from pathlib import Path

import pytest

from slidenet.core.errors import ConfigError, ManifestError, ObjectStoreError
from slidenet.stores.manifest import from_store, read_manifest
from slidenet.stores.objects import ObjectFacts


class Shelf:
    """A store whose objects are bytes."""

    def __init__(self, objects):
        self.objects = objects

    def facts(self, uri):
        if uri not in self.objects:
            raise ObjectStoreError(f"there is no object {uri}")
        return ObjectFacts(uri, len(self.objects[uri]), "v")

    def list(self, prefix, *, recursive=True):
        found = set()
        for uri in self.objects:
            if uri.startswith(prefix):
                inner, slash, _ = uri.removeprefix(prefix).partition("/")
                found.add(prefix + inner + slash)
        return [ObjectFacts(uri, 0, "") for uri in sorted(found)]

    def read_into(self, uri, path, facts):
        path.write_bytes(self.objects[uri])


@pytest.fixture
def shelf(monkeypatch):
    found = Shelf({})
    monkeypatch.setattr(from_store, "store_of", lambda uri: found)
    return found


def test_a_table_names_objects_and_files(tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text(
        "slide_path\ns3://b/x/A 1.svs\nhttps://me:pw@h/a%20b.tif?sig=1#top\nx/c.svs\n"
        "s3://b/1.2.840.1/\n"
    )
    rows = read_manifest(table)
    assert [row.slide_id for row in rows] == ["A 1", "a b", "c", "1.2.840.1"]
    assert [row.slide_path for row in rows] == [
        "s3://b/x/A 1.svs",
        "https://me:pw@h/a%20b.tif?sig=1#top",
        str(tmp_path / "x/c.svs"),
        "s3://b/1.2.840.1/",
    ]


def test_a_table_in_a_store_is_relative_to_its_folder(shelf):
    shelf.objects["s3://b/x/slides.csv"] = (
        b"slide_id,slide_path,mpp\none,slides/a.svs,0.5\ntwo,../b.svs,\nthree,https://h/c.svs,\n"
        b"four,/data/d.svs,\n"
    )
    rows = read_manifest("s3://b/x/slides.csv")
    assert [(row.slide_id, row.slide_path, row.mpp) for row in rows] == [
        ("one", "s3://b/x/slides/a.svs", 0.5),
        ("two", "s3://b/b.svs", None),
        ("three", "https://h/c.svs", None),
        ("four", "/data/d.svs", None),
    ]
    shelf.objects["s3://b/x/slides.csv"] = b"slide_id,slide_path,mpp\none,a.svs,far\n"
    with pytest.raises(ManifestError, match=r"^s3://b/x/slides.csv, row 2, column 'mpp'"):
        read_manifest("s3://b/x/slides.csv")
    shelf.objects["s3://b/x/slides.csv"] = b"slide_id,slide_path\none,../../a.svs\n"
    with pytest.raises(ConfigError, match="leads out of"):
        read_manifest("s3://b/x/slides.csv")


def test_a_folder_of_a_store_is_looked_through_as_one_of_a_disk(shelf, caplog):
    caplog.set_level(logging.WARNING)
    for name in ("b.svs", "a.SVS", "notes.txt", ".hidden", "c.vsi", "in/b.svs", "in/deep/d.tif",
                 "out/run.json", "out/e.svs", "m.mrxs", "m/Data0.dat", ""):  # fmt: skip
        shelf.objects[f"s3://b/x/{name}"] = b""
    rows = read_manifest("s3://b/x/")
    assert [(row.slide_id, row.slide_path) for row in rows] == [
        ("a", "s3://b/x/a.SVS"),
        ("b", "s3://b/x/b.svs"),
        ("m", "s3://b/x/m.mrxs"),
    ]
    for told in ("left out 2 subfolders (in, out)", "1 hidden entry", "c.vsi", "notes.txt"):
        assert told in caplog.text
    assert len(read_manifest(Path("s3://b/x/"))) == 3  # a path has no slash at its end
    caplog.clear()
    rows = read_manifest("s3://b/x/", recursive=True)
    assert [row.slide_id for row in rows] == ["a", "b", "in--b", "d", "m"]
    assert rows[3].slide_path == "s3://b/x/in/deep/d.tif"
    assert "folder with outputs of slidenet (out)" in caplog.text
    with pytest.raises(ManifestError, match="s3://b/y/ holds no slides"):
        read_manifest("s3://b/y/")
    shelf.objects |= {"s3://b/d/1.dcm": b"", "s3://b/d/2.dcm": b""}
    with pytest.raises(ManifestError, match=r"s3://b/d/? holds 2 \.dcm files"):
        read_manifest("s3://b/d/")


def test_one_slide_is_a_cohort_of_one(shelf):
    (row,) = read_manifest("https://host/a%20b.svs?sig=1")
    assert (row.slide_id, row.slide_path) == ("a b", "https://host/a%20b.svs?sig=1")
    with pytest.raises(ManifestError, match="no folder"):
        read_manifest("s3://b/x.svs", recursive=True)
    with pytest.raises(ObjectStoreError, match="there is no object"):
        read_manifest("s3://b/none.csv")
