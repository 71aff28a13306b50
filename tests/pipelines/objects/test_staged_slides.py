"""Slides named by addresses give what their files give, and are copied only where they are read."""

import os
import pickle
import shutil
from pathlib import Path

import h5py
import pytest

from slidenet.core.errors import ObjectReplacedError, ObjectStoreError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.inspection.validate import validate
from slidenet.pipelines.objects import staging
from slidenet.pipelines.objects.staging import StagedWork, slide_file
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings
from slidenet.stores import read_tile_set
from slidenet.stores.manifest import read_manifest
from slidenet.stores.objects import ObjectCache, ObjectFacts, cache

SETTINGS = EmbedTilesSettings(batch_size=16)


class Shelf:
    """A store whose objects are files; notes what is read."""

    def __init__(self):
        self.files, self.reads, self.asked, self.fails = {}, [], [], {}

    def origin(self, uri):
        return ""

    def facts(self, uri):
        self.asked.append(uri)
        if uri not in self.files:
            raise ObjectStoreError(f"there is no object {uri}")
        path = self.files[uri]
        return ObjectFacts(uri, path.stat().st_size, f"v{path.stat().st_mtime_ns}")

    def read_into(self, uri, path, facts):
        self.reads.append(uri)
        if uri in self.fails:
            raise self.fails.pop(uri)
        shutil.copy(self.files[uri], path)


@pytest.fixture
def shelf(monkeypatch, slide_path, tmp_path):
    """Two slides in a bucket; rows of them, and of their files."""
    found = Shelf()
    monkeypatch.setattr(cache, "store_of", lambda uri: found)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "default"))
    for name in ("one", "two"):
        path = tmp_path / "slides" / f"{name}.tiff"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(slide_path, path)
        found.files[f"s3://b/x/{name}.tiff"] = path
    found.rows = [SlideRow(Path(uri).stem, uri) for uri in found.files]
    found.local = [SlideRow(path.stem, str(path)) for path in found.files.values()]
    return found


@pytest.fixture
def fleet(tmp_path):
    return FleetSettings(cache=tmp_path / "cache", cache_limit="100MB", progress="none")


def statuses(report):
    return {outcome.slide_id: outcome.status for outcome in report.outcomes}


def files_in(folder):
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in ("runs", "run.json")
    }


def same_but_for_the_address(of_file, of_object):
    """Compares two output folders; tiles/*.h5 may differ in what says where the slide lies."""
    ours, theirs = files_in(of_object), files_in(of_file)
    assert list(ours) == list(theirs)
    for name, path in ours.items():
        if name.startswith("tiles/") and name.endswith(".h5"):
            with h5py.File(path) as one, h5py.File(theirs[name]) as two:
                left, right = dict(one["slidenet"].attrs), dict(two["slidenet"].attrs)
                for only in ("object_version", "asked_digest"):
                    assert left.pop(only)
                assert left.pop("slide_path").startswith(b"s3://")
                for only in ("slide_path", "digests"):  # the digest of these attributes
                    right.pop(only)
                left.pop("digests")
                assert list(left) == list(right)
                differ = {k: (left[k], right[k]) for k in left if left[k] != right[k]}
                assert not differ
                for key in two:
                    if key != "slidenet":
                        assert (one[key][:] == two[key][:]).all()
        elif not name.startswith("tiles/."):
            assert path.read_bytes() == theirs[name].read_bytes(), name


@pytest.mark.slow
def test_an_object_gives_what_its_file_gives(shelf, fleet, small_tiles, colour_encoder, tmp_path):
    for rows, out, how in (
        (shelf.local, tmp_path / "of_file", {}),
        (shelf.rows, tmp_path / "of_object", {"fleet": fleet}),
    ):
        tiles = preprocess(rows, out, small_tiles, **how)
        features = embed_tiles(rows, out, SETTINGS, tile_encoder=colour_encoder, **how)
        assert {*statuses(tiles).values(), *statuses(features).values()} == {"done"}
    same_but_for_the_address(tmp_path / "of_file", tmp_path / "of_object")
    tile_set = read_tile_set(tmp_path / "of_object" / "tiles" / "one.h5")
    assert tile_set.slide_path == "s3://b/x/one.tiff"
    assert validate([tmp_path / "of_object"]).exit_code == 0
    assert sorted(set(shelf.reads)) == sorted(shelf.files)
    assert len(shelf.reads) == 2
    for name, path in files_in(tmp_path / "of_object").items():
        assert str(tmp_path / "cache").encode() not in path.read_bytes(), name


