"""Slides that lie in object stores: staged when they are opened, and the next ones fetched ahead.

Verbs know slides as files. Where one is opened (`slide_file`), an address becomes the path of a
copy in the cache (`stores.objects.cache`), which is pinned until it is closed; where none is
opened, as on a slide that is done, none is copied. What is written of a slide names its address.
"""

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from slidenet.core.errors import FAULTS, ObjectAwayError, ObjectStoreError, SlidenetError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.objects.wrapping import WrappedWork
from slidenet.slides import check_sha256
from slidenet.stores.claims import claim_file
from slidenet.stores.objects import ObjectCache, is_uri, shown_uri
from slidenet.stores.objects.cache import as_named

AHEAD = 2
"""So many slides are fetched ahead, at the same time."""

_LOOKED_AT = 64
"""Rows behind that of a slide which are looked at for the next ones to be fetched."""


@dataclass(frozen=True, slots=True)
class SlideFile:
    """Where a slide lies on this machine.

    Attributes:
        path: The file, or the folder of tile images.
        uri: Its address without what gives rights; "" where it is a path.
        version: Of the object, in the words of its store; "" where it says none.
    """

    path: Path
    uri: str = ""
    version: str = ""


@dataclass(frozen=True)
class StagedWork(WrappedWork):
    """The work of a verb on slides that may lie in object stores.

    Attributes:
        work: The work of the verb.
        cache: Where copies of slides lie.
        rows: The slides in the order in which they are given out.
    """

    work: SlideWork
    cache: ObjectCache
    rows: Sequence[SlideRow] = field(repr=False)

    @classmethod
    def where_needed(
        cls, work: SlideWork, cache: ObjectCache, rows: Sequence[SlideRow]
    ) -> SlideWork:
        """The work as it is where no slide lies in a store."""
        return cls(work, cache, rows) if any(is_uri(row.slide_path) for row in rows) else work

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Does the work; slides that it opens are staged."""
        before = _staging.set(self)
        try:
            return self.work(row, progress)
        finally:
            _staging.reset(before)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {row.slide_path: place for place, row in enumerate(self.rows)}

    def fetch_next(self, row: SlideRow) -> None:
        """Has the slides behind one fetched, as far as nobody has made their output."""
        place = self._places.get(row.slide_path)
        if place is None:
            return
        behind = self.rows[place + 1 : place + 1 + _LOOKED_AT]
        following = (one.slide_path for one in behind if self._is_open(one))
        _ahead_of(self.cache).want([uri for uri, _ in zip(following, range(AHEAD), strict=False)])

    def _is_open(self, row: SlideRow) -> bool:
        if not is_uri(row.slide_path):
            return False
        try:
            path = self.work.claimed(row)
            if path is None:
                return True
            work = self.work
            made = work.was_made(path) if isinstance(work, WrappedWork) else path.exists()
            return not made and not claim_file(path).exists()
        except (SlidenetError, *FAULTS):  # which its turn will say
            return False

    def __getstate__(self) -> dict[str, object]:
        # Without what is worked out from it on the other side.
        return {name: getattr(self, name) for name in ("work", "cache", "rows")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)


_staging: ContextVar[StagedWork | None] = ContextVar("the work that stages slides", default=None)


@contextmanager
def slide_file(row: SlideRow) -> Iterator[SlideFile]:
    """The slide of a row as a file of this machine, for the block; compared with its SHA-256.

    Args:
        row: The slide, as its manifest says.

    Raises:
        ObjectStoreError: Its object is not there, may not be read, or is larger than the cache.
        ObjectAwayError: Its store does not answer.
        UnreadableSlideError: It has another SHA-256 than the row says.
    """
    if not is_uri(row.slide_path):
        if row.sha256 is not None:
            check_sha256(Path(row.slide_path), row.sha256)
        yield SlideFile(Path(row.slide_path))
        return
    staging = _staging.get()
    cache = ObjectCache() if staging is None else staging.cache
    parcel = cache.parcel(row.slide_path)
    with cache.held(parcel) as path:
        _ahead_of(cache).has_come(row.slide_path)
        if staging is not None:
            staging.fetch_next(row)
        try:
            if row.sha256 is not None:
                check_sha256(path, row.sha256)
            yield SlideFile(path, shown_uri(row.slide_path), parcel.version)
        except SlidenetError as error:
            as_named(error, path, row.slide_path)
            raise


def version_of_slide(row: SlideRow) -> str:
    """The version that the object of a slide has now; "" where its store says none.

    Raises:
        ObjectStoreError: It is not there, or may not be read.
        ObjectAwayError: Its store does not answer.
    """
    staging = _staging.get()
    cache = ObjectCache() if staging is None else staging.cache
    return cache.parcel(row.slide_path).version


def is_at_hand(slide_path: str) -> bool:
    """Whether a slide can be looked at: its file is there, or it is the address of an object."""
    return is_uri(slide_path) or bool(slide_path and Path(slide_path).exists())


def size_of_slide(slide_path: str) -> int | bool | None:
    """Bytes of the file of a slide; True for a folder, None where there is no slide."""
    if is_uri(slide_path):
        try:
            parcel = ObjectCache().parcel(slide_path)
        except (ObjectStoreError, ObjectAwayError):
            return None
        return parcel.objects[0][1].size
    path = Path(slide_path)
    there = bool(slide_path) and path.exists()
    return path.stat().st_size if there and path.is_file() else there or None


class _Ahead:
    """Fetches slides that will be wanted soon, in threads of this process.

    Args:
        cache: Where they are staged.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache, self._lock = cache, threading.Lock()
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._wanted: dict[str, Path | None] = {}
        self._threads: list[threading.Thread] = []

    def want(self, uris: Sequence[str]) -> None:
        """Fetches these slides, in that order; what was wanted before and is not now is let go."""
        with self._lock:
            for uri in uris:
                if uri not in self._wanted:
                    self._wanted[uri] = None
                    self._waiting.put(uri)
            gone = [uri for uri in self._wanted if uri not in uris]
            pins = [self._wanted.pop(uri) for uri in gone]
            while len(self._threads) < min(AHEAD, len(self._wanted)):
                thread = threading.Thread(target=self._fetch, name="fetching", daemon=True)
                self._threads.append(thread)
                thread.start()
        for pin in pins:
            if pin is not None:
                self._cache.forget(pin)

    def has_come(self, uri: str) -> None:
        """Lets go a slide whose turn it is."""
        with self._lock:
            pin = self._wanted.pop(uri, None)
        if pin is not None:
            self._cache.forget(pin)

    def _fetch(self) -> None:
        while True:
            uri = self._waiting.get()
            with self._lock:
                if uri not in self._wanted:
                    continue
            try:
                pin = self._cache.prefetch(uri)
            except (SlidenetError, *FAULTS):  # which its turn will say
                continue
            if pin is None:
                continue
            with self._lock:
                still = uri in self._wanted
                if still:
                    self._wanted[uri] = pin
            if not still:
                self._cache.forget(pin)


_aheads: dict[ObjectCache, _Ahead] = {}
_aheads_lock = threading.Lock()


def _ahead_of(cache: ObjectCache) -> _Ahead:
    with _aheads_lock:
        return _aheads.setdefault(cache, _Ahead(cache))


def stop_fetching() -> None:
    """Lets go of all slides that were wanted; what is on its way is still fetched."""
    with _aheads_lock:
        aheads = list(_aheads.values())
    for ahead in aheads:
        ahead.want(())


def _forget() -> None:
    """A forked process fetches nothing yet, and no thread of it holds the lock."""
    global _aheads_lock
    _aheads_lock = threading.Lock()
    _aheads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
