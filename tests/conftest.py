"""Fixtures every room shares."""

import gc
import importlib.util
import os
import uuid
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

from slidenet.slides import open_slide
from slidenet.testing.s3_server import s3_server, user_environment

# The same examples every time: a test that fails somewhere fails everywhere.
settings.register_profile("seeded", derandomize=True)
settings.load_profile("seeded")

# What collecting makes stays until the end. Going through it again and again for garbage takes a
# tenth of the time of the tests.
gc.disable()


def pytest_collection_finish():
    """Leaves what is there now out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """Gives it back, or extension modules report it as leaked when the process ends."""
    gc.unfreeze()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real slides and tiles beside the checkout; skips visibly where it is absent."""
    return _folder_or_skip("data")


@pytest.fixture
def flat_slide(tmp_path):
    """Opens a picture uint8 (h, w, 3) as a slide of one level; mpp None leaves it undeclared."""
    opened = []

    def make(image, mpp=1.0):
        path = tmp_path / f"slide{len(opened)}.png"
        Image.fromarray(image).save(path)
        opened.append(open_slide(path, mpp))
        return opened[-1]

    yield make
    for slide in opened:
        slide.close()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference values of the released slide encoder, beside the checkout."""
    return _folder_or_skip("golden")


@pytest.fixture(scope="session")
def moto_server():
    """Address of an S3 server in this process, on a free port; one for the whole session."""
    pytest.importorskip("moto", reason="needs moto[s3,server]")
    with s3_server() as address:
        yield address


class Bucket:
    """A bucket of the S3 server of the tests, filled by another client than slidenet's."""

    def __init__(self, client, name):
        self.client, self.name, self.uri = client, name, f"s3://{name}"

    def put(self, key, body):
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"{self.uri}/{key}"

    def get(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def keys(self):
        found = self.client.list_objects_v2(Bucket=self.name).get("Contents", ())
        return [one["Key"] for one in found]


@pytest.fixture
def s3(moto_server, monkeypatch):
    """The environment of a user of that server, without what this machine has of S3."""
    environment = user_environment(moto_server)
    for name in os.environ.keys() - environment.keys():
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return moto_server


@pytest.fixture
def bucket(s3):
    """A new, empty bucket; `bucket.uri` is its address."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3)
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name)


@pytest.fixture
def memory_bucket(monkeypatch):
    """A bucket in memory, which outputs in buckets are written to."""
    from slidenet.stores.objects import mirror

    spec = importlib.util.spec_from_file_location(
        "memory_bucket", Path(__file__).with_name("memory_bucket.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bucket = module.MemoryBucket()

    def putter_of(_, *, conditions=True):
        return bucket.putter(conditions=conditions)

    mirror._putter.cache_clear()
    monkeypatch.setattr(mirror, "putter_of", putter_of)
    yield bucket
    mirror._putter.cache_clear()


def _folder_or_skip(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{name} beside the checkout")
    return folder
