import hashlib
import logging
import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from slidenet.core.errors import (
    ConfigError,
    DiskError,
    ObjectAwayError,
    ObjectReplacedError,
    ObjectStoreError,
    OutputError,
)
from slidenet.stores.objects import ObjectFacts, cache, room, waiting
from slidenet.stores.objects.cache import ObjectCache, parse_size
from slidenet.stores.objects.room import CacheRoom
from slidenet.stores.owners import place_digest

SIZE = 50_000
COST = 13 * 4096 + 2 * 4096
"""What an object of that size takes: whole blocks, and its folders."""


class Shelf:
    """A store in memory."""

    def __init__(self):
        self.objects, self.reads, self.fails, self.known = {}, [], {}, True
        self.server = ""

    def put(self, name, fill=0, size=SIZE):
        self.objects[f"s3://b/{name}"] = bytes([fill]) * size
        return f"s3://b/{name}"

    def origin(self, uri):
        return self.server

    def facts(self, uri):
        if uri not in self.objects:
            raise ObjectStoreError(f"there is no object {uri}")
        body = self.objects[uri]
        return ObjectFacts(uri, len(body), str(body[:1]) if self.known else "")

    def list(self, prefix, *, recursive=True):
        return [self.facts(uri) for uri in sorted(self.objects) if uri.startswith(prefix)]

    def read_into(self, uri, path, facts):
        self.reads.append(uri)
        if uri in self.fails:
            path.write_bytes(b"half")
            raise self.fails[uri]
        path.write_bytes(self.objects[uri])


@pytest.fixture
def shelf(monkeypatch):
    found = Shelf()
    monkeypatch.setattr(cache, "store_of", lambda uri: found)
    return found


