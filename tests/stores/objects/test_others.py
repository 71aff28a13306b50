"""What is asked of Google and Azure, asked of a file system of fsspec that is at hand."""

from types import SimpleNamespace

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from slidenet.core.errors import ObjectReplacedError, ObjectStoreError
from slidenet.stores.objects import others
from slidenet.stores.objects.others import OtherStore
from slidenet.stores.objects.putting import SMALL_BYTES, PlainPutter, SourceFile

BODY = bytes(range(250)) * 10


@pytest.fixture
def store(monkeypatch):
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    monkeypatch.setattr(others, "PART_BYTES", 1000)
    memory.store.clear()
    memory.pipe("/b/x/one", BODY)
    memory.pipe("/b/x/in/two", b"2")
    wrapped = AsyncFileSystemWrapper(memory)
    wrapped._location = "https://storage.googleapis.com"
    yield OtherStore(wrapped)
    memory.store.clear()


def test_facts_lists_and_copies(store, tmp_path):
    facts = store.facts("gs://b/x/one")
    assert facts.size == len(BODY)
    assert facts.version
    store.read_into("gs://b/x/one", tmp_path / "one", facts)
    assert (tmp_path / "one").read_bytes() == BODY
    every = [(one.uri, one.size) for one in store.list("gs://b/x/")]
    assert every == [("gs://b/x/in/two", 1), ("gs://b/x/one", len(BODY))]
    (one,) = store.list("az://b@account.dfs.core.windows.net/x/o")
    assert one.uri == "az://b@account.dfs.core.windows.net/x/one"
    here = [one.uri for one in store.list("gs://b/x/", recursive=False)]
    assert here == ["gs://b/x/in/", "gs://b/x/one"]


def test_what_is_missing_or_replaced(store, tmp_path):
    for uri, found in {"gs://b/none": "no object", "gs://b/x": "folder of them"}.items():
        with pytest.raises(ObjectStoreError, match=found):
            store.facts(uri)
    facts = store.facts("gs://b/x/one")
    store.fs.sync_fs.pipe("/b/x/one", BODY)
    with pytest.raises(ObjectReplacedError):
        store.read_into("gs://b/x/one", tmp_path / "one", facts)


def test_a_folder_with_nothing_in_it_is_an_empty_list(store):
    for recursive in (True, False):
        assert store.list("gs://b/none/", recursive=recursive) == []


def test_a_file_goes_up_in_pieces_and_again_after_a_cut(store, tmp_path, monkeypatch, no_pauses):
    source, sizes, cuts = SourceFile(tmp_path / "large.h5"), [], [ConnectionResetError()]
    source.path.write_bytes(BODY)
    store.fs.sync_fs.blocksize = 1000

    class Pieces:
        """A file that notes how much of it is read at once."""

        def __init__(self, path, mode):
            self._file = open(path, mode)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def __getattr__(self, name):
            return getattr(self._file, name)

        def read(self, size=-1):
            piece = self._file.read(size)
            sizes.append(len(piece))
            if cuts:
                raise cuts.pop()
            return piece

    monkeypatch.setattr("fsspec.spec.open", Pieces, raising=False)
    monkeypatch.setattr(type(source.path), "read_bytes", None)
    uri = "az://b@account.dfs.core.windows.net/x/large.h5"
    facts = PlainPutter(store).put_proved(uri, source, None)
    assert facts.size == len(BODY)
    assert store.fs.sync_fs.cat("/b/x/large.h5") == BODY
    assert sizes == [1000, 1000, 1000, 500], "the first one was cut"


def test_what_is_no_small_object_is_not_read(store):
    store.fs.sync_fs.pipe("/b/x/claim.json", b"x" * (SMALL_BYTES + 1))
    assert PlainPutter(store).read("gs://b/x/claim.json").content == b""


def test_emulators_and_accounts_are_named(store):
    uri = "az://box/x"
    assert store.origin("gs://b/x") == ""
    store.fs._location = "http://localhost:4443"
    assert store.origin("gs://b/x") == "http://localhost:4443"
    store.fs.service_client = SimpleNamespace(primary_hostname="me.blob.core.windows.net")
    assert store.origin(uri) == "me.blob.core.windows.net"
    assert store.origin("az://box@me.dfs.core.windows.net/x") == ""
    store.fs.service_client.primary_hostname = "127.0.0.1:10000/me"
    assert store.origin("az://box@me.dfs.core.windows.net/x") == "127.0.0.1:10000/me"
