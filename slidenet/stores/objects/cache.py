"""Objects on this machine: staged when they are needed, kept while there is room.

Readers of slides and HDF5 read files, and read them all over: a slide of a gigabyte is asked for
ten thousand places. So an object is copied to a local disk as a whole, once, for all processes of a
user, and stays until the room is needed.
"""

import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep

from slidenet.core.errors import (
    ClaimedElsewhere,
    ConfigError,
    DiskError,
    ObjectStoreError,
    SlidenetError,
)
from slidenet.slides.limits import current_time_limit
from slidenet.stores.atomic import output_errors
from slidenet.stores.claims import take_claim
from slidenet.stores.objects.opening import check_origin, store_of
from slidenet.stores.objects.parcels import Parcel, parcel_of
from slidenet.stores.objects.room import CacheRoom, Entry, Use, in_words
from slidenet.stores.objects.uri import shown_uri
from slidenet.stores.objects.waiting import Waiting

DEFAULT_LIMIT_BYTES = 50 * 10**9
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.05, 1.0

_held: ContextVar[tuple[tuple[Path, int], ...]] = ContextVar(
    "pins that this thread holds, and the bytes of each", default=()
)
_log = logging.getLogger(__name__)


def parse_size(text: str | int, *, name: str = "cache_limit") -> int:
    """Bytes of a size as people write it: 50GB, 1.5TB, 200 MB, 64GiB, or a number of bytes.

    Args:
        text: The size.
        name: Of the setting, for messages.

    Raises:
        ConfigError: It is no size, or none above zero.
    """
    found = _SIZE.fullmatch(str(text))
    unit = _UNITS.get(found[2].upper()) if found else None
    size = 0 if found is None or unit is None else int(float(found[1]) * unit)
    if size <= 0:
        raise ConfigError(f"{name} is {text!r}", expected="a size such as 50GB, 1.5TB or 64GiB")
    return size


def default_folder() -> Path:
    """Where objects are kept unless a folder is named: `~/.cache/slidenet`.

    Raises:
        ConfigError: The user of this process has no home folder.
    """
    above = os.environ.get("XDG_CACHE_HOME") or ""
    if Path(above).is_absolute():
        return Path(above) / "slidenet"
    try:
        return Path.home() / ".cache" / "slidenet"
    except RuntimeError as error:
        raise ConfigError(
            "the user of this process has no home folder, where copies of objects would lie",
            expected="a folder to write to",
            remedy="name one by --cache, or by XDG_CACHE_HOME",
        ) from error


