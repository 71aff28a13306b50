"""What is known of an output in a bucket by lists."""

import pickle

import pytest

from slidenet.core.errors import ClaimedElsewhere
from slidenet.core.records import SlideRow
from slidenet.pipelines.objects import listing as module
from slidenet.pipelines.objects.listing import Listing
from slidenet.pipelines.objects.publishing import PublishedWork, claim_uri
from slidenet.stores.objects.claims import object_claim
from slidenet.stores.objects.mirror import open_mirror


@pytest.fixture
def mirror(memory_bucket, tmp_path):
    return open_mirror(memory_bucket.uri, tmp_path)


def make(mirror, *names):
    files = [mirror.root / name for name in names]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"made")
    mirror.publish(files)
    return files


def test_a_slide_is_known_by_lists_where_all_its_files_are(mirror, memory_bucket, monkeypatch):
    monkeypatch.setattr(module, "ASKED_ONE_BY_ONE", 1)
    files, heads = make(mirror, "tiles/a.h5", "tissue/a.json"), memory_bucket.heads
    listing = Listing(mirror)
    assert not listing.says_same(files), "few slides are not worth a list"
    assert memory_bucket.lists == 0
    assert listing.says_same(files)
    assert listing.says_same(files)
    assert (memory_bucket.lists, memory_bucket.heads) == (2, heads)
    assert not listing.says_same([*files, mirror.root / "tiles" / "b.h5"])
    assert not listing.says_same([files[0].with_name("*")])
    assert not listing.says_same([])
    files[1].write_bytes(b"made anew")
    assert not listing.says_same(files)


def test_what_others_wrote_is_not_known_by_lists(mirror, memory_bucket, monkeypatch):
    monkeypatch.setattr(module, "ASKED_ONE_BY_ONE", 0)
    files, listing = make(mirror, "tiles/a.h5", "tissue/a.json"), Listing(mirror)
    assert listing.says_same(files)
    listing.was_in_work(files[0])
    assert not listing.says_same(files), "whoever worked on it may be done by now"
    memory_bucket.write(mirror.uri_of(files[1]), b"of others")
    assert not Listing(mirror).says_same(files)
    del memory_bucket.objects[mirror.uri_of(files[1])]
    assert not Listing(mirror).says_same(files)


def test_a_slide_that_others_held_is_asked_for(mirror, monkeypatch):
    files = make(mirror, "tiles/a.h5")

    class Work:
        def claimed(self, row):
            return files[0]

        def files_of(self, row):
            return files

    monkeypatch.setattr(module, "ASKED_ONE_BY_ONE", 0)
    work, row = PublishedWork(Work(), mirror), SlideRow("a", "")
    assert work._listing.says_same(files)
    with (
        object_claim(mirror.putter, claim_uri(mirror, files[0]), "it"),
        pytest.raises(ClaimedElsewhere),
    ):
        work(row, None)
    assert not work._listing.says_same(files)


def test_each_process_lists_for_itself(mirror, memory_bucket):
    (path,) = make(mirror, "tiles/a.h5")
    work = PublishedWork(None, mirror)
    assert work.was_made(path)
    sent = pickle.loads(pickle.dumps(work))
    assert sent == work
    assert sent.was_made(path)
    assert memory_bucket.lists == 2
