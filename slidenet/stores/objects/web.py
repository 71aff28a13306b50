"""Web servers, through the file system of fsspec that speaks HTTP.

Servers differ: some know no ranges, some refuse HEAD (signed addresses are for GET alone), some say
no etag, and any of them may lead elsewhere. Redirects are followed by hand: to web servers only,
never from https to http, and from the world never to this machine or its network.
"""

import asyncio
import ipaddress
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

from slidenet.core.errors import ObjectStoreError
from slidenet.core.extras import require_extra
from slidenet.stores.objects.facts import ObjectFacts, as_version
from slidenet.stores.objects.store import (
    CutError,
    NoRangeError,
    ObjectStore,
    may_pass,
    missing,
    refused,
    replaced,
)
from slidenet.stores.objects.uri import shown_uri

PART_BYTES = 1 << 20
_MOST_REDIRECTS, _MOST_DIGITS = 10, 18
_MOVED = {301, 302, 303, 307, 308}
_BUSY = {408, 425, 429, 500, 502, 503, 504, 522, 524}


class WebStore(ObjectStore):
    """What web servers hand out; the version is etag, time of the last change and size."""

    async def _facts(self, uri: str) -> ObjectFacts:
        async with self._answer("HEAD", uri, {}) as answer:
            if answer.status == 200 and _size(answer):
                return _facts_of(uri, answer, _size(answer))
        # Signed addresses refuse HEAD, and some servers answer it without a length, or with 0.
        async with self._answer("GET", uri, {"Range": "bytes=0-0"}) as answer:
            if answer.status == 416:  # of an empty file there is no first byte
                return _facts_of(uri, answer, 0)
            _refuse(answer, uri)
            size = _size(answer) if answer.status == 200 else _whole_size(answer)
            return _facts_of(uri, answer, size)

    async def _list(self, prefix: str, recursive: bool) -> Sequence[ObjectFacts]:
        raise ObjectStoreError(
            f"{shown_uri(prefix)} is a web address, and web servers give no lists of their files",
            expected="the address of one file",
            remedy="write a slides.csv with a column slide_path that names each slide",
        )

    async def _stream(
        self, uri: str, start: int, facts: ObjectFacts
    ) -> AsyncGenerator[bytes, None]:
        asked = {"Range": f"bytes={start}-"} if start else {}
        async with self._answer("GET", uri, asked) as answer:
            if answer.status == 416:
                raise replaced(uri, "it is shorter now")
            _refuse(answer, uri)
            if start and answer.status != 206:
                raise NoRangeError
            size = _whole_size(answer) if answer.status == 206 else _size(answer)
            found = _facts_of(uri, answer, facts.size if size is None else size)
            if found != facts:
                raise replaced(uri, "size, etag or time of change is another one")
            if answer.status == 206 and _begins_at(answer) != start:
                if start:
                    raise NoRangeError
                raise ObjectStoreError(  # asking the same once more would go on forever
                    f"the server of {shown_uri(uri)} answers with a part, and all was asked for",
                    expected="the whole file, from its first byte",
                    remedy="download it by hand and name the file",
                )
            while True:
                try:
                    part = await answer.content.read(PART_BYTES)
                except Exception as error:
                    raise self._fault(error, uri) from None
                if not part:
                    return
                yield part

    @asynccontextmanager
    async def _answer(
        self, method: str, uri: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Any]:
        """The answer to a request, after redirects."""
        yarl = require_extra("yarl", extra="http", purpose="web addresses")
        session = await self.fs.set_session()
        sent = {"Accept-Encoding": "identity", **headers}
        url = uri
        for _ in range(_MOST_REDIRECTS):
            try:
                plain = url.isascii() and url.isprintable() and " " not in url
                target = yarl.URL(url, encoded=plain)
                answer = await session.request(method, target, headers=sent, allow_redirects=False)
            except Exception as error:
                raise self._fault(error, uri) from None
            leads_to = answer.headers.get("Location")
            if answer.status not in _MOVED or not leads_to:
                async with answer:
                    yield answer
                return
            answer.close()
            url = await _redirected(uri, url, leads_to)
        raise ObjectStoreError(
            f"{shown_uri(uri)} leads in circles ({_MOST_REDIRECTS} redirects)",
            expected="a file",
            remedy="open the address in a browser and take where it ends",
        )

    def _fault(self, error: Exception, uri: str) -> Exception:
        """What an error of the libraries means; their words hold the whole address."""
        aiohttp = require_extra("aiohttp", extra="http", purpose="web addresses")
        name = type(error).__name__
        if isinstance(error, aiohttp.ClientSSLError | aiohttp.ClientConnectorCertificateError):
            return ObjectStoreError(
                f"{shown_uri(uri)} cannot be trusted ({name})",
                expected="a server with a certificate this machine trusts",
                remedy="check the address; of a server of your own, name its certificate by "
                "SSL_CERT_FILE",
            )
        if isinstance(error, aiohttp.InvalidURL | ValueError):
            return ObjectStoreError(
                f"{shown_uri(uri)} is no web address", expected="https://HOST/NAME"
            )
        if may_pass(error) or isinstance(error, aiohttp.ClientError | OSError):
            return CutError(f"the connection was cut ({name})")
        return error


