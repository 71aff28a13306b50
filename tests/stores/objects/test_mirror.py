import hashlib
import os
import stat

import pytest

from slidenet.core.errors import ConfigError, ObjectReplacedError, OutputError
from slidenet.stores.objects import mirror as module
from slidenet.stores.objects.mirror import as_published, open_mirror

URI = "s3://bucket/out/"


@pytest.fixture
def here(memory_bucket, tmp_path):
    return open_mirror(URI, tmp_path / "here")


@pytest.fixture
def elsewhere(memory_bucket, tmp_path):
    return open_mirror(URI.rstrip("/"), tmp_path / "elsewhere")


def make(mirror, content, name="tiles/a.h5"):
    path = mirror.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_what_is_made_here_is_there_elsewhere(here, elsewhere, memory_bucket):
    path = make(here, b"tiles")
    assert here.publish([path, here.root / "tiles" / "missing.h5"]) == 1
    assert memory_bucket.names() == ["tiles/a.h5"]
    assert here.publish([path]) == 0
    there = elsewhere.root / "tiles" / "a.h5"
    elsewhere.fetch([there, elsewhere.root / "tiles" / "missing.h5"])
    assert there.read_bytes() == b"tiles"
    elsewhere.fetch([there])
    assert memory_bucket.reads == 1, "the same version is fetched once"
    assert elsewhere.publish([there]) == 0


def test_a_name_that_ends_in_a_star_is_all_that_begin_so(here, elsewhere):
    for name in ("csv/a.csv", "csv/a.png", "csv/b.csv", "csv/.a.tmp", "csv/more/a.csv"):
        make(here, name.encode(), name)
    assert here.publish([here.root / "csv" / "a.*"]) == 2
    assert here.publish([here.root / "csv" / "*"]) == 1
    elsewhere.fetch([elsewhere.root / "csv" / "a.*"])
    assert sorted(os.listdir(elsewhere.root / "csv")) == ["a.csv", "a.png"]


def test_many_files_are_fetched_at_once(here, elsewhere):
    names = [f"tissue/{number}.json" for number in range(20)]
    here.publish([make(here, name.encode(), name) for name in names])
    elsewhere.fetch([elsewhere.root / "tissue" / "*"])
    assert all((elsewhere.root / name).read_bytes() == name.encode() for name in names)


def test_a_file_made_anew_replaces_the_version_that_was_seen(here, elsewhere, memory_bucket):
    here.publish([make(here, b"old")])
    there = elsewhere.root / "tiles" / "a.h5"
    elsewhere.fetch([there])
    there.write_bytes(b"new of elsewhere")
    elsewhere.fetch([there])  # not published yet: what was made here stays
    assert there.read_bytes() == b"new of elsewhere"
    assert elsewhere.publish([there]) == 1
    here.fetch([here.root / "tiles" / "a.h5"])
    assert (here.root / "tiles" / "a.h5").read_bytes() == b"new of elsewhere"


def test_the_bucket_is_the_truth(here, memory_bucket):
    path = make(here, b"tiles")
    here.publish([path])
    memory_bucket.write(f"{URI}tiles/a.h5", b"of somebody else")
    here.fetch([path])
    assert path.read_bytes() == b"of somebody else"
    del memory_bucket.objects[f"{URI}tiles/a.h5"]
    here.fetch([path])
    assert not path.exists(), "what is removed from the bucket is made again"
    path.write_bytes(b"made and not published")
    here.fetch([path])
    assert path.read_bytes() == b"made and not published"


def test_a_kill_between_writing_and_the_note_costs_no_download(here, memory_bucket):
    path = make(here, b"tiles")
    memory_bucket.write(f"{URI}tiles/a.h5", b"tiles")
    here.fetch([path])
    assert memory_bucket.reads == 0
    assert here.is_published(path)
    memory_bucket.keeps_checksums = False
    other = make(here, b"other", "tiles/b.h5")
    memory_bucket.write(f"{URI}tiles/b.h5", b"bytes")
    here.fetch([other])
    assert other.read_bytes() == b"bytes"


