"""The store of an address: its file system of fsspec, imported when it is asked for."""

import functools
import logging
import os
from typing import Any

from slidenet.core.errors import ConfigError
from slidenet.core.extras import require_extra
from slidenet.stores.objects.others import OtherStore
from slidenet.stores.objects.s3 import S3Store
from slidenet.stores.objects.store import ObjectStore
from slidenet.stores.objects.uri import bucket_and_key, is_uri, provider_of, shown_uri
from slidenet.stores.objects.web import WebStore

CONNECT_S, READ_S = 20, 60
"""A store that is silent for so long is asked again."""

_TALKATIVE = ("botocore", "aiobotocore", "boto3", "s3fs", "fsspec", "gcsfs", "adlfs", "azure",
              "urllib3", "aiohttp", "google")  # fmt: skip
"""Libraries whose debugging messages hold signatures and addresses with their queries."""


def store_of(uri: str) -> ObjectStore:
    """The store that holds an object.

    Credentials come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, ...) or the usual
    files of the provider. Without any, S3 is asked as anybody: public buckets can be read.

    Raises:
        ConfigError: No address of a store.
        MissingExtraError: The package that speaks to it is not installed.
    """
    if not is_uri(uri):
        raise ConfigError(
            f"{uri!r} is no address of a store", expected="s3://, gs://, az:// or https://"
        )
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level < logging.WARNING:
            logger.setLevel(logging.WARNING)
    provider = provider_of(uri)
    if provider == "s3":
        return S3Store(_s3())
    if provider == "gs":
        return OtherStore(_filesystem("gcsfs", "gs", "gs"))
    if provider == "az":
        account = bucket_and_key(uri)[0].partition("@")[2].partition(".")[0]
        named = {"account_name": account} if account else {}
        return OtherStore(_filesystem("adlfs", "az", "abfs", **named))
    return WebStore(_web())


def check_origin(store: ObjectStore, uri: str, origin: str) -> None:
    """Refuses to ask another server than the one that was meant, on another machine perhaps.

    Args:
        store: That this process would ask.
        uri: The address.
        origin: What `ObjectStore.origin` said where the work was given out.

    Raises:
        ConfigError: This process asks another server.
    """
    found = store.origin(uri)
    if found != origin:
        named = "the provider's own server"
        raise ConfigError(
            f"{shown_uri(uri)} is asked at {found or named} by this process",
            expected=f"{origin or named}, as in the process that gave out the work",
            remedy="set the same endpoint (AWS_ENDPOINT_URL, ...) on all machines of a run",
        )


def _filesystem(package: str, extra: str, protocol: str, **settings: Any) -> Any:
    purpose = f"an address that begins with {extra}"
    require_extra(package, extra=extra, purpose=purpose)
    fsspec = require_extra("fsspec", extra=extra, purpose=purpose)
    return fsspec.filesystem(protocol, use_listings_cache=False, **settings)


def _s3() -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    settings: dict[str, Any] = {
        "anon": _is_anybody(frozenset(os.environ.items())),
        "config_kwargs": {
            "connect_timeout": CONNECT_S,
            "read_timeout": READ_S,
            "retries": {"total_max_attempts": 1},  # `ObjectStore` tries again, and says so
        },
    }
    fs = _filesystem("s3fs", "s3", "s3", endpoint_url=endpoint or None, **settings)
    fs.retries = 1
    return fs


@functools.lru_cache(maxsize=8)
def _is_anybody(_: frozenset[tuple[str, str]]) -> bool:
    """Whether there are no credentials of S3; asked anew where the environment has changed."""
    purpose = "an address that begins with s3"
    session = require_extra("botocore.session", extra="s3", purpose=purpose)
    return session.get_session().get_credentials() is None


def _web() -> Any:
    aiohttp = require_extra("aiohttp", extra="http", purpose="a web address")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)
    client = {"timeout": timeout, "trust_env": True}  # proxies of the environment
    return _filesystem("aiohttp", "http", "http", client_kwargs=client)
