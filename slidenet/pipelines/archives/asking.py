"""Questions to the API of an archive: JSON over HTTP, asked again where that may help."""

import errno
import http.client
import json
import logging
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from slidenet.core.checks import refused
from slidenet.core.errors import ArchiveAwayError, ArchiveError
from slidenet.core.escapes import shorten
from slidenet.core.json_text import MAX_BYTES, parse_json
from slidenet.core.provenance import software_version
from slidenet.stores.objects import shown_uri

PAUSES_S = (1.0, 3.0, 9.0)
"""Before each further attempt."""

TIMEOUT_S = 60.0
_WITHOUT = "take a list that the archive's portal wrote, with --portal-file FILE --offline"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NOBODY_THERE = (socket.gaierror, ConnectionRefusedError)
"""Asking again at once changes nothing: no network, or no such server."""

_log = logging.getLogger(__name__)


def check_api(api: str) -> str:
    """The address of an API without a slash at its end.

    Raises:
        ConfigError: It is no web address.
    """
    plain = api.isascii() and api.isprintable() and not {" ", "?", "#"} & set(api)
    try:
        parts = urlsplit(api)
        plain = plain and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        plain = False
    if not plain or parts.scheme not in ("http", "https"):
        expected = "a web address without user and query, such as https://api.example.org"
        raise refused("api", shown_uri(api), expected)
    return api.rstrip("/")


def ask(url: str, question: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What an API answers.

    Args:
        url: Web address, which may be shown.
        question: Sent as JSON by POST; without one the address is read by GET.

    Raises:
        ArchiveAwayError: The archive does not answer.
        ArchiveError: It refuses the question, or answers with something else than a JSON object.
    """
    body = None if question is None else json.dumps(question, allow_nan=False).encode()
    headers = {"Accept": "application/json", "User-Agent": f"slidenet/{software_version()}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    for pause in (*PAUSES_S, None):
        try:
            with urlopen(Request(url, body, headers), timeout=TIMEOUT_S) as answer:
                return _object(answer.read(MAX_BYTES + 1), url)
        except HTTPError as error:
            with error:
                said = _said(error)
            if error.code not in _BUSY:
                raise _refusal(url, error.code, said) from None
            reason = f"HTTP {error.code}{said}"
        except (URLError, http.client.HTTPException, OSError) as error:
            cause = error.reason if isinstance(error, URLError) else error
            reason = _words(cause)
            if isinstance(cause, _NOBODY_THERE):
                pause = None
        if pause is None:
            raise ArchiveAwayError(
                f"{url} does not answer ({reason})",
                expected="a connection to the internet",
                remedy=f"see to network and proxy (HTTPS_PROXY) and run again; or {_WITHOUT}",
            )
        _log.warning("%s: %s; asked again in %g s", url, reason, pause)
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _object(body: bytes, url: str) -> dict[str, Any]:
    try:
        value = parse_json(body)
    except ValueError as error:
        raise _unexpected(url, str(error)) from error
    if not isinstance(value, dict):
        raise _unexpected(url, f"JSON of the kind {type(value).__name__}")
    return value


def entry(answer: Mapping[str, Any], *path: str, kind: type, url: str) -> Any:
    """What lies in an answer at a path.

    Args:
        answer: Of `ask`.
        *path: Names, from outside in.
        kind: What it has to be.
        url: Who answered, for the message.

    Raises:
        ArchiveError: Nothing lies there, or something else.
    """
    value: Any = answer
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise _unexpected(url, f"no {'.'.join(path)}")
    return value


def _unexpected(url: str, found: str) -> ArchiveError:
    return ArchiveError(
        f"{url} answers with something else than its documentation says ({found})",
        expected="the API of the archive as it was in 2026",
        remedy=f"see that --api is right and no login page lies between; or {_WITHOUT}",
    )


def _refusal(url: str, code: int, said: str) -> ArchiveError:
    return ArchiveError(
        f"{url} refuses the question (HTTP {code}{said})",
        expected="a question that it understands",
        remedy=f"check the names given; if they are right, the API has changed, and {_WITHOUT}",
    )


def _said(error: HTTPError) -> str:
    """What a server says beside its code, as far as it is plain words."""
    try:
        found = parse_json(error.read(MAX_BYTES + 1))
    except (ValueError, OSError, http.client.HTTPException):
        return ""
    for name in ("error", "message", "detail"):
        found = found.get(name, found) if isinstance(found, dict) else found
    return f": {shorten(' '.join(found.split()), 200)}" if isinstance(found, str) else ""


def _words(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing for {TIMEOUT_S:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.errno != errno.ECONNRESET else "it ended the connection"
    return shorten(" ".join(str(error).split()), 200) or type(error).__name__
