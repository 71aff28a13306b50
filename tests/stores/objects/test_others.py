"""What is asked of Google and Azure, asked of a file system of fsspec that is at hand."""

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

from slidenet.core.errors import ObjectReplacedError, ObjectStoreError
from slidenet.stores.objects import others
from slidenet.stores.objects.others import OtherStore

BODY = bytes(range(250)) * 10


@pytest.fixture
def store(monkeypatch):
    memory = fsspec.filesystem("memory", skip_instance_cache=True)
    monkeypatch.setattr(others, "PART_BYTES", 1000)
    memory.store.clear()
    memory.pipe("/b/x/one", BODY)
    memory.pipe("/b/x/in/two", b"2")
    yield OtherStore(AsyncFileSystemWrapper(memory))
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