@dataclass(frozen=True)
class ObjectCache:
    """Copies of objects in a folder of limited size, shared by the processes of a user.

    Picklable: on another machine it is the folder of the same name there.

    Attributes:
        folder: Where copies lie, under `slidenet-objects`; None: `default_folder`.
        limit_bytes: What all of them may take.
    """

    folder: Path | None = None
    limit_bytes: int = DEFAULT_LIMIT_BYTES

    @contextmanager
    def staged(self, uri: str) -> Iterator[Path]:
        """A copy of an object, with all that belongs to it, for the block.

        Args:
            uri: Of an object, or of a folder of DICOM files.

        Raises:
            ObjectStoreError: There is none, no right to read it, or it is larger than the cache.
            ObjectReplacedError: It was replaced while it was copied.
            ObjectAwayError: The store does not answer.
            DiskError: The disk of the cache is full.
        """
        with self.held(self.parcel(uri)) as path:
            yield path

    def parcel(self, uri: str) -> Parcel:
        """What would be staged for an address, and in which version; reads nothing of it."""
        return parcel_of(store_of(uri), uri)

    @contextmanager
    def held(self, parcel: Parcel) -> Iterator[Path]:
        """The copy of a parcel for the block; see `staged`."""
        room = self._room()
        self._check_size(parcel, held=sum(num_bytes for _, num_bytes in _held.get()))
        known = bool(parcel.version)
        digest = parcel.digest if known else secrets.token_hex(16)
        entry, pin = self._used(room, parcel, digest)
        before = _held.set((*_held.get(), (pin, parcel.num_bytes)))
        try:
            yield entry.path / parcel.main
        finally:
            _held.reset(before)
            room.unpin(pin)
            if not known:  # nobody could say whether it is still the same the next time
                room.drop(entry.path)

    def prefetch(self, uri: str) -> Path | None:
        """Stages an object that will be wanted soon, where there is room for it.

        Returns:
            What keeps it from being evicted, to be given to `forget`; None where there is no room,
            or another process is fetching it.

        Raises:
            SlidenetError: As `staged`.
        """
        parcel, room = self.parcel(uri), self._room()
        if not parcel.version or parcel.num_bytes > self.limit_bytes:
            return None
        with room.locked():
            if _whole(room, parcel, parcel.digest) is not None:
                return room.pin(parcel.digest, "wanted")
        try:
            claim = take_claim(room.loading / parcel.digest)
        except ClaimedElsewhere:
            return None
        try:
            found = self._load(room, parcel, parcel.digest, "wanted")
        finally:
            claim.release()
        return None if found is None else found[1]

    def forget(self, wanted: Path) -> None:
        """Lets go what was prefetched; it stays while there is room."""
        with suppress(OSError):
            wanted.unlink()

    def _room(self) -> CacheRoom:
        return CacheRoom(self.folder or default_folder(), self.limit_bytes)

    def _check_size(self, parcel: Parcel, *, held: int) -> None:
        if parcel.num_bytes + held <= self.limit_bytes:
            return
        others = f", beside {in_words(held)} that are in use for the same work" if held else ""
        raise ObjectStoreError(
            f"{shown_uri(parcel.uri)} takes {in_words(parcel.num_bytes)}{others}, and the cache "
            f"may hold {in_words(self.limit_bytes)}",
            expected="room for the largest slide, better for three",
            remedy="give a larger --cache-limit",
        )

    def _used(self, room: CacheRoom, parcel: Parcel, digest: str) -> tuple[Entry, Path]:
        """The entry of a parcel, pinned; loaded where it is not there, by one process.

        Raises:
            ObjectStoreError: This thread holds something, and nobody will give room for more.
        """
        limit, pause = current_time_limit(), _FIRST_PAUSE_S
        held = [pin for pin, _ in _held.get()]
        with Waiting(room, shown_uri(parcel.uri), parcel.num_bytes, held) as waiting:
            while True:
                with room.locked():
                    entry = _whole(room, parcel, digest)
                    if entry is not None:
                        return entry, room.pin(digest, "used")
                try:
                    claim = take_claim(room.loading / digest)
                except ClaimedElsewhere:
                    waiting.look(has_no_room=False)
                else:
                    try:
                        found = self._load(room, parcel, digest, "used")
                    finally:
                        claim.release()
                    if found is not None:
                        return found
                    waiting.look(has_no_room=True)
                if limit is not None:
                    limit.check("waiting for room in the cache of objects")
                sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_S)

    def _load(
        self, room: CacheRoom, parcel: Parcel, digest: str, use: Use
    ) -> tuple[Entry, Path] | None:
        """Downloads a parcel; None where there is no room now. For who holds the claim on it."""
        with room.locked():
            entry = _whole(room, parcel, digest)
            if entry is not None:  # it has come meanwhile
                return entry, room.pin(digest, use)
            folder = room.reserve(digest, parcel.num_bytes, use)
        if folder is None:
            return None
        try:
            store = store_of(parcel.uri)
            check_origin(store, parcel.uri, parcel.origin)
            for name, facts in parcel.objects:
                path = folder / name
                with output_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True)
                store.read_into(facts.uri, path, facts)
            with room.locked():
                return room.settle(folder), room.pin(digest, use)
        except DiskError as error:
            error.remedy = "free some disk space, or give a folder of another disk as --cache"
            raise
        finally:
            if folder.exists():
                room.drop(folder)


def _whole(room: CacheRoom, parcel: Parcel, digest: str) -> Entry | None:
    """What is staged of a parcel; what somebody has taken files out of is dropped.

    Programs that tidy up disks remove files that were not read for long, and leave their folders.
    """
    entry = room.entry(digest)
    if entry is None:
        return None
    sizes = ((entry.path / name, facts.size) for name, facts in parcel.objects)
    if all(path.is_file() and path.stat().st_size == size for path, size in sizes):
        return entry
    _log.warning("files of %s are missing in %s; fetched anew", shown_uri(parcel.uri), room.root)
    room.drop(entry.path)
    return None


def as_named(error: SlidenetError, path: Path, uri: str) -> SlidenetError:
    """The same error, with the address of an object in place of where its copy lies."""
    for words in ("found", "expected", "remedy"):
        text = getattr(error, words).replace(str(path), shown_uri(uri))
        setattr(error, words, text.replace(str(path.parent), shown_uri(uri).rpartition("/")[0]))
    return error


def cache_of(folder: Path | None, limit: str | int | None) -> ObjectCache:
    """The cache that flags ask for.

    Args:
        folder: `--cache`; of a relative one its place now, which workers elsewhere need to know.
        limit: `--cache-limit`.

    Raises:
        ConfigError: The limit is no size.
    """
    found = ObjectCache(None if folder is None else folder.absolute())
    return found if limit is None else replace(found, limit_bytes=parse_size(limit))