def in_cache(folder):
    """Bytes of all files in the cache."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def left_over(folder):
    """Whatever is neither an entry nor one of its files."""
    inner = folder / "slidenet-objects"
    return [p for name in ("loading", "pins") for p in (inner / name).iterdir()]


def test_an_object_is_fetched_once_and_keeps_its_name(shelf, tmp_path):
    objects, uri = ObjectCache(tmp_path), shelf.put("x/slide 1.svs", 7)
    for _ in range(2):
        with objects.staged(uri) as path:
            assert path.name == "slide 1.svs"
            assert path.read_bytes() == shelf.objects[uri]
    assert shelf.reads == [uri]
    assert left_over(tmp_path) == []
    assert (tmp_path / "slidenet-objects").stat().st_mode & 0o777 == 0o700


def test_a_replaced_object_is_fetched_anew(shelf, tmp_path):
    objects, uri = ObjectCache(tmp_path), shelf.put("a", 1)
    with objects.staged(uri) as old:
        shelf.put("a", 2)
        with objects.staged(uri) as new:
            assert (old.read_bytes()[0], new.read_bytes()[0]) == (1, 2)


def test_without_a_version_nothing_is_kept(shelf, tmp_path):
    objects, uri, shelf.known = ObjectCache(tmp_path), shelf.put("a", 1), False
    with objects.staged(uri) as path:
        assert path.read_bytes()[0] == 1
        assert objects.prefetch(uri) is None
    shelf.put("a", 2)
    with objects.staged(uri) as path:
        assert path.read_bytes()[0] == 2
    assert in_cache(tmp_path) == 0


def test_the_least_recently_used_gives_way_and_what_is_used_stays(shelf, tmp_path):
    objects = ObjectCache(tmp_path, 3 * COST)
    uris = [shelf.put(name) for name in "abcde"]
    for uri in uris[:3]:
        with objects.staged(uri):
            pass
    with objects.staged(uris[0]), objects.staged(uris[3]):
        assert in_cache(tmp_path) <= 3 * COST
    with objects.staged(uris[4]), objects.staged(uris[0]):
        pass
    assert shelf.reads == [*uris[:4], uris[4]]
    assert in_cache(tmp_path) <= 3 * COST


@pytest.mark.slow
def test_what_is_in_use_is_waited_for(shelf, tmp_path):
    objects = ObjectCache(tmp_path, 2 * COST)
    a, b, c = (shelf.put(name) for name in "abc")
    got = threading.Event()

    def take():
        with objects.staged(c):
            got.set()

    with objects.staged(a):
        with objects.staged(b):
            thread = threading.Thread(target=take)
            thread.start()
            assert not got.wait(0.2)
        assert got.wait(20)
        thread.join()
        assert in_cache(tmp_path) <= 2 * COST
    assert shelf.reads == [a, b, c]


def test_a_slide_larger_than_the_cache_is_refused(shelf, tmp_path):
    with (
        pytest.raises(ObjectStoreError, match="larger --cache-limit"),
        ObjectCache(tmp_path, COST - 1).staged(shelf.put("a")),
    ):
        pass
    objects = ObjectCache(tmp_path, 2 * COST - 1)  # the same work would wait for itself
    with (
        objects.staged(shelf.put("a")),
        pytest.raises(ObjectStoreError, match="in use for the"),
        objects.staged(shelf.put("b")),
    ):
        pass


def test_pins_and_downloads_of_dead_processes_count_no_more(shelf, tmp_path):
    objects = ObjectCache(tmp_path, COST)
    a, b = shelf.put("a"), shelf.put("b")
    with objects.staged(a):
        pass
    inner = tmp_path / "slidenet-objects"
    dead = f"{place_digest()}-{2**22 + 1}-00000000"
    digest = objects.parcel(a).digest
    for end in ("used", "used.waits"):
        (inner / "pins" / f"{digest}.{dead}.123.{end}").touch()
    half = inner / "loading" / f"{'0' * 32}-{COST}.{dead}"
    half.mkdir()
    (half / "x").write_bytes(b"half")
    (inner / "pins" / "mine.txt").touch()
    (inner / "entries" / "mine").mkdir()
    with objects.staged(b) as path:
        assert path.exists()
    assert [one.name for one in left_over(tmp_path)] == ["mine.txt"]
    assert (inner / "entries" / "mine").is_dir()


def test_what_fails_leaves_nothing(shelf, tmp_path):
    objects = ObjectCache(tmp_path)
    uri = shelf.put("a")
    for error in (ObjectAwayError("away"), ObjectReplacedError("new"), DiskError("full")):
        shelf.fails[uri] = error
        with pytest.raises(type(error)), objects.staged(uri):
            pass
        assert left_over(tmp_path) == []
        assert in_cache(tmp_path) == 0
    assert "--cache" in error.remedy
    shelf.fails.clear()
    with objects.staged(uri) as path:
        assert path.read_bytes() == shelf.objects[uri]


def test_a_full_disk_is_said_before_anything_is_fetched(shelf, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=COST - 1)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: usage)
    with (
        pytest.raises(DiskError, match=r"MB left.*--cache"),
        ObjectCache(tmp_path).staged(shelf.put("a")),
    ):
        pass
    assert shelf.reads == []


def test_a_folder_of_another_user_is_refused(shelf, tmp_path, monkeypatch):
    objects, uri = ObjectCache(tmp_path), shelf.put("a")
    (tmp_path / "slidenet-objects").mkdir(mode=0o755)
    with objects.staged(uri):
        assert (tmp_path / "slidenet-objects").stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(room.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(OutputError, match="belongs to another user"), objects.staged(uri):
        pass
    link = tmp_path / "other"
    link.mkdir()
    (link / "slidenet-objects").symlink_to(tmp_path)
    with pytest.raises(OutputError, match="no folder"), ObjectCache(link).staged(uri):
        pass


def test_what_is_wanted_soon_gives_way_last(shelf, tmp_path):
    objects = ObjectCache(tmp_path, 2 * COST)
    a, b, c, d = (shelf.put(name) for name in "abcd")
    wanted = objects.prefetch(a)
    for uri in (b, c):
        with objects.staged(uri):
            pass
    with objects.staged(a):
        pass
    assert shelf.reads == [a, b, c]
    assert objects.prefetch(d) is not None  # in place of c
    with objects.staged(a), objects.staged(b):  # what is needed is stronger than what is wanted
        assert objects.prefetch(c) is None
    assert shelf.reads == [a, b, c, d, b]
    objects.forget(wanted)
    assert in_cache(tmp_path) <= 2 * COST


@pytest.mark.slow
def test_threads_share_one_download_and_stay_below_the_limit(shelf, tmp_path):
    objects, most = ObjectCache(tmp_path, 4 * COST), []
    uris = [shelf.put(str(number)) for number in range(8)]
    errors = []

    def work(number):
        try:
            for uri in uris[number:] + uris[:number]:
                with objects.staged(uri) as path:
                    assert path.stat().st_size == SIZE
                    with CacheRoom(tmp_path, 4 * COST).locked():  # or files move while counted
                        most.append(in_cache(tmp_path))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert max(most) <= 4 * COST


def test_slides_of_several_files_come_with_all_of_them(shelf, tmp_path):
    objects = ObjectCache(tmp_path)
    mirax = shelf.put("m/one.mrxs", 1)
    for name in ("m/one/Slidedat.ini", "m/one/sub/Data1.dat", "m/two.mrxs", "m/onetwo/x"):
        shelf.put(name, 2)
    with objects.staged(mirax) as path:
        found = sorted(str(p.relative_to(path.parent)) for p in path.parent.rglob("*.*"))
        assert found == ["one.mrxs", "one/Slidedat.ini", "one/sub/Data1.dat"]
    dicom = shelf.put("d/b.dcm", 1)
    for name in ("d/a.dcm", "d/c.DCM", "d/notes.txt"):
        shelf.put(name)
    with objects.staged(dicom) as path:
        assert path.name == "b.dcm"
        assert sorted(os.listdir(path.parent)) == ["a.dcm", "b.dcm", "c.DCM"]
    with objects.staged("s3://b/d/") as path:
        assert path.name == "a.dcm"
    index = shelf.put("h/s.vms")
    shelf.objects[index] = b"[Virtual Microscope Specimen]\nImageFile=s-0.jpg\nMap=../x.jpg\n"
    shelf.put("h/s-0.jpg")
    with objects.staged(index) as path:
        assert sorted(os.listdir(path.parent)) == ["s-0.jpg", "s.vms"]


def test_what_cannot_be_staged_is_refused_by_name(shelf, tmp_path):
    objects = ObjectCache(tmp_path)
    shelf.objects |= {"https://host/one.mrxs": b"1", "https://host/d/a.dcm": b"1"}
    for uri, found in {
        shelf.put("alone.mrxs"): "MIRAX slide, and nothing lies in s3://b/alone/",
        "https://host/one.mrxs": "several files of a MIRAX slide, and a web server gives no list",
        "https://host/d/a.dcm": "several files of a DICOM slide",
        shelf.put("x/tiles/1.png") and "s3://b/x/tiles/": "no folder of DICOM files",
        shelf.put("x.dzi"): "DeepZoom pictures are read from disks only",
    }.items():
        with pytest.raises(ObjectStoreError, match=found), objects.staged(uri):
            pass


def test_names_that_no_disk_takes_become_digests(shelf, tmp_path):
    for name in ("x" * 300 + ".svs", "a\\b.svs"):
        with ObjectCache(tmp_path).staged(shelf.put(name)) as path:
            assert path.suffix == ".svs"
            assert path.parent.parent.name == "entries"


def test_sizes():
    assert [parse_size(text) for text in ("50GB", "1.5 tb", "64GiB", 7, "3B")] == [
        50 * 10**9,
        15 * 10**11,
        64 * 2**30,
        7,
        3,
    ]
    for text in ("", "GB", "0", "-1GB", "5 parsec"):
        with pytest.raises(ConfigError, match="cache_limit is"):
            parse_size(text)
    assert cache.default_folder().is_absolute()
    assert isinstance(cache.cache_of(Path("x"), "5GB").limit_bytes, int)


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_copy_that_somebody_took_from_is_fetched_anew(shelf, tmp_path, damage):
    uri, objects = shelf.put("a.svs", 1), ObjectCache(tmp_path, 10 * COST)
    with objects.staged(uri) as path:
        pass
    path.unlink() if damage == "missing" else path.write_bytes(b"1")
    with objects.staged(uri) as path:
        assert path.read_bytes() == shelf.objects[uri]
    assert shelf.reads == [uri, uri]


def test_who_is_killed_while_removing_leaves_no_half(shelf, tmp_path, monkeypatch):
    objects = ObjectCache(tmp_path, COST)
    with objects.staged(shelf.put("a.svs", 1)):
        pass
    gone = shutil.rmtree
    monkeypatch.setattr(room.shutil, "rmtree", lambda path, **_: None)  # killed before it removes
    with objects.staged(shelf.put("b.svs", 2)) as path:
        (entry,) = (tmp_path / "slidenet-objects" / "entries").iterdir()
        assert path.parent == entry
    monkeypatch.setattr(room.shutil, "rmtree", gone)


def test_buckets_of_two_servers_share_no_copy(shelf, tmp_path):
    objects, uri = ObjectCache(tmp_path), shelf.put("a")
    parcel = objects.parcel(uri)
    as_ever = hashlib.blake2b(f"a\t{parcel.objects[0][1].digest}".encode(), digest_size=16)
    assert parcel.digest == as_ever.hexdigest(), "copies from Amazon that are there stay in use"
    with objects.held(parcel) as path:
        ours = path.read_bytes()
    shelf.server, shelf.objects[uri] = "http://minio:9000", ours[:-1] + b"?"
    with objects.staged(uri) as path:  # same name, size and version
        assert path.read_bytes() == shelf.objects[uri]
    assert objects.parcel(uri).version == parcel.version
    shelf.server = "http://elsewhere:9000"  # work from a machine with another endpoint
    shelf.put("a", 1)
    given_out = objects.parcel(uri)
    shelf.server = "http://minio:9000"
    with pytest.raises(ConfigError, match="asked at http://minio:9000"), objects.held(given_out):
        pass


@pytest.fixture
def crowded(shelf, tmp_path):
    """A cache of two slides; one is held by somebody else, who may wait for more."""
    objects, uri = ObjectCache(tmp_path, 2 * COST), shelf.put("theirs")
    with objects.staged(uri):
        pass
    room = CacheRoom(tmp_path, 2 * COST)
    theirs = room.pin(objects.parcel(uri).digest, "used")
    return SimpleNamespace(staged=objects.staged, room=room, theirs=theirs)


@pytest.mark.parametrize("waits", [True, False])
def test_who_holds_something_does_not_wait_for_ever(crowded, shelf, tmp_path, monkeypatch, waits):
    monkeypatch.setattr(waiting, "STUCK_S" if waits else "STILL_S", 0.0)
    if waits:
        crowded.room.mark_waiting(crowded.theirs)
    said = r"no room for s3://b/b.*process \d+ holds.*--cache-limit"
    with (
        crowded.staged(shelf.put("a")),
        pytest.raises(ObjectStoreError, match=said),
        crowded.staged(shelf.put("b")),
    ):
        pass
    assert all(one.name.startswith(crowded.theirs.name) for one in left_over(tmp_path))


def test_who_works_is_waited_for_and_that_is_told_again(crowded, shelf, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(waiting, "STUCK_S", 0.0)
    monkeypatch.setattr(waiting, "TELL_EVERY_S", 0.0)
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            crowded.room.unpin(crowded.theirs)

    monkeypatch.setattr(cache, "sleep", pause)
    with crowded.staged(shelf.put("a")), crowded.staged(shelf.put("b")) as path:
        assert path.is_file()
    told = [record for record in caplog.records if "waiting for room for" in record.message]
    assert [record.levelname for record in told] == ["INFO", "WARNING", "WARNING"]
    assert f"process {os.getpid()} holds 0.06 MB" in told[-1].message
    assert "holds 0.06 MB and waits, too" in told[-1].message


def test_who_gives_up_is_seen_to_give_room(crowded, monkeypatch):
    monkeypatch.setattr(waiting, "STUCK_S", 0.0)
    crowded.room.mark_waiting(crowded.theirs)
    own = crowded.room.pin("0" * 32, "used")
    first = waiting.Waiting(crowded.room, "x", 1, [own])
    with pytest.raises(ObjectStoreError, match="wait for each other"):
        first.look(has_no_room=True)
    waiting.Waiting(crowded.room, "y", 1, [crowded.theirs]).look(has_no_room=True)


def test_of_two_who_wait_for_each_other_one_gives_up(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "STUCK_S", 0.02)
    objects, both_hold = ObjectCache(tmp_path, 2 * COST), threading.Barrier(2)
    ends = []

    def work(own, more):
        with objects.staged(own):
            both_hold.wait(20)
            try:
                with objects.staged(more):
                    ends.append("has both")
            except ObjectStoreError as error:
                ends.append("gave up" if "wait for each other" in str(error) else str(error))

    asked = [[shelf.put(name) for name in names] for names in ("ab", "cd")]
    threads = [threading.Thread(target=work, args=names) for names in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(ends) == ["gave up", "has both"]
    assert left_over(tmp_path) == []
