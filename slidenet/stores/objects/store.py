"""The one way to read objects: facts, lists and downloads that survive cut connections.

Providers differ in how they are asked (`s3`, `web`, `others`); what is done when a connection is
cut, a server is busy or an object changes while it is read is said here, once.
"""

import asyncio
import errno
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import wait
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, TypeVar

from slidenet.core.errors import (
    MissingObjectError,
    ObjectAwayError,
    ObjectReplacedError,
    ObjectStoreError,
)
from slidenet.slides.limits import TimeLimit, current_time_limit
from slidenet.stores.atomic import output_error
from slidenet.stores.objects.facts import ObjectFacts
from slidenet.stores.objects.uri import shown_uri

T = TypeVar("T")

FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 15.0
TRIES = 7
"""Times without a byte in between before a store counts as away; about half a minute."""

_log = logging.getLogger(__name__)


class CutError(Exception):
    """The connection ended, or the store was busy: worth another try.

    Args:
        reason: In words, without address, header or anything else that may hold a secret.
    """


class NoRangeError(Exception):
    """The server sends the object from its first byte only, whatever is asked."""


class ObjectStore(ABC):
    """Objects of one provider, through its file system of fsspec.

    Credentials are those of the environment and of the provider's usual files; they are never
    logged and stand in no error.

    Args:
        fs: The file system.

    Attributes:
        supports_conditions: Whether the store can write an object only where none is, or only over
            the version that is expected.
    """

    supports_conditions: ClassVar[bool] = False

    def __init__(self, fs: Any) -> None:
        self.fs = fs

    def facts(self, uri: str) -> ObjectFacts:
        """Size and version of an object, without reading it.

        Raises:
            ObjectStoreError: There is no such object or bucket, or no right to read it.
            ObjectAwayError: The store does not answer.
        """
        return self.ask(uri, lambda: self._facts(uri))

    def list(self, prefix: str, *, recursive: bool = True) -> Sequence[ObjectFacts]:
        """The objects whose addresses begin with `prefix`, in order of their addresses.

        Args:
            prefix: An address; one that ends in a slash is a folder.
            recursive: Also of folders within it; else the addresses of those, ending in a slash,
                are in the list, with size 0 and without version.

        Raises:
            ObjectStoreError: There is no such bucket, no right to list it, or no lists at all.
            ObjectAwayError: The store does not answer.
        """
        found = self.ask(prefix, lambda: self._list(prefix, recursive))
        return sorted(found, key=lambda facts: facts.uri)

    def read_into(
        self,
        uri: str,
        path: Path,
        facts: ObjectFacts,
        *,
        advance: Callable[[int], None] | None = None,
    ) -> None:
        """Downloads an object into a new file; goes on at the byte reached when it is cut off.

        Args:
            uri: Its address.
            path: The file; what is there is replaced.
            facts: Of the object that is expected.
            advance: Told of bytes as they come, from another thread; may raise to stop. After a
                server without ranges was cut off, bytes come again: a negative number takes back.

        Raises:
            ObjectReplacedError: It is another object by now.
            ObjectStoreError: It is gone, or there is no right to read it.
            ObjectAwayError: The store does not answer any more.
            DiskError: The disk is full.
            SlideTimeoutError: The time limit of the slide has passed.
        """
        download = _Download(self, uri, path, facts, advance or _nobody)
        try:
            with path.open("wb") as file:
                download.run(file)
                file.flush()
                os.fsync(file.fileno())
        except _FileFault as error:
            raise output_error(error.fault, path) from error.fault
        except OSError as error:
            raise output_error(error, path) from error

    def ask(self, uri: str, question: Callable[[], Awaitable[T]]) -> T:
        """The answer of the store, asked again with pauses while it is away.

        Args:
            uri: What is asked about, for messages.
            question: Makes the coroutine; raises `CutError` for what is worth another try.

        Raises:
            ObjectAwayError: The store does not answer.
        """
        limit, pause = current_time_limit(), FIRST_PAUSE_S
        for last in (*range(TRIES - 1, 0, -1), 0):
            try:
                return self.wait_for(question)
            except CutError as error:
                if not last:
                    raise away(uri, str(error)) from None
                pause = wait_before_retry(pause, uri, str(error), limit)
        raise AssertionError("the last try has returned or raised")

    def wait_for(self, question: Callable[[], Awaitable[T]]) -> T:
        """Runs a coroutine in the thread of fsspec and waits for it."""

        async def asked() -> T:
            return await question()

        answer = asyncio.run_coroutine_threadsafe(asked(), self.fs.loop)
        try:
            # Not by `result(timeout)`: an answer that comes right after it looks like one too late.
            while not wait([answer], timeout=1.0).done:  # so that a signal is heard
                pass
            return answer.result()
        except BaseException:
            answer.cancel()
            raise

    def origin(self, uri: str) -> str:
        """The server an address is asked at, where neither the address nor its provider says it.

        It stands in the names of copies: a bucket of the same name elsewhere is another one.

        Args:
            uri: The address.

        Returns:
            "" for the servers of Amazon and Google themselves, whichever region they are of, and
            where the address names the server.
        """
        return self.wait_for(lambda: self._origin(uri))

    async def _origin(self, uri: str) -> str:
        return ""

    @abstractmethod
    async def _facts(self, uri: str) -> ObjectFacts: ...

    @abstractmethod
    async def _list(self, prefix: str, recursive: bool) -> Sequence[ObjectFacts]: ...

    @abstractmethod
    def _stream(self, uri: str, start: int, facts: ObjectFacts) -> AsyncGenerator[bytes, None]:
        """The bytes of an object from `start` on, as they come.

        Raises:
            CutError: Worth another try.
            NoRangeError: The server knows no `start`; ask again from 0.
            ObjectReplacedError: It is another object by now.
        """


