"""Google Cloud Storage and Azure, through their file systems of fsspec.

What they have in common is used: facts before and after a download say whether the object is still
the same one.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from slidenet.core.errors import MissingObjectError, ObjectStoreError
from slidenet.stores.objects.facts import ObjectFacts, as_version
from slidenet.stores.objects.store import (
    CutError,
    ObjectStore,
    may_pass,
    missing,
    refused,
    replaced,
)
from slidenet.stores.objects.uri import bucket_and_key, origin_of, provider_of, shown_uri

PART_BYTES = 16 << 20
_OF_GOOGLE = "https://storage.googleapis.com"


class OtherStore(ObjectStore):
    """Objects of a provider that is asked by what all file systems of fsspec know."""

    async def _origin(self, uri: str) -> str:
        if provider_of(uri) == "gs":  # by the environment it may be an emulator
            found = origin_of(str(self.fs._location))
            return "" if found == _OF_GOOGLE else found
        account = bucket_and_key(uri)[0].partition("@")[2].partition(".")[0]
        host = str(self.fs.service_client.primary_hostname).lower()
        return "" if account and host == f"{account}.blob.core.windows.net" else host

    async def _facts(self, uri: str) -> ObjectFacts:
        found = await self._ask(uri, "_info", place_of(uri))
        if found.get("type") != "file":
            raise ObjectStoreError(
                f"{shown_uri(uri)} is no object but a folder of them",
                expected="the address of one object",
                remedy="name the object; of a folder of slides, end the address with a slash",
            )
        return _facts_of(uri, found)

    async def _list(self, prefix: str, recursive: bool) -> Sequence[ObjectFacts]:
        bucket, _ = bucket_and_key(prefix)
        place, scheme = place_of(prefix).rpartition("/")[0], prefix.partition("://")[0]
        try:
            if recursive:
                listed = (await self._ask(prefix, "_find", place, detail=True)).values()
            else:
                listed = await self._ask(prefix, "_ls", place, detail=True)
        except MissingObjectError:
            if "/" in place:
                return []  # a folder is there as soon as there is something in it
            raise
        found = []
        for one in listed:
            is_folder = one.get("type") == "directory"
            name = one["name"].strip("/").partition("/")[2]
            uri = f"{scheme}://{bucket}/{name}" + "/" * is_folder
            if uri.startswith(prefix) and uri != prefix:
                found.append(ObjectFacts(uri, 0, "") if is_folder else _facts_of(uri, one))
        return found

    async def _stream(
        self, uri: str, start: int, facts: ObjectFacts
    ) -> AsyncGenerator[bytes, None]:
        place = place_of(uri)
        while start < facts.size:
            stop = min(start + PART_BYTES, facts.size)
            part = await self._ask(uri, "_cat_file", place, start=start, end=stop)
            if not part:
                break
            yield part
            start += len(part)
        if await self._facts(uri) != facts:
            raise replaced(uri, "its version is another one")

    async def _ask(self, uri: str, method: str, *args: Any, **keywords: Any) -> Any:
        try:
            return await getattr(self.fs, method)(*args, **keywords)
        except FileNotFoundError:
            raise missing(uri) from None
        except PermissionError:
            raise refused(uri) from None
        except Exception as error:  # of several libraries, without a common class
            raise _fault(error, uri) from None


def place_of(uri: str) -> str:
    """Bucket and name as file systems spell them; the account of Azure is a setting of those."""
    bucket, key = bucket_and_key(uri)
    return f"{bucket.partition('@')[0]}/{key}"


def _facts_of(uri: str, found: Any) -> ObjectFacts:
    said = (found.get(name) for name in ("generation", "etag", "ETag", "last_modified", "created"))
    return ObjectFacts(
        uri, int(found.get("size") or 0), as_version(next((s for s in said if s), ""))
    )


def _fault(error: Exception, uri: str) -> Exception:
    name = type(error).__name__
    status = (
        getattr(error, "status", None)
        or getattr(error, "status_code", None)
        or getattr(error, "code", None)
    )
    if str(status) in ("401", "403") or "Auth" in name or "Credential" in name:
        return refused(uri)
    if str(status) == "404":
        return missing(uri)
    if may_pass(error) or str(status) in ("408", "429", "500", "502", "503", "504"):
        return CutError(f"the connection was cut ({name})")
    if type(error).__module__.partition(".")[0] in ("aiohttp", "azure") and "Request" in name:
        return CutError(f"the connection was cut ({name})")
    return ObjectStoreError(
        f"{shown_uri(uri)} cannot be read ({name})",
        expected="an answer of the store",
        remedy="check the address and the credentials",
    )
