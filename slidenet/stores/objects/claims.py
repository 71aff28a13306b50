"""Claims of slides as objects: clusters that share nothing but a bucket drain one list.

What `stores.claims` does with files is done here with conditional writes: a claim is created where
none is, touched over the version its owner wrote last, and taken over from an owner that is no
longer heard of by writing over the very version that was seen stale. Its age is that of the store's
own clock.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import monotonic, sleep

from slidenet.core.errors import ClaimedElsewhere, LostClaim, ObjectReplacedError, SlidenetError
from slidenet.core.json_text import parse_json
from slidenet.stores.atomic import proven_before_renames
from slidenet.stores.objects.putting import Putter, SmallObject, as_json
from slidenet.stores.objects.uri import shown_uri
from slidenet.stores.owners import TOKEN, host_name, is_gone, new_token, started_at

_log = logging.getLogger(__name__)

BEAT_S = 15.0
"""So often a claim is touched."""
STALE_S = 120.0
"""A claim that was not touched for so long is given up."""
_TRIES = 10


@dataclass(frozen=True, slots=True)
class ObjectSighting:
    """A claim of another process as it was seen.

    Attributes:
        version: Of the object; another one each time its owner touches it.
        token: Of its owner; "" where the object does not say.
        host: Machine of its owner.
        pid: Process id of its owner there.
        started: When that process was started, in ticks of its kernel, where that is known.
    """

    version: str
    token: str = ""
    host: str = ""
    pid: int = 0
    started: str | None = None

    @classmethod
    def of(cls, found: SmallObject) -> "ObjectSighting":
        """What an object says, which anybody may have put there."""
        try:
            said = parse_json(found.content)
            token, host, started = (said[name] for name in ("token", "host", "started"))
            if not (re.fullmatch(TOKEN, token) and isinstance(host, str)):
                return cls(found.version)
            return cls(found.version, token, host, int(token.split("-")[1]), started)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError):
            return cls(found.version)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


class ObjectClaim:
    """The right of this process to make something in a bucket; made by `take_object_claim`.

    Attributes:
        uri: Where the claim lies.
        is_lost: Whether it is known that another process has taken the work over.
    """

    def __init__(self, putter: Putter, uri: str, what: str, slide: str) -> None:
        self.uri, self.is_lost = uri, False
        self.token, self._beats, self._version = new_token(), 0, ""
        self._putter, self._what, self._slide = putter, what, slide
        self._heard, self._lock = monotonic(), threading.RLock()

    def try_to_take(self) -> ObjectSighting | None:
        """Takes the claim where it is free or given up; else who holds it.

        Raises:
            ObjectStoreError: The bucket cannot be written.
            ObjectAwayError: The store does not answer.
        """
        found = None
        for _ in range(_TRIES):
            try:
                self._write(None if found is None else found.version)
                return None
            except ObjectReplacedError:
                pass
            read = self._putter.read(self.uri)
            if read is None:
                found = None
                continue
            seen = ObjectSighting.of(read)
            if seen.token == self.token:  # written by a try whose answer was lost
                self._version = seen.version
                return None
            if not _is_stale(self.uri, seen, read.age_s):
                return seen
            _log.info("%s: the claim of %s is given up", shown_uri(self.uri), seen)
            found = read
        return ObjectSighting("")

    def touch(self) -> None:
        """Says that this process is alive; notes where the claim was lost."""
        with self._lock:
            if self.is_lost:
                return
            self._beats += 1
            try:
                self._write(self._version)
            except ObjectReplacedError:
                read = self._putter.read(self.uri)
                seen = None if read is None else ObjectSighting.of(read)
                if seen is not None and seen.token == self.token:
                    self._version = seen.version
                else:
                    self.is_lost = True

    def check(self) -> None:
        """Proves that the claim is still that of this process; asks the store where it is time.

        Raises:
            LostClaim: Another process has taken it over; nothing may be written any more.
            ObjectAwayError: The store does not answer.
        """
        if not self.is_lost and monotonic() - self._heard > 2 * BEAT_S:
            self.touch()
        if self.is_lost:
            raise LostClaim(
                f"the claim on {self._what} was taken over by another process, as this one had not "
                f"been heard of for {STALE_S:g} s",
                remedy="nothing is lost; run the same command again if the other one does not end",
                slide=self._slide,
            )

    def release(self) -> None:
        """Gives the claim back, unless it was taken over."""
        _beating.discard(self)
        with suppress(SlidenetError), self._lock:  # else it will be given up for its age
            if not self._version:  # interrupted while it was asked for: it may be another's
                read = self._putter.read(self.uri)
                self.is_lost = read is None or ObjectSighting.of(read).token != self.token
            elif monotonic() - self._heard > BEAT_S:
                self.touch()
            # It is fresh: nobody takes it over between that and the next line.
            if not self.is_lost:
                self._putter.remove(self.uri)
                self.is_lost = True  # a beat that was on its way does not write it again

    def _write(self, expected: str | None) -> None:
        content = {
            "token": self.token,
            "host": host_name(),
            "started": started_at(os.getpid()),
            "beat": self._beats,
        }
        self._version = self._putter.put(self.uri, as_json(content), expected)
        self._heard = monotonic()


@contextmanager
def object_claim(putter: Putter, uri: str, what: str, *, slide: str = "") -> Iterator[ObjectClaim]:
    """Claims the right to make something in a bucket, for the block.

    Whatever is written in the block by `atomic_path` gets its name only while the claim is held.

    Args:
        putter: Writes objects there.
        uri: Where the claim lies.
        what: Is to be made, for messages.
        slide: slide_id, for messages.

    Raises:
        ClaimedElsewhere: Another process holds it, with what was seen of it.
        ObjectStoreError: The bucket cannot be written.
        ObjectAwayError: The store does not answer.
    """
    own = ObjectClaim(putter, uri, what, slide)
    try:
        seen = own.try_to_take()
        if seen is not None:
            own.is_lost = True
            raise ClaimedElsewhere(
                f"{seen} is working on {what}",
                remedy="let it end and run the same command again; the claim of a process that "
                f"died is given up {STALE_S:g} s after its last sign of life",
                slide=slide,
                seen=seen,
            )
        _beating.add(own)
        with proven_before_renames(own.check):
            yield own
    finally:
        if not own.is_lost:
            own.release()
        _beating.discard(own)


class _Beating:
    """The claims of this process, touched by one thread."""

    def __init__(self) -> None:
        self._claims: set[ObjectClaim] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, own: ObjectClaim) -> None:
        with self._lock:
            self._claims.add(own)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._beat, name="object-claims", daemon=True
                )
                self._thread.start()

    def discard(self, own: ObjectClaim) -> None:
        with self._lock:
            self._claims.discard(own)

    def _beat(self) -> None:
        while True:
            sleep(BEAT_S)
            with self._lock:
                claims = list(self._claims)
            for own in claims:
                with suppress(SlidenetError):  # the store may be away for a while
                    own.touch()


_beating = _Beating()


def _forget() -> None:
    """A forked process holds no claim, and has no thread that touches any."""
    global _beating
    _beating = _Beating()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


_seen: dict[str, tuple[str, float]] = {}


def _is_stale(uri: str, seen: ObjectSighting, age_s: float | None) -> bool:
    """Whether the owner of a claim has died, or slept so long that it counts as dead.

    Either it is known to be gone, or its age says so and it was not touched while this process
    looked on, or it was not touched for `STALE_S` by the clock of this process.
    """
    if seen.token and is_gone(seen.token, seen.started):
        return True
    version, since = _seen.setdefault(uri, (seen.version, monotonic()))
    if version != seen.version:
        _seen[uri] = (seen.version, monotonic())
        return False
    is_old = age_s is not None and age_s >= STALE_S
    return monotonic() - since >= (2 * BEAT_S if is_old else STALE_S)
