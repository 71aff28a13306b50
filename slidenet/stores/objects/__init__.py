"""Objects of S3, Google, Azure and web servers: addresses, facts, and copies on this machine."""

from slidenet.stores.objects.cache import ObjectCache, cache_of
from slidenet.stores.objects.facts import ObjectFacts
from slidenet.stores.objects.opening import store_of
from slidenet.stores.objects.store import ObjectStore
from slidenet.stores.objects.uri import (
    is_uri,
    join_uri,
    name_of_slide,
    name_of_uri,
    parent_of_uri,
    shown_uri,
    uri_of,
)

__all__ = [
    "ObjectCache",
    "ObjectFacts",
    "ObjectStore",
    "cache_of",
    "is_uri",
    "join_uri",
    "name_of_slide",
    "name_of_uri",
    "parent_of_uri",
    "shown_uri",
    "store_of",
    "uri_of",
]