def test_equal_bytes_of_another_writer_are_well_and_others_are_named(here, memory_bucket):
    uri = f"{URI}tiles/a.h5"
    path = make(here, b"ours")
    memory_bucket.before_put = lambda _: memory_bucket.objects.setdefault(uri, (b"ours", "v0"))
    memory_bucket.puts = 0
    assert here.publish([path]) == 1
    assert memory_bucket.puts == 0
    path.write_bytes(b"made anew")
    memory_bucket.before_put = lambda _: memory_bucket.write(uri, b"theirs")
    with pytest.raises(ObjectReplacedError) as error:
        here.publish([path])
    assert "s3://bucket/out/tiles/a.h5 was written by another writer (6 bytes" in str(error.value)
    assert "not what was made here (9 bytes, sha256 " in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_that_holds_other_bytes_than_were_sent_is_found_out(here, memory_bucket):
    put = memory_bucket.write
    memory_bucket.write = lambda uri, content: put(uri, content[:-1] + b"?")
    with pytest.raises(ObjectReplacedError, match="does not hold what was sent"):
        here.publish([make(here, b"tiles")])


def test_without_a_checksum_it_is_read_again(here, memory_bucket):
    memory_bucket.keeps_checksums = False
    assert here.publish([make(here, b"tiles")]) == 1
    assert memory_bucket.reads == 1
    assert [p.name for p in here.root.joinpath("tiles").iterdir()] == ["a.h5"]


def test_of_views_the_last_one_wins(here, elsewhere, memory_bucket):
    here.publish_view(make(here, b"one", "run.json"))
    elsewhere.publish_view(make(elsewhere, b"two", "run.json"))
    assert memory_bucket.objects[f"{URI}run.json"][0] == b"two"
    tries = iter([b"three", b"four"])
    memory_bucket.before_put = lambda uri: [memory_bucket.write(uri, c) for c in [*tries][:1]]
    here.publish_view(make(here, b"five", "run.json"))
    assert memory_bucket.objects[f"{URI}run.json"][0] == b"five"


def test_a_store_without_conditions_is_asked_before(memory_bucket, tmp_path):
    memory_bucket.supports_conditions = False
    mirror = open_mirror(URI, tmp_path)
    assert not mirror.conditions
    mirror.publish([make(mirror, b"ours")])
    memory_bucket.write(f"{URI}tiles/b.h5", b"theirs")
    with pytest.raises(ObjectReplacedError, match="another writer"):
        mirror.publish([make(mirror, b"ours, too", "tiles/b.h5")])


def test_the_folder_is_private_and_nobody_elses(memory_bucket, here, tmp_path):
    assert stat.S_IMODE(here.root.stat().st_mode) == 0o700
    assert memory_bucket.names() == [], "the probe is gone"
    cache = tmp_path / "foreign"
    cache.mkdir()
    (cache / module.FOLDER).symlink_to(tmp_path)
    with pytest.raises(OutputError, match="no folder of yours"):
        open_mirror(URI, cache)


def test_files_are_shown_as_the_objects_they_stand_for(here):
    assert as_published(f"in {here.root}/run.json") == "in s3://bucket/out/run.json"


def test_a_file_made_anew_while_the_older_one_goes_up_is_published_too(here, memory_bucket):
    path = make(here, b"old", "run.json")
    checksum = type(here.putter).checksum
    mirror_putter = here.putter

    def and_then(uri):
        found = checksum(mirror_putter, uri)
        make(here, b"newer", "run.json.new").replace(path)
        return found

    mirror_putter.checksum = and_then
    here.publish_view(path)
    del mirror_putter.checksum
    assert not here.is_published(path)
    here.publish_view(path)
    assert memory_bucket.objects[URI + "run.json"][0] == b"newer"


def test_a_list_older_than_a_file_removes_nothing(here):
    path = make(here, b"x", "runs/mine.json")
    here.publish([path])
    here.fetch_file(path, None)  # by a list from before
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize("uri", ["S3://bucket//out", "s3://bucket/out//", "s3://bucket/out"])
def test_one_output_has_one_name(memory_bucket, tmp_path, here, uri):
    assert open_mirror(uri, tmp_path / "here") == here


def test_buckets_of_two_servers_have_folders_of_their_own(memory_bucket, here, tmp_path):
    as_ever = hashlib.blake2b(URI.encode(), digest_size=16).hexdigest()
    assert here.root.name == as_ever, "folders for Amazon that are there stay in use"
    path = make(here, b"made for Amazon")
    memory_bucket.server = "http://minio:9000"
    other = open_mirror(URI, tmp_path / "here")
    assert other.root != here.root
    assert other.publish([other.root / "tiles" / "a.h5"]) == 0
    with pytest.raises(ConfigError, match=r"s3://bucket/out/ is asked at http://minio:9000"):
        here.publish([path])
    assert memory_bucket.names() == []
