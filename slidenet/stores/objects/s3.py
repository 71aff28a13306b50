"""S3 and what speaks its language, through s3fs."""

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from slidenet.core.errors import ObjectStoreError
from slidenet.core.extras import require_extra
from slidenet.stores.objects.facts import ObjectFacts, as_version
from slidenet.stores.objects.store import (
    CutError,
    ObjectStore,
    may_pass,
    missing,
    refused,
    replaced,
)
from slidenet.stores.objects.uri import bucket_and_key, origin_of, shown_uri

PART_BYTES = 1 << 20
_BUSY = {"SlowDown", "503", "500", "502", "504", "InternalError", "RequestTimeout", "429",
         "ConditionalRequestConflict", "OperationAborted"}  # fmt: skip
_WRITING = {"put_object", "delete_object", "create_multipart_upload", "upload_part",
            "complete_multipart_upload", "abort_multipart_upload"}  # fmt: skip
_GONE = {"404", "NoSuchKey", "NoSuchBucket", "NoSuchVersion"}
_FORBIDDEN = {"403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch",
              "ExpiredToken", "InvalidToken", "AllAccessDisabled", "AccountProblem"}  # fmt: skip
_CHANGED = {"412", "PreconditionFailed", "NoSuchUpload"}
"""Of an upload that is not there any more: its end was answered, and the answer was lost."""
_OF_AMAZON = re.compile(
    r"https?://(s3(-[a-z0-9-]+)?(\.dualstack)?(\.[a-z]+(-[a-z]+)+-\d+)?"
    r"|([a-z]+\.)?vpce-[a-z0-9-]+\.s3\.[a-z0-9-]+\.vpce)\.amazonaws\.com(\.cn)?"
)
"""Amazon's own doors to S3. Names of Amazon are also those of customers' own servers (`.elb.`)."""
_BUSY_STATUS = {408, 429, 500, 502, 503, 504}


