"""Addresses of objects: what is one, and what of it may be shown and recorded.

The address of a web page may hold a password (`https://user:password@host`) or, in its query, a
signature that lets whoever has it read the object. Neither is ever printed or written: what people,
logs and files see is `shown_uri`.
"""

import re
from pathlib import PurePath
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from slidenet.core.errors import ConfigError

Provider = Literal["s3", "gs", "az", "http"]

PROVIDERS: dict[str, Provider] = {
    "s3": "s3",
    "gs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "http": "http",
    "https": "http",
}
"""Who holds what an address of each scheme names."""

_URI = re.compile(rf"({'|'.join(PROVIDERS)})://", re.IGNORECASE)
_SIGNING = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|expires|key-pair-id|policy"
    r"|s(v|s|rt|p|e|t|pr|r|ig|ip|ks|koid|ktid|kt|ke|kv|duoid)|(access_?)?token|auth.*|api_?key",
    re.IGNORECASE,
)
"""Names in a query that sign it (S3, Google, CloudFront, Azure) and do not say which object."""


def is_uri(text: object) -> bool:
    """Whether a text is the address of an object; everything else is a path."""
    return isinstance(text, str) and _URI.match(text) is not None


def provider_of(uri: str) -> Provider:
    """Who holds it.

    Args:
        uri: An address (`is_uri`).
    """
    found = _URI.match(uri)
    assert found is not None, "asked by is_uri before"
    return PROVIDERS[found[1].lower()]


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Bucket (of Azure: container) and name of an object; the name is taken letter by letter.

    Raises:
        ConfigError: The address names no bucket, or holds a password.
    """
    bucket, _, key = uri.partition("://")[2].partition("/")
    account = provider_of(uri) == "az"  # container@account.dfs.core.windows.net
    signed = provider_of(uri) != "http" and _is_signed(key.partition("?")[2])
    if not bucket or signed or ("@" in bucket and (not account or ":" in bucket)):
        fault = "names a user or password" if "@" in bucket else "names no bucket"
        raise ConfigError(
            f"{shown_uri(uri)} {'bears a signature' if signed else fault}",
            expected=f"{uri.partition('://')[0]}://BUCKET/NAME",
            remedy="give credentials by the environment or the usual files of the provider",
        )
    return bucket, key


def shown_uri(uri: str) -> str:
    """The address without what gives rights: as it is printed, logged and recorded.

    Of a web address user, password, query and fragment are left out; of others a user before the
    bucket. Anything that is no address comes back as it is.
    """
    if not is_uri(uri):
        return uri
    scheme, _, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    if provider_of(uri) == "http":
        authority = re.split(r"[?#]", authority, maxsplit=1)[0]
        path = re.split(r"[?#]", path, maxsplit=1)[0]
        if not re.fullmatch(r"(.*@)?(\[[^\]]*\]|[^:@]*)(:\d*)?", authority):
            return f"{scheme.lower()}://..."  # a password that is cut by a sign of its own
    elif _is_signed(path.partition("?")[2]):  # pasted with its signature, which has no use here
        path = path.partition("?")[0]
    if provider_of(uri) != "az" or ":" in authority.rpartition("@")[0]:
        authority = authority.rpartition("@")[2]
    return f"{scheme.lower()}://{authority}{slash}{path}"


def _is_signed(query: str) -> bool:
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
    return any(re.fullmatch(r"sig|.*signature", name, re.IGNORECASE) for name in names)


def named_uri(uri: str) -> str:
    """The address as far as it says which object is meant: without rights, fit for a digest only.

    What of a query only signs it is left out, so that an address signed anew means the same.
    """
    if provider_of(uri) != "http":
        return shown_uri(uri)
    asked = parse_qsl(urlsplit(uri).query, keep_blank_values=True)
    kept = sorted((name, value) for name, value in asked if not _SIGNING.fullmatch(name))
    return shown_uri(uri) + (f"?{urlencode(kept)}" if kept else "")


def origin_of(endpoint: str) -> str:
    """A server as it stands in names of copies: its address without rights and usual ports.

    Args:
        endpoint: Address that a client asks: `http://minio.example:9000/`.
    """
    parts = urlsplit(endpoint)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return f"{parts.scheme}://{(parts.hostname or '').rstrip('.')}{port}{parts.path.rstrip('/')}"


def name_of_uri(uri: str) -> str:
    """The last part of an address, as the name of a file: `slide.svs`."""
    name = shown_uri(uri).partition("://")[2].partition("/")[2].rstrip("/").rpartition("/")[2]
    return unquote(name) if provider_of(uri) == "http" else name


def name_of_slide(slide_path: str) -> str:
    """The name of the file of a slide, which is given by a path or an address."""
    return name_of_uri(slide_path) if is_uri(slide_path) else PurePath(slide_path).name


def parent_of_uri(uri: str) -> str:
    """The address of the folder an object lies in, ending in a slash; without query."""
    scheme, _, rest = _bare(uri).partition("://")
    bucket, _, key = rest.partition("/")
    folder = key.rstrip("/").rpartition("/")[0]
    return f"{scheme}://{bucket}/" + (f"{folder}/" if folder else "")


def join_uri(folder: str, name: str) -> str:
    """The address of what lies in a folder.

    Args:
        folder: Address of the folder, with or without a slash at its end.
        name: A relative path, or an address, which is taken as it is; `..` goes up.

    Raises:
        ConfigError: The path leads out of the bucket.
    """
    if is_uri(name):
        return name
    scheme, _, rest = _bare(folder).partition("://")
    bucket, _, key = rest.partition("/")
    parts = [part for part in key.split("/") if part]
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise ConfigError(
                    f"{name!r} leads out of {shown_uri(folder)}", expected="a name within it"
                )
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    end = "/" if parts and name.endswith("/") else ""
    return f"{scheme}://{bucket}/{'/'.join(parts)}{end}"


def _bare(uri: str) -> str:
    """Without query and fragment, but with user and password, which hold for neighbours too."""
    if provider_of(uri) != "http":
        return uri
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def uri_of(place: object) -> str | None:
    """The address that a setting holds; None for a path.

    A flag that takes a path has made one of it, which is spelled with one slash (`s3:/bucket`).

    Args:
        place: As it was given: text, path or anything else.
    """
    text = place if isinstance(place, str) else str(place) if isinstance(place, PurePath) else ""
    if is_uri(text):
        return text
    scheme, colon, rest = text.partition(":/")
    restored = f"{scheme}://{rest.lstrip('/')}"
    return restored if colon and is_uri(restored) and not isinstance(place, str) else None
