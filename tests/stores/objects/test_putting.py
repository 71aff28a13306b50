import pytest

from slidenet.core.errors import MissingObjectError, ObjectReplacedError
from slidenet.stores.objects import putting
from slidenet.stores.objects.putting import SourceFile, putter_of

pytestmark = pytest.mark.slow

MIB = 1 << 20


@pytest.fixture
def source(tmp_path):
    """A file that goes up in one piece."""
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(range(256)) * 1000)
    return SourceFile(path)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file that goes up in three parts."""
    monkeypatch.setattr(putting, "ONE_PIECE_BYTES", 8 * MIB)
    monkeypatch.setattr(putting, "PART_BYTES", 5 * MIB)
    path = tmp_path / "large.h5"
    path.write_bytes(bytes(range(256)) * (12 * MIB // 256))
    return SourceFile(path)


@pytest.mark.parametrize("size", ["source", "large"])
def test_what_was_put_is_proved_by_the_checksum_of_the_store(bucket, request, size, monkeypatch):
    source, uri = request.getfixturevalue(size), f"{bucket.uri}/x/a b#?.h5"
    putter = putter_of(uri)
    read = []
    monkeypatch.setattr(putter.store, "read_into", lambda *args: read.append(args))
    facts = putter.put_proved(uri, source, None)
    assert bucket.get("x/a b#?.h5") == source.path.read_bytes()
    assert putter.facts(uri) == facts
    assert not read, "S3 keeps a digest of the content, of parts too"
    assert putter.put_proved(uri, source, None) == facts, "equal bytes of another writer"
    bucket.put("x/a b#?.h5", b"other")
    with pytest.raises(ObjectReplacedError, match="another writer"):
        putter.put_proved(uri, source, None)
    if size == "source":  # moto keeps no If-Match for parts
        with pytest.raises(ObjectReplacedError, match="another writer"):
            putter.put_proved(uri, source, facts.version)
        putter.put_proved(uri, source, putter.facts(uri).version)
        assert bucket.get("x/a b#?.h5") == source.path.read_bytes()


def test_an_object_put_without_a_digest_is_read_again(bucket, source):
    uri = bucket.put("a.h5", source.path.read_bytes())
    client, name = bucket.client, bucket.name
    head = client.head_object(Bucket=name, Key="a.h5", ChecksumMode="ENABLED")
    assert "ChecksumSHA256" not in head
    assert putter_of(uri).put_proved(uri, source, None).size == source.size


def test_conditions_are_tried_out(bucket):
    putter = putter_of(bucket.uri)
    assert putter.keeps_conditions(f"{bucket.uri}/out/")
    assert not bucket.keys()
    with pytest.raises(MissingObjectError, match="there is no bucket s3://no-such"):
        putter.keeps_conditions("s3://no-such-bucket-here/out/")


def test_small_objects_have_an_age_by_the_clock_of_the_store(bucket):
    uri = bucket.put("claim.json", b"{}")
    found = putter_of(uri).read(uri)
    assert found.content == b"{}"
    assert 0 <= found.age_s < 60
    assert putter_of(uri).read(f"{bucket.uri}/missing") is None
