"""What errors and answers of stores mean, without a store."""

import asyncio
from concurrent.futures import Future

import pytest

from slidenet.core.errors import ObjectReplacedError
from slidenet.stores.objects import store
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