async def _redirected(uri: str, url: str, leads_to: str) -> str:
    """Where a redirect leads, where that is a place to go."""
    why = ""
    try:
        target = urljoin(url, leads_to)
        old, new = urlsplit(url), urlsplit(target)
    except ValueError:
        why = "to what is no address"
    else:
        if new.scheme not in ("http", "https"):
            why = f"to {new.scheme or 'nothing'}:, which is no web address"
        elif (old.scheme, new.scheme) == ("https", "http"):
            why = "from https to http, where anybody on the way may change it"
        elif await _is_near(new.hostname) and not await _is_near(old.hostname):
            why = f"to {new.hostname}, which lies in the network of this machine"
    if why:
        raise ObjectStoreError(
            f"{shown_uri(uri)} leads {why}",
            expected="a file of a web server",
            remedy="name the place itself, if you trust it",
        )
    return target


async def _is_near(host: str | None) -> bool:
    """Whether a host, by whatever name or number, is this machine or lies in its network."""
    name = (host or "").rstrip(".")
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False  # nobody here knows the name; a proxy may
    return any(_is_local(str(address[0])) for *_, address in found)


def _is_local(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    return not (getattr(number, "ipv4_mapped", None) or number).is_global


def _refuse(answer: Any, uri: str) -> None:
    """Raises for answers that are no file."""
    if answer.status in (401, 402, 403, 407, 451):
        raise refused(uri)
    if answer.status in (404, 410):
        raise missing(uri, "file")
    if answer.status in _BUSY:
        raise CutError(f"the server is busy ({answer.status})")
    if answer.status not in (200, 206):
        raise ObjectStoreError(
            f"{shown_uri(uri)} cannot be read (the server answers {answer.status})",
            expected="200",
            remedy="open the address in a browser",
        )
    if answer.headers.get("Content-Encoding", "identity") not in ("", "identity"):
        raise ObjectStoreError(
            f"{shown_uri(uri)} comes compressed for its way, though that was not asked for",
            expected="the bytes of the file",
            remedy="tell the server or proxy to leave slides as they are",
        )


def _facts_of(uri: str, answer: Any, size: int | None) -> ObjectFacts:
    if size is None:
        raise ObjectStoreError(
            f"the server does not say how long {shown_uri(uri)} is",
            expected="a Content-Length",
            remedy="download it by hand and name the file",
        )
    etag, changed = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    return ObjectFacts(
        uri, size, as_version(etag, changed, f"{size} bytes" if etag or changed else "")
    )


def _size(answer: Any) -> int | None:
    text = answer.headers.get("Content-Length", "")
    return _whole(text)


def _whole_size(answer: Any) -> int | None:
    """Of `Content-Range: bytes 0-0/1234`."""
    text = answer.headers.get("Content-Range", "").rpartition("/")[2].strip()
    return _whole(text)


def _begins_at(answer: Any) -> int | None:
    text = answer.headers.get("Content-Range", "").removeprefix("bytes").strip().partition("-")[0]
    return _whole(text)


def _whole(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None