class S3Store(ObjectStore):
    """Objects of S3; the version is the etag."""

    supports_conditions = True

    async def _origin(self, uri: str) -> str:
        # The client knows: the endpoint may come from two variables, a profile or its services.
        try:
            client = await self.fs.set_session()
        except Exception as error:  # of several libraries, without a common class
            raise self._fault(error, uri) from None
        found = origin_of(str(client.meta.endpoint_url))
        return "" if _OF_AMAZON.fullmatch(found) else found

    async def _facts(self, uri: str) -> ObjectFacts:
        bucket, key = _object(uri)
        head = await self.call(uri, "head_object", Bucket=bucket, Key=key)
        return ObjectFacts(uri, int(head["ContentLength"]), _etag(head))

    async def _list(self, prefix: str, recursive: bool) -> Sequence[ObjectFacts]:
        bucket, key = bucket_and_key(prefix)
        scheme = prefix.partition("://")[0]  # in the letters in which it is asked
        found, more = list[ObjectFacts](), dict[str, str]()
        folders = {} if recursive else {"Delimiter": "/"}
        while True:
            page = await self.call(
                prefix, "list_objects_v2", Bucket=bucket, Prefix=key, **folders, **more
            )
            for one in page.get("Contents", ()):
                uri = f"{scheme}://{bucket}/{one['Key']}"
                found.append(ObjectFacts(uri, int(one["Size"]), _etag(one)))
            for one in page.get("CommonPrefixes", ()):
                found.append(ObjectFacts(f"{scheme}://{bucket}/{one['Prefix']}", 0, ""))
            if not page.get("IsTruncated"):
                return found
            more = {"ContinuationToken": page["NextContinuationToken"]}

    async def _stream(
        self, uri: str, start: int, facts: ObjectFacts
    ) -> AsyncGenerator[bytes, None]:
        bucket, key = _object(uri)
        same = {"IfMatch": f'"{facts.version}"'} if facts.version else {}
        answer = await self.call(
            uri, "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-", **same
        )
        try:
            if facts.version and _etag(answer) != facts.version:
                raise replaced(uri, "it has another etag")
            while True:
                try:
                    part = await answer["Body"].read(PART_BYTES)
                except Exception as error:
                    raise self._fault(error, uri) from None
                if not part:
                    return
                yield part
        finally:
            answer["Body"].close()

    async def call(self, uri: str, method: str, **keywords: Any) -> Any:
        """One request, with errors as this package says them.

        Args:
            uri: What it is about, for messages.
            method: Of a client of boto: `head_object`.
            **keywords: Of the method.

        Raises:
            CutError: Worth another try.
            ObjectReplacedError: A condition does not hold.
            ObjectStoreError: There is no such object, or no right.
        """
        try:
            return await self.fs._call_s3(method, **keywords)
        except Exception as error:  # of several libraries, without a common class
            fault = self._fault(error, uri, method)
            if method != "list_objects_v2" and code_of(error) in _GONE:
                fault = await self._what_is_missing(uri)
            raise fault from None

    async def body(self, uri: str, answer: Any, most: int) -> bytes:
        """What an answer holds; b"" where that is more than `most` bytes.

        Raises:
            CutError: The connection was cut.
        """
        try:
            if int(answer["ContentLength"]) > most:
                return b""
            return bytes(await answer["Body"].read())
        except Exception as error:
            raise self._fault(error, uri) from None
        finally:
            answer["Body"].close()

    async def _what_is_missing(self, uri: str) -> Exception:
        """A HEAD does not say whether it is the object or its bucket."""
        bucket, key = bucket_and_key(uri)
        try:
            folder = f"{key.rstrip('/')}/"
            page = await self.fs._call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=folder, MaxKeys=1
            )
        except Exception as error:
            code = code_of(error)
            return missing(f"s3://{bucket}", "bucket") if code in _GONE else missing(uri)
        if page.get("KeyCount"):
            return ObjectStoreError(
                f"{shown_uri(uri)} is no object but a folder of them",
                expected="the address of one object",
                remedy="name the object; of a folder of slides, end the address with a slash",
            )
        return missing(uri)

    def _fault(self, error: Exception, uri: str, method: str = "get_object") -> Exception:
        """What an error of the libraries means; their words may hold secrets and stay behind."""
        code = code_of(error)
        if code in _CHANGED:
            return replaced(uri, "it has another etag")
        if code in _BUSY or _status_of(error) in _BUSY_STATUS:
            return CutError(f"the store is busy ({code})")
        if code in _FORBIDDEN or isinstance(error, PermissionError):
            doing = "listed" if method == "list_objects_v2" else "read"
            return refused(uri, "written" if method in _WRITING else doing)
        if code in _GONE or isinstance(error, FileNotFoundError):
            bucket, _ = bucket_and_key(uri)
            return missing(f"s3://{bucket}", "bucket")
        if code == "416":
            return replaced(uri, "it is shorter now")
        name = type(error).__name__
        if code is None and (may_pass(error) or _is_of_network(error)):
            return CutError(f"the connection was cut ({name})")
        if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError"):
            return refused(uri)
        return ObjectStoreError(
            f"{shown_uri(uri)} cannot be read ({name}{f' {code}' if code else ''})",
            expected="an answer of S3",
            remedy="check the address, the region and AWS_ENDPOINT_URL",
        )


def _object(uri: str) -> tuple[str, str]:
    bucket, key = bucket_and_key(uri)
    if not key:
        raise ObjectStoreError(
            f"{shown_uri(uri)} names a bucket and no object", expected="s3://BUCKET/NAME"
        )
    return bucket, key


def _etag(answer: Any) -> str:
    return as_version(str(answer.get("ETag") or "").strip('"'))


def code_of(error: BaseException | None) -> str | None:
    """The code of S3 behind an error of s3fs; None where S3 has not answered."""
    said = _said(error)
    return None if said is None else str(said["Error"].get("Code"))


def _status_of(error: BaseException) -> object:
    """The status of HTTP, which lookalikes of S3 keep to where their codes are their own."""
    said = _said(error) or {}
    about = said.get("ResponseMetadata")
    return about.get("HTTPStatusCode") if isinstance(about, dict) else None


def _said(error: BaseException | None) -> dict[str, Any] | None:
    while error is not None:
        answer = getattr(error, "response", None)
        if isinstance(answer, dict) and isinstance(answer.get("Error"), dict):
            return answer
        error = error.__cause__
    return None


def _is_of_network(error: BaseException) -> bool:
    botocore = require_extra("botocore.exceptions", extra="s3", purpose="s3:// addresses")
    aiohttp = require_extra("aiohttp", extra="s3", purpose="s3:// addresses")
    kinds = (
        botocore.HTTPClientError,
        botocore.IncompleteReadError,
        botocore.ResponseStreamingError,
        botocore.ConnectionError,
        aiohttp.ClientError,
    )
    return isinstance(error, kinds)
