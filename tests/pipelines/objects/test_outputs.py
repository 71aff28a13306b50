import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from slidenet.core.errors import (
    ConfigError,
    DiskError,
    EmptyTissueError,
    IdentityMismatchError,
    ObjectStoreError,
)
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.objects import listing
from slidenet.pipelines.objects.outputs import bucket_output, to_buckets
from slidenet.stores import claims as local_claims
from slidenet.stores.objects import claims
from slidenet.stores.objects.mirror import open_mirror

ROWS = [SlideRow("a", ""), SlideRow("b", "")]
RESULTS = ["tiles/a.h5", "tiles/b.h5"]


@dataclass(frozen=True)
class Writing(SlideWork):
    """Writes a file with the name of the slide, unless it is there."""

    layout: OutputLayout
    fault: Exception | None = None

    def claimed(self, row):
        return self.layout.tiles(row.slide_id)

    def files_of(self, row):
        return self.layout.overlay(row.slide_id), self.claimed(row)

    def __call__(self, row, progress):
        path, overlay = self.claimed(row), self.layout.overlay(row.slide_id)
        if path.exists():
            return SlideResult(path, "there", already_done=True)
        for one in (overlay, path):
            one.parent.mkdir(exist_ok=True)
        overlay.write_bytes(b"picture")
        if self.fault is not None and row.slide_id == "b":
            raise self.fault
        path.write_text(row.slide_id)
        return SlideResult(path, "made")


