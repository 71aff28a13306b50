"""What errors and answers of stores mean, without a store."""

import asyncio
from concurrent.futures import Future
from contextlib import asynccontextmanager

import pytest

from slidenet.core.errors import ObjectReplacedError, ObjectStoreError
from slidenet.stores.objects import ObjectFacts, store, web
from slidenet.stores.objects.parcels import parcel_of
from slidenet.stores.objects.s3 import S3Store
from slidenet.stores.objects.store import CutError

URI = "s3://bucket/x"


class Answered(Exception):
    """As botocore says what S3 answered."""

    def __init__(self, status, code):
        super().__init__("secret")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "ServiceUnavailable", CutError),
        (503, "SlowDownRead", CutError),
        (429, "TooManyRequests", CutError),
        (404, "NoSuchUpload", ObjectReplacedError),
        (412, "PreconditionFailed", ObjectReplacedError),
    ],
)
def test_what_an_answer_of_s3_means(status, code, kind):
    fault = S3Store(None)._fault(Answered(status, code), URI, "complete_multipart_upload")
    assert isinstance(fault, kind)
    assert "secret" not in str(fault)


def test_an_answer_that_comes_when_a_wait_ends_is_taken(monkeypatch):
    class Late(Future):
        def result(self, timeout=None):
            if timeout is not None:
                raise TimeoutError  # and in this moment it is done
            return super().result()

    def late(coroutine, loop):
        coroutine.close()
        answer = Late()
        answer.set_result(5)
        return answer

    class Anything:
        loop = None

    monkeypatch.setattr(store.asyncio, "run_coroutine_threadsafe", late)
    assert S3Store(Anything()).wait_for(None) == 5


def test_an_address_in_capitals_is_listed_as_it_was_asked():
    class Pages:
        async def _call_s3(self, method, **asked):
            return {
                "Contents": [{"Key": "out/a", "Size": 1, "ETag": '"e"'}],
                "CommonPrefixes": [{"Prefix": "out/in/"}],
            }

    found = asyncio.run(S3Store(Pages())._list("S3://bucket/out/", recursive=False))
    assert [one.uri for one in found] == ["S3://bucket/out/a", "S3://bucket/out/in/"]


@pytest.mark.parametrize(
    "leads_to",
    [
        "http://169.254.169.254/latest",
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f.0.0.1/x",
        "http://[::ffff:10.0.0.1]/x",
        "http://localhost./x",
        "http://[::1/x",
        "ftp://1.1.1.1/x",
    ],
)
def test_no_server_of_the_world_leads_into_the_network_of_this_machine(leads_to):
    with pytest.raises(ObjectStoreError, match="leads to"):
        asyncio.run(web._redirected("http://8.8.8.8/x", "http://8.8.8.8/x", leads_to))


@pytest.mark.parametrize(
    ("url", "leads_to"),
    [
        ("http://10.0.0.1/x", "http://127.0.0.1/y"),
        ("http://8.8.8.8/x", "http://1.1.1.1/y"),
        ("http://8.8.8.8/x", "/y"),
    ],
)
def test_other_redirects_are_followed(url, leads_to):
    assert asyncio.run(web._redirected(url, url, leads_to)).endswith("/y")


def test_a_number_of_thousands_of_digits_is_no_size():
    assert web._whole("9" * 5000) is None
    assert web._whole("12") == 12


def test_a_part_where_all_was_asked_for_is_no_endless_loop():
    class Part:
        status, headers = 206, {"Content-Length": "3"}

    class Server(web.WebStore):
        @asynccontextmanager
        async def _answer(self, method, uri, headers):
            yield Part

    async def read():
        facts = ObjectFacts("https://host/x", 3, "")
        return [part async for part in Server(None)._stream("https://host/x", 0, facts)]

    with pytest.raises(ObjectStoreError, match="answers with a part"):
        asyncio.run(read())


def test_a_name_that_no_disk_takes_is_told_of_its_slide():
    class Shelf:
        def facts(self, uri):
            return ObjectFacts(uri, 1, "v")

        def list(self, prefix, *, recursive=True):
            return [self.facts(prefix + "a" * 300)]

    with pytest.raises(ObjectStoreError, match="a name that no file can have"):
        parcel_of(Shelf(), "s3://b/slide.mrxs")


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("https://s3.amazonaws.com", ""),
        ("https://s3.eu-central-1.amazonaws.com", ""),
        ("https://s3-us-west-2.amazonaws.com:443/", ""),
        ("https://s3-fips.dualstack.us-gov-west-1.amazonaws.com", ""),
        ("https://s3.cn-north-1.amazonaws.com.cn", ""),
        ("https://bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com", ""),
        (
            "http://s3-mine.us-east-1.elb.amazonaws.com",
            "http://s3-mine.us-east-1.elb.amazonaws.com",
        ),
        ("https://s3.amazonaws.com.evil.org", "https://s3.amazonaws.com.evil.org"),
        ("http://user:SECRET@MinIO.example:9000/", "http://minio.example:9000"),
        ("https://gateway.example/s3/", "https://gateway.example/s3"),
    ],
)
def test_other_servers_than_those_of_amazon_are_named(endpoint, origin):
    class Client:
        class meta:
            endpoint_url = endpoint

    class Anything:
        async def set_session(self):
            return Client

    assert asyncio.run(S3Store(Anything())._origin(URI)) == origin
