"""Objects written so that nobody's work is lost, and proved to hold what was sent.

An object is written only where none is, or only over the version that was seen (`If-None-Match`,
`If-Match`). A connection that is cut is tried again; that the first try had gone through after all
shows by its content, as does another writer's equal result. An etag is no digest: what the store
holds is compared by the SHA-256 it keeps of the content, or read again.
"""

import base64
import hashlib
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from slidenet.core.errors import (
    ConfigError,
    MissingObjectError,
    ObjectReplacedError,
    SlidenetError,
)
from slidenet.stores.objects.facts import ObjectFacts, as_version
from slidenet.stores.objects.opening import store_of
from slidenet.stores.objects.others import place_of
from slidenet.stores.objects.s3 import S3Store
from slidenet.stores.objects.store import ObjectStore
from slidenet.stores.objects.uri import bucket_and_key, join_uri, provider_of, shown_uri
from slidenet.stores.owners import new_token
from slidenet.stores.temporary import temporary_path

PART_BYTES = 32 << 20
ONE_PIECE_BYTES = 64 << 20
"""Larger files go up in parts, each of which is tried again by itself."""
SMALL_BYTES = 1 << 20
"""Of a larger object nothing is read where a small one is expected."""


@dataclass(frozen=True)
class SourceFile:
    """A file that goes up, with its digests; it must not change meanwhile.

    Attributes:
        path: The file.
    """

    path: Path

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @property
    def in_parts(self) -> bool:
        """Whether it goes up in parts."""
        return self.size > ONE_PIECE_BYTES

    @cached_property
    def sha256(self) -> bytes:
        """Of the whole content."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()

    @cached_property
    def part_digests(self) -> tuple[bytes, ...]:
        """Of each part."""
        with self.path.open("rb") as file:
            parts = iter(lambda: file.read(PART_BYTES), b"")
            return tuple(hashlib.sha256(part).digest() for part in parts)

    def agrees(self, checksum: str) -> bool:
        """Whether a store's SHA-256 is that of this file: of the whole, or of its parts' digests.

        Args:
            checksum: Base 64, with the number of parts behind a dash where it is of parts.
        """
        digest, dash, _ = checksum.partition("-")
        if not dash and digest == _text(self.sha256):
            return True
        return digest == _text(hashlib.sha256(b"".join(self.part_digests)).digest())


@dataclass(frozen=True, slots=True)
class SmallObject:
    """An object that was read as a whole.

    Attributes:
        content: Its bytes.
        version: As in `ObjectFacts`.
        age_s: How long ago it was written, by the clock of the store; None where it does not say.
    """

    content: bytes
    version: str
    age_s: float | None


class Putter(ABC):
    """Writes objects of one store; made by `putter_of`.

    Args:
        store: The store.
        conditions: Whether it is trusted to keep conditions; else what is there is asked before,
            which two writers may do at the same time: they must be kept apart by other means.
    """

    def __init__(self, store: ObjectStore, *, conditions: bool = True) -> None:
        self.store, self.conditions = store, conditions and store.supports_conditions

    def put(self, uri: str, source: SourceFile | bytes, expected: str | None) -> str:
        """Writes an object, unless somebody else was there; returns its version.

        Args:
            uri: Its address.
            source: What it is to hold.
            expected: The version it is to replace; None: there is to be none.

        Raises:
            ObjectReplacedError: There is another version (or one at all).
            ObjectStoreError: There is no such bucket, or no right to write.
            ObjectAwayError: The store does not answer.
        """
        if not self.conditions:
            there = self.facts(uri)
            if (None if there is None else there.version) != expected:
                raise ObjectReplacedError(f"{shown_uri(uri)} is another one than expected")
        return self._put(uri, source, expected)

    @abstractmethod
    def _put(self, uri: str, source: SourceFile | bytes, expected: str | None) -> str: ...

    @abstractmethod
    def read(self, uri: str) -> SmallObject | None:
        """A small object as a whole; None where none is."""

    @abstractmethod
    def remove(self, uri: str) -> None:
        """Removes an object; it need not be there."""

    @abstractmethod
    def checksum(self, uri: str) -> tuple[ObjectFacts, str]:
        """Facts of an object, and the SHA-256 the store keeps of its content; "" where none.

        Raises:
            MissingObjectError: There is none.
        """

    def facts(self, uri: str) -> ObjectFacts | None:
        """What the store says of an object; None where none is."""
        try:
            return self.store.facts(uri)
        except MissingObjectError:
            return None

    def put_proved(self, uri: str, source: SourceFile, expected: str | None) -> ObjectFacts:
        """Writes a file, and proves that the store holds its content.

        Where another writer was there with the same content, all is well.

        Raises:
            ObjectReplacedError: Another writer was there with another content; both are named.
            ObjectStoreError: There is no such bucket, or no right to write.
            ObjectAwayError: The store does not answer.
        """
        try:
            self.put(uri, source, expected)
            is_ours = True
        except ObjectReplacedError:
            is_ours = False
        try:
            facts, checksum = self.checksum(uri)
        except MissingObjectError:
            raise ObjectReplacedError(
                f"{shown_uri(uri)} was removed by somebody else in this moment",
                expected="objects that stay",
                remedy="run the same command again",
            ) from None
        if facts.size == source.size and self._holds(facts, checksum, source):
            return facts
        if is_ours and facts.size == source.size and checksum:
            words = "does not hold what was sent (its checksum is another one)"
        else:
            words = f"was written by another writer ({facts.size:,} bytes, version {facts.version})"
        raise ObjectReplacedError(
            f"{shown_uri(uri)} {words}, and is not what was made here ({source.size:,} bytes, "
            f"sha256 {source.sha256.hex()[:16]})",
            expected="one writer, or two that make the same bytes",
            remedy=f"keep one of the two: run again to take that of the bucket, or remove it there "
            f"to publish {source.path}",
        )

    def holds(self, uri: str, source: SourceFile) -> ObjectFacts | None:
        """The facts of an object that has the content of a file; None where it has another."""
        try:
            facts, checksum = self.checksum(uri)
        except MissingObjectError:
            return None
        if facts.size == source.size and self._holds(facts, checksum, source):
            return facts
        return None

    def _holds(self, facts: ObjectFacts, checksum: str, source: SourceFile) -> bool:
        if checksum:
            return source.agrees(checksum)
        copy = temporary_path(source.path)
        try:  # then it is read again
            self.store.read_into(facts.uri, copy, facts)
            return SourceFile(copy).sha256 == source.sha256
        finally:
            copy.unlink(missing_ok=True)

    def keeps_conditions(self, folder: str) -> bool:
        """Whether conditions are kept there, tried with an object of its own, removed after.

        That proves the right to write, too: no slide is worked on for a bucket that takes nothing.

        Raises:
            ObjectStoreError: There is no such bucket, or no right to write.
        """
        uri = join_uri(folder, f".slidenet/probe-{new_token()}")
        try:
            with suppress(ObjectReplacedError):  # by a try of our own, whose answer was lost
                self._put(uri, b"x", None)
            return (
                self.conditions and self._is_refused(uri, None) and self._is_refused(uri, "0" * 32)
            )
        finally:
            self.remove(uri)

    def _is_refused(self, uri: str, expected: str | None) -> bool:
        try:
            self._put(uri, b"y", expected)
        except ObjectReplacedError:
            return True
        return False


class S3Putter(Putter):
    """Writes objects of S3, with conditions and with a SHA-256 that the store checks and keeps."""

    store: S3Store

    def _put(self, uri: str, source: SourceFile | bytes, expected: str | None) -> str:
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": f'"{expected}"'}
        condition = condition if self.conditions else {}
        try:
            if isinstance(source, SourceFile) and source.in_parts:
                return self._put_parts(uri, source, condition)
            body = source if isinstance(source, bytes) else source.path.read_bytes()
            sent = {"Body": body, **_checksum(hashlib.sha256(body).digest()), **condition}
            return _version(self._ask(uri, "put_object", **sent))
        except MissingObjectError:
            if expected is None:
                raise
            raise ObjectReplacedError(f"there is no {shown_uri(uri)} any more") from None

    def _put_parts(self, uri: str, source: SourceFile, condition: Mapping[str, str]) -> str:
        begun = self._ask(uri, "create_multipart_upload", ChecksumAlgorithm="SHA256")
        upload = {"UploadId": begun["UploadId"]}
        try:
            parts = []
            with source.path.open("rb") as file:
                for number, digest in enumerate(source.part_digests, 1):
                    checksum = _checksum(digest)
                    sent = {"PartNumber": number, "Body": file.read(PART_BYTES)}
                    answer = self._ask(uri, "upload_part", **upload, **sent, **checksum)
                    part = {"PartNumber": number, "ETag": answer["ETag"]}
                    parts.append({**part, "ChecksumSHA256": checksum["ChecksumSHA256"]})
            end = {**upload, "MultipartUpload": {"Parts": parts}, **condition}
            return _version(self._ask(uri, "complete_multipart_upload", **end))
        except BaseException:
            self._give_up(uri, upload)
            raise

    def _give_up(self, uri: str, upload: Mapping[str, str]) -> None:
        """Parts that nobody will put together cost money."""
        with suppress(SlidenetError):  # what has gone wrong before is what is told
            self._ask(uri, "abort_multipart_upload", **upload)

    def read(self, uri: str) -> SmallObject | None:
        """See `Putter`."""
        bucket, key = bucket_and_key(uri)

        async def asked() -> SmallObject:
            answer = await self.store.call(uri, "get_object", Bucket=bucket, Key=key)
            content = await self.store.body(uri, answer, SMALL_BYTES)
            now = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            age = None
            if now and answer.get("LastModified"):
                age = (parsedate_to_datetime(now) - answer["LastModified"]).total_seconds()
            return SmallObject(content, _version(answer), age)

        try:
            return self.store.ask(uri, asked)
        except MissingObjectError:
            return None

    def remove(self, uri: str) -> None:
        """See `Putter`."""
        self._ask(uri, "delete_object")

    def checksum(self, uri: str) -> tuple[ObjectFacts, str]:
        """See `Putter`."""
        head = self._ask(uri, "head_object", ChecksumMode="ENABLED")
        facts = ObjectFacts(uri, int(head["ContentLength"]), _version(head))
        return facts, str(head.get("ChecksumSHA256") or "")

    def _ask(self, uri: str, method: str, **keywords: Any) -> Any:
        bucket, key = bucket_and_key(uri)
        return self.store.ask(
            uri, lambda: self.store.call(uri, method, Bucket=bucket, Key=key, **keywords)
        )


class PlainPutter(Putter):
    """Writes objects by what all file systems of fsspec know: without conditions, read again."""

    def _put(self, uri: str, source: SourceFile | bytes, expected: str | None) -> str:
        place = place_of(uri)
        if isinstance(source, bytes):
            self.store.ask(uri, lambda: self._call(uri, "_pipe_file", place, source))
        else:
            local = str(source.path.resolve(strict=True))  # one that is gone is no missing object
            self.store.ask(uri, lambda: self._call(uri, "_put_file", local, place))
        return self.store.facts(uri).version

    def read(self, uri: str) -> SmallObject | None:
        """See `Putter`."""
        facts = self.facts(uri)
        if facts is None:
            return None
        if facts.size > SMALL_BYTES:
            return SmallObject(b"", facts.version, None)
        with tempfile.TemporaryDirectory(prefix="slidenet-") as folder:
            copy = Path(folder) / "copy"
            self.store.read_into(uri, copy, facts)
            return SmallObject(copy.read_bytes(), facts.version, None)

    def remove(self, uri: str) -> None:
        """See `Putter`."""
        if self.facts(uri) is not None:
            self.store.ask(uri, lambda: self._call(uri, "_rm_file", place_of(uri)))

    def checksum(self, uri: str) -> tuple[ObjectFacts, str]:
        """See `Putter`."""
        return self.store.facts(uri), ""

    async def _call(self, uri: str, method: str, *args: Any) -> Any:
        asked: Any = self.store
        return await asked._ask(uri, method, *args)


def putter_of(uri: str, *, conditions: bool = True) -> Putter:
    """Who writes objects of the store that holds an address.

    Args:
        uri: The address.
        conditions: Whether its store is trusted to keep conditions.

    Raises:
        ConfigError: The store can only be read.
        MissingExtraError: The package that speaks to it is not installed.
    """
    if provider_of(uri) == "http":
        raise ConfigError(
            f"{shown_uri(uri)} is a web address, and web servers are read only",
            expected="a folder, or s3://, gs:// or az://",
            remedy="give another --out",
        )
    store = store_of(uri)
    kind = S3Putter if isinstance(store, S3Store) else PlainPutter
    return kind(store, conditions=conditions)


def as_json(content: Mapping[str, object]) -> bytes:
    """A small object's content."""
    return (json.dumps(content, indent=2) + "\n").encode()


def _checksum(digest: bytes) -> dict[str, str]:
    return {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": _text(digest)}


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _version(answer: Any) -> str:
    return as_version(str(answer.get("ETag") or "").strip('"'))