@to_buckets
def write(slides, out: str | Path, *, fault=None, cache=None):
    """A verb."""
    return run_cohort("write", slides, Writing(OutputLayout(Path(out)), fault))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Chooses the folder for copies: another one is another machine."""

    def choose(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    choose("here")
    return choose


def statuses(report):
    return [outcome.status for outcome in report.outcomes]


def results(bucket):
    return [name for name in bucket.names() if name.startswith("tiles/")]


def test_a_verb_writes_into_a_bucket_and_goes_on_anywhere(memory_bucket, cache):
    out = Path("s3://bucket/out")  # as a flag gives it
    assert statuses(write(ROWS, out)) == ["done", "done"]
    assert results(memory_bucket) == RESULTS
    assert [n for n in memory_bucket.names() if n.startswith(".")] == [], "claims are given back"
    puts = memory_bucket.puts
    cache("elsewhere")
    report = write(ROWS, out)
    assert statuses(report) == ["already done", "already done"]
    assert [o.output for o in report.outcomes] == RESULTS
    assert memory_bucket.puts - puts == 5, "the probe, two claims, runs/ and run.json"


@pytest.mark.slow
def test_run_json_tells_of_all_machines(memory_bucket, cache):
    write(ROWS[:1], memory_bucket.uri)
    cache("elsewhere")
    write(ROWS[1:], memory_bucket.uri)
    told = json.loads(memory_bucket.objects[f"{memory_bucket.uri}run.json"][0])
    assert [slide["slide_id"] for slide in told["stages"]["write"]["slides"]] == ["a", "b"]
    assert sum(name.startswith("runs/") for name in memory_bucket.names()) == 2
    write(ROWS, memory_bucket.uri)
    assert sum(name.startswith("runs/") for name in memory_bucket.names()) == 1


def test_a_slide_that_another_machine_holds_is_in_progress_elsewhere(
    memory_bucket, cache, monkeypatch
):
    monkeypatch.setattr(local_claims, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(claims, "is_gone", lambda token, started: False)
    putter, uri = memory_bucket.putter(), f"{memory_bucket.uri}.slidenet/claims/tiles/b.h5.json"
    other = claims.ObjectClaim(putter, uri, "it", "b")
    other.try_to_take()
    read = type(putter).read

    def alive(self, asked):
        if asked == uri:
            other.touch()
        return read(self, asked)

    monkeypatch.setattr(type(putter), "read", alive)
    report = write(ROWS, memory_bucket.uri)
    assert statuses(report) == ["done", "in progress elsewhere"]
    assert report.exit_code == 75
    assert results(memory_bucket) == ["tiles/a.h5"]


@pytest.mark.slow
def test_what_a_slide_without_tissue_leaves_is_published(memory_bucket, cache):
    report = write(ROWS, memory_bucket.uri, fault=EmptyTissueError("no tissue"))
    assert statuses(report) == ["done", "failed"]
    assert "overlays/b.jpg" in memory_bucket.names()
    assert results(memory_bucket) == ["tiles/a.h5"]


def test_a_full_disk_names_the_cache(memory_bucket, cache, tmp_path):
    root = open_mirror(memory_bucket.uri, tmp_path / "here" / "slidenet").root
    report = write(ROWS, memory_bucket.uri, fault=DiskError(f"no room left in {root}"))
    assert f"made in {tmp_path}" in report.outcomes[1].detail
    assert "s3://bucket/out" in report.outcomes[1].detail
    assert "overlays/b.jpg" not in memory_bucket.names()


@pytest.mark.slow
def test_another_writers_file_is_the_failure_of_that_slide(memory_bucket, cache):
    uri = f"{memory_bucket.uri}tiles/b.h5"

    def write_first(asked):
        if asked == uri:
            memory_bucket.write(uri, b"theirs")

    memory_bucket.before_put = write_first
    report = write(ROWS, memory_bucket.uri)
    assert statuses(report) == ["done", "failed"]
    assert "written by another writer" in report.outcomes[1].detail


@pytest.mark.slow
def test_an_interrupted_run_is_told_of(memory_bucket, cache):
    with pytest.raises(KeyboardInterrupt):
        write(ROWS, memory_bucket.uri, fault=KeyboardInterrupt())
    told = json.loads(memory_bucket.objects[f"{memory_bucket.uri}run.json"][0])
    assert [slide["slide_id"] for slide in told["stages"]["write"]["slides"]] == ["a"]
    assert statuses(write(ROWS, memory_bucket.uri)) == ["already done", "done"]


def test_a_bucket_that_takes_nothing_is_told_before_the_first_slide(memory_bucket, cache):
    def refuse(uri):
        raise ObjectStoreError(f"{uri} may not be written")

    memory_bucket.before_put = refuse
    with pytest.raises(ObjectStoreError, match="may not be written"):
        write(ROWS, memory_bucket.uri)


def test_a_web_server_is_read_only(cache):
    with pytest.raises(ConfigError, match="read only"):
        write(ROWS, "https://example.org/out")


def test_the_engine_of_who_was_first_is_followed(memory_bucket, cache, tmp_path):
    name = "tile_features/e/engine.json"
    record = {"engine": "torch", "batch_size": 64, "reason": "here"}

    def begin(theirs):
        del memory_bucket.objects[uri]
        memory_bucket.before_put = lambda _: memory_bucket.objects.setdefault(
            uri, (json.dumps({**record, **theirs}).encode(), "v0")
        )
        output.publish_begun()
        return json.loads(path.read_text())

    uri = memory_bucket.uri + name
    memory_bucket.write(uri, b"")
    with bucket_output(memory_bucket.uri, tmp_path) as output:
        path = output.mirror.root / name
        path.write_text(json.dumps(record))
        output.mirror._forget(path)
        assert begin({"reason": "there"})["reason"] == "there"
        path.write_text(json.dumps(record))
        output.mirror._forget(path)
        with pytest.raises(IdentityMismatchError, match="in the same moment"):
            begin({"engine": "openvino"})
        memory_bucket.before_put = lambda _: None


@pytest.mark.slow
def test_a_store_without_conditions_takes_one_writer(memory_bucket, cache, monkeypatch):
    memory_bucket.supports_conditions = False
    for name, seconds in (("BEAT_S", 0.001), ("_BOTH_BEGAN_S", 0.0)):
        monkeypatch.setattr(f"slidenet.pipelines.objects.outputs.{name}", seconds)
    assert statuses(write(ROWS, memory_bucket.uri)) == ["done", "done"]
    assert ".slidenet/lease.json" not in memory_bucket.names()
    lease = f"{memory_bucket.uri}.slidenet/lease.json"
    own = claims.ObjectClaim(memory_bucket.putter(), lease, "it", "")
    own.try_to_take()
    monkeypatch.setattr(claims, "is_gone", lambda token, started: False)
    read = type(own._putter).read

    def alive(self, asked):
        own.touch()
        return read(self, asked)

    monkeypatch.setattr(type(own._putter), "read", alive)
    with pytest.raises(claims.ClaimedElsewhere, match="is working on s3://bucket/out"):
        write(ROWS, memory_bucket.uri)


def test_slides_beside_an_output_are_not_fetched(memory_bucket, tmp_path):
    memory_bucket.write(f"{memory_bucket.uri}huge.SVS", b"slide")
    memory_bucket.write(f"{memory_bucket.uri}predictions.csv", b"slide_id\n")
    with bucket_output(memory_bucket.uri, tmp_path) as output:
        root = output.mirror.root
        assert [path.name for path in root.iterdir() if path.is_file()] == ["predictions.csv"]
    assert f"{memory_bucket.uri}huge.SVS" in memory_bucket.objects


def test_done_slides_are_known_by_lists_and_judged_as_the_run_began(
    memory_bucket, cache, monkeypatch
):
    write(ROWS, memory_bucket.uri)

    def heads():
        before = memory_bucket.heads
        assert statuses(write(ROWS, memory_bucket.uri)) == ["already done"] * 2
        return memory_bucket.heads - before

    one_by_one = heads()
    monkeypatch.setattr(listing, "ASKED_ONE_BY_ONE", 0)
    assert one_by_one - heads() == 4, "two files of two slides"
    uri = f"{memory_bucket.uri}tiles/b.h5"

    def write_first(asked):
        if "claims/tiles/b.h5" in asked:  # the list was made for the slide before
            memory_bucket.write(uri, b"theirs")

    memory_bucket.before_put = write_first
    assert one_by_one - heads() == 4
    assert memory_bucket.objects[uri][0] == b"theirs", "nothing of others is overwritten"
    memory_bucket.before_put = lambda uri: None
    assert one_by_one - heads() == 2, "the slide that others wrote is asked for"