@pytest.mark.slow
def test_what_is_done_is_known_without_a_download(shelf, fleet, small_tiles, tmp_path):
    out = tmp_path / "out"
    preprocess(shelf.rows, out, small_tiles, fleet=fleet)
    before = files_in(out / "tiles")["one.h5"].read_bytes()
    shutil.rmtree(tmp_path / "cache")
    shelf.reads.clear()
    again = preprocess(shelf.rows, out, small_tiles, fleet=fleet)
    assert set(statuses(again).values()) == {"already done"}
    assert shelf.reads == []
    os.utime(shelf.files[shelf.rows[0].slide_path], ns=(1, 1))  # the same bytes, put there anew
    again = preprocess(shelf.rows, out, small_tiles, fleet=fleet)
    assert set(statuses(again).values()) == {"already done"}
    assert set(shelf.reads) == {shelf.rows[0].slide_path}
    shelf.reads.clear()
    again = preprocess(shelf.rows, out, small_tiles, fleet=fleet)
    assert shelf.reads == []
    assert read_tile_set(out / "tiles" / "one.h5").object_version == "v1"
    assert files_in(out / "tiles")["one.h5"].read_bytes() != before
    other = preprocess(shelf.rows, out, small_tiles, fleet=fleet, min_tissue_fraction=0.7)
    assert set(statuses(other).values()) == {"failed"}
    assert "made with other settings" in other.outcomes[0].detail


@pytest.mark.slow
def test_what_is_wrong_with_an_object_is_a_line_of_its_slide(shelf, fleet, small_tiles, tmp_path):
    first, second = (row.slide_path for row in shelf.rows)
    shutil.copy(shelf.files[second], tmp_path / "whole")
    shelf.files[second].write_bytes(b"no slide")
    shelf.fails[first] = ObjectReplacedError(f"{first} was replaced while it was read")
    rows = [*shelf.rows, SlideRow("three", "s3://b/x/three.tiff")]
    report = preprocess(rows, tmp_path / "out", small_tiles, fleet=fleet)
    assert set(statuses(report).values()) == {"failed"}
    said = [outcome.detail for outcome in report.outcomes]
    assert "was replaced while it was read" in said[0]
    assert str(tmp_path / "cache") not in said[1]
    assert "there is no object s3://b/x/three.tiff" in said[2]
    shutil.copy(tmp_path / "whole", shelf.files[second])
    then = preprocess(shelf.rows, tmp_path / "out", small_tiles, fleet=fleet)
    assert statuses(then) == {"one": "done", "two": "done"}


class Reads(SlideWork):
    """Opens slides whose output is not there; a module of its own is not needed."""

    def __init__(self, layout):
        self.layout = layout

    def claimed(self, row):
        return self.layout.root / f"{row.slide_id}.h5"


def test_only_slides_whose_output_is_missing_are_fetched_ahead(shelf, layout, tmp_path):
    layout.root.mkdir()
    rows = [SlideRow(str(n), f"s3://b/{n}.tiff") for n in range(6)]
    (layout.root / "1.h5").touch()
    (layout.root / ".2.h5.claim").touch()
    work = StagedWork(Reads(layout), ObjectCache(tmp_path / "cache"), rows)
    asked = []
    wanted = staging._Ahead(work.cache)
    wanted.want = asked.extend
    staging._aheads[work.cache] = wanted
    pickle.loads(pickle.dumps(work)).fetch_next(rows[0])
    assert asked == ["s3://b/3.tiff", "s3://b/4.tiff"]
    local = [SlideRow("a", "a.tiff")]
    assert StagedWork.where_needed(work.work, work.cache, local) is work.work


def test_a_slide_fetched_ahead_is_not_fetched_again(shelf, fleet, tmp_path):
    objects, (first, second) = fleet.objects(), shelf.rows
    ahead = staging._Ahead(objects)
    ahead.want([second.slide_path, "s3://b/none.tiff"])
    with objects.staged(second.slide_path), slide_file(first) as file:
        assert file.uri == first.slide_path
    ahead.has_come(second.slide_path)
    assert shelf.reads.count(second.slide_path) == 1
    assert list((tmp_path / "cache" / "slidenet-objects" / "pins").glob("*.wanted")) == []


@pytest.mark.slow
def test_a_cohort_of_s3_from_its_manifest_on(
    bucket, slide_path, small_tiles, colour_encoder, tmp_path
):
    body = slide_path.read_bytes()
    for name in ("a", "b", "c"):
        bucket.put(f"x/slides/{name}.tiff", body + name.encode())
    bucket.put("x/slides/notes.txt", b"")
    bucket.put("x/slides.csv", b"slide_path,patient_id\nslides/a.tiff,p\nslides/b.tiff,q\n")
    table = f"{bucket.uri}/x/slides.csv"
    assert [row.slide_path for row in read_manifest(table)] == [
        f"{bucket.uri}/x/slides/a.tiff",
        f"{bucket.uri}/x/slides/b.tiff",
    ]
    every = read_manifest(f"{bucket.uri}/x/", recursive=True)
    assert [row.slide_id for row in every] == ["a", "b", "c"]
    fleet = FleetSettings(cache=tmp_path / "cache", progress="none")
    out = tmp_path / "out"
    for verb in ("done", "already done"):
        tiles = preprocess(Path(table), out, small_tiles, fleet=fleet)
        features = embed_tiles(table, out, SETTINGS, tile_encoder=colour_encoder, fleet=fleet)
        assert {*statuses(tiles).values(), *statuses(features).values()} == {verb}
    said = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert b"A-SECRET" not in said
    assert b"A-KEY" not in said
