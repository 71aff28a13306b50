"""Waiting for room in the cache: said aloud, and without end only for who holds nothing.

Who reads one slide and waits for room for another keeps the first one meanwhile. Where all that
fills the cache is held by such readers, none of them will ever give room. So each marks what it
holds while it waits, and the first that finds nobody but waiters gives up with an error, which
lets the others go on. Who holds nothing is in nobody's way, and may wait.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType

from slidenet.core.errors import ObjectStoreError
from slidenet.stores.objects.room import CacheRoom, in_words

TELL_EVERY_S = 60.0
STUCK_S = 10.0
"""So long nothing moves before waiters are believed to be alone: each has looked several times."""
STILL_S = 1800.0
"""So long who holds something waits where nothing moves at all, whoever is in the way."""

_log = logging.getLogger(__name__)


class Waiting:
    """One wait, of one thread, for room or for what another process fetches.

    Args:
        room: The cache.
        what: Is to come into it, for messages.
        num_bytes: What that takes.
        held: Pins that this thread holds meanwhile, of this cache or another one.
    """

    def __init__(self, room: CacheRoom, what: str, num_bytes: int, held: Sequence[Path]) -> None:
        self._room, self._what, self._num_bytes = room, what, num_bytes
        self._held = [pin for pin in held if pin.parent == room.pins]
        self._marks: list[Path] = []
        self._names: frozenset[str] | None = None
        self._since = self._told = 0.0

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unmark()

    def look(self, *, has_no_room: bool) -> None:
        """Sees who could give room, after a try that brought nothing.

        Args:
            has_no_room: Whether it was tried to get room; else another process is fetching it.

        Raises:
            ObjectStoreError: This thread holds something, and nobody will give room.
        """
        with self._room.locked():
            if self._names is None:
                self._marks = [self._room.mark_waiting(pin) for pin in self._held]
            now, standing = monotonic(), self._room.standing()
            if standing.names != self._names:
                self._names, self._since = standing.names, now
            still_s = now - self._since
            alone = has_no_room and not standing.is_worked_on and still_s >= STUCK_S
            gives_up = bool(self._held) and (alone or still_s >= STILL_S)
            if gives_up:  # while it is locked: the next one to look sees that room will be given
                self._unmark()
        needed = f"{in_words(self._num_bytes)} of {in_words(self._room.limit_bytes)}"
        if gives_up:
            why = "all of them wait for each other" if alone else f"and that for {still_s:.0f} s"
            raise ObjectStoreError(
                f"there is no room for {self._what} ({needed}) in {self._room.root}: "
                f"{standing}; {why}",
                expected="room for all that is read at the same time",
                remedy="give a larger --cache-limit, or run fewer processes at a time",
            )
        if not self._told or now - self._told >= TELL_EVERY_S:
            _log.log(
                logging.WARNING if self._told else logging.INFO,
                "waiting for room for %s (%s) in %s: %s",
                self._what,
                needed,
                self._room.root,
                standing,
            )
            self._told = now

    def _unmark(self) -> None:
        for mark in self._marks:
            mark.unlink(missing_ok=True)
        self._marks = []
