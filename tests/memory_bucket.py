"""A bucket in memory, for tests of what is written into buckets, and how."""

import hashlib
import itertools
from base64 import b64encode

from slidenet.core.errors import MissingObjectError, ObjectReplacedError
from slidenet.stores.objects.facts import ObjectFacts
from slidenet.stores.objects.putting import Putter, SmallObject, SourceFile

URI = "s3://bucket/out/"


class MemoryBucket:
    """Objects as (content, version) by address; counts what is asked of it."""

    supports_conditions = True
    uri = URI
    server = ""

    def putter(self, **settings):
        """Who writes into it."""
        return MemoryPutter(self, **settings)

    def __init__(self):
        self.objects = {}
        self.reads = self.puts = self.heads = self.lists = 0
        self.ages = {}
        self.before_put = lambda uri: None
        self.keeps_checksums = True
        self._versions = itertools.count(1)

    def write(self, uri, content):
        self.objects[uri] = content, f"v{next(self._versions)}"
        return self.objects[uri][1]

    def origin(self, uri):
        return self.server

    def facts(self, uri):
        self.heads += 1
        if uri not in self.objects:
            raise MissingObjectError(f"there is no object {uri}")
        content, version = self.objects[uri]
        return ObjectFacts(uri, len(content), version)

    def list(self, prefix, *, recursive=True):
        self.lists += 1
        heads = self.heads
        names = {uri for uri in self.objects if uri.startswith(prefix)}
        if not recursive:
            names = {prefix + _first(uri.removeprefix(prefix)) for uri in names}
        every = [ObjectFacts(n, 0, "") if n.endswith("/") else self.facts(n) for n in sorted(names)]
        self.heads = heads
        return every

    def read_into(self, uri, path, facts):
        self.reads += 1
        content, version = self.objects[uri]
        assert version == facts.version
        path.write_bytes(content)

    def names(self):
        """Names of all objects in the output."""
        return sorted(uri.removeprefix(URI) for uri in self.objects)


def _first(name):
    head, slash, _ = name.partition("/")
    return head + slash


class MemoryPutter(Putter):
    """Writes into a `MemoryBucket`."""

    def _put(self, uri, source, expected):
        self.store.before_put(uri)
        version = self.store.objects.get(uri, (b"", None))[1]
        if self.conditions and version != expected:
            raise ObjectReplacedError(f"{uri} is another one")
        self.store.puts += 1
        content = source.path.read_bytes() if isinstance(source, SourceFile) else source
        return self.store.write(uri, content)

    def read(self, uri):
        if uri not in self.store.objects:
            return None
        content, version = self.store.objects[uri]
        return SmallObject(content, version, self.store.ages.get(uri, 0.0))

    def remove(self, uri):
        self.store.objects.pop(uri, None)

    def checksum(self, uri):
        facts = self.store.facts(uri)
        digest = hashlib.sha256(self.store.objects[uri][0]).digest()
        return facts, b64encode(digest).decode() if self.store.keeps_checksums else ""