class _FileFault(Exception):
    """The file could not be written; not to be mistaken for a fault of the network."""

    def __init__(self, fault: OSError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class _Download:
    """One object on its way into one file."""

    def __init__(
        self,
        store: ObjectStore,
        uri: str,
        path: Path,
        facts: ObjectFacts,
        advance: Callable[[int], None],
    ) -> None:
        self._store, self._uri, self._path, self._facts = store, uri, path, facts
        self._advance, self._limit = advance, current_time_limit()
        self._done = self._furthest = 0

    def run(self, file: BinaryIO) -> None:
        tries, pause = TRIES, FIRST_PAUSE_S
        while True:
            try:
                self._store.wait_for(lambda: self._read_on(file))
                return
            except NoRangeError:
                self._advance(-self._done)
                self._done = 0
                file.seek(0)
                file.truncate()
            except CutError as error:
                if self._done > self._furthest:
                    self._furthest, tries, pause = self._done, TRIES, FIRST_PAUSE_S
                tries -= 1
                if not tries:
                    raise away(self._uri, f"{error}, at byte {self._furthest:,}") from None
                pause = wait_before_retry(pause, self._uri, str(error), self._limit)

    async def _read_on(self, file: BinaryIO) -> None:
        facts = self._facts
        if facts.size == 0:
            return
        async with aclosing(self._store._stream(self._uri, self._done, facts)) as parts:
            async for part in parts:
                if self._limit is not None:
                    self._limit.check("waiting for its object")
                if self._done + len(part) > facts.size:
                    raise replaced(self._uri, f"it has more than its {facts.size:,} bytes")
                try:
                    file.write(part)
                except OSError as error:
                    raise _FileFault(error) from error
                self._done += len(part)
                self._advance(len(part))
        if self._done < facts.size:
            raise CutError(f"it ended after {self._done:,} of {facts.size:,} bytes")


def _nobody(_: int) -> None:
    return


def wait_before_retry(pause: float, uri: str, reason: str, limit: TimeLimit | None) -> float:
    """Waits, unless the time of the slide is over; returns how long to wait the next time."""
    _log.info("%s: %s; trying again in %.1f s", shown_uri(uri), reason, pause)
    if limit is not None:
        limit.check("waiting for its object")
        pause = min(pause, max(0.0, limit.left_s))
    time.sleep(pause)
    return min(2 * pause, LAST_PAUSE_S)


def away(uri: str, reason: str) -> ObjectAwayError:
    """The error for a store that does not answer."""
    return ObjectAwayError(
        f"{shown_uri(uri)} cannot be reached: {reason}, tried {TRIES} times",
        expected="a store that answers",
        remedy="see whether network, proxy and endpoint are well, then run again: done work stays",
    )


def replaced(uri: str, how: str) -> ObjectReplacedError:
    """The error for an object that is not the one that was asked about."""
    return ObjectReplacedError(
        f"{shown_uri(uri)} was replaced while it was read ({how})",
        expected="an object that stays as it is",
        remedy="run again: the next run reads the new one",
    )


def refused(uri: str, doing: str = "read") -> ObjectStoreError:
    """The error for an object or bucket without rights."""
    return ObjectStoreError(
        f"{shown_uri(uri)} may not be {doing} (access denied)",
        expected="credentials with the right to it",
        remedy="give them by the environment or the usual files of the provider (`docs/scaling.md`)"
        "; see who may use the bucket",
    )


def missing(uri: str, what: str = "object") -> MissingObjectError:
    """The error for an object or bucket that is not there."""
    return MissingObjectError(
        f"there is no {what} {shown_uri(uri)}",
        expected="an object that is there",
        remedy="check bucket and name, letter by letter",
    )


_PASSING = {
    errno.EBUSY,
    errno.EIO,
    getattr(errno, "EREMOTEIO", errno.EIO),
    errno.EPIPE,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.ECONNABORTED,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
}


def may_pass(error: BaseException) -> bool:
    """Whether an error of a library is one of the network, which another try may not meet."""
    if isinstance(error, ConnectionError | TimeoutError | asyncio.IncompleteReadError):
        return True
    return isinstance(error, OSError) and error.errno in _PASSING
