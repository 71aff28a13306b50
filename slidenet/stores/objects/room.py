"""The folder of the cache: what lies in it, who uses it, and how much room is left.

All of it is said by names, so that any number of processes read it without opening a file:

- `entries/DIGEST-BYTES/`: staged objects, whole; used last at the time of the folder;
- `loading/DIGEST-BYTES.TOKEN/`: objects on their way, with all the room they will take;
- `pins/DIGEST.TOKEN.STARTED.KIND`: a process uses an entry, or will want it soon;
- `pins/DIGEST.TOKEN.STARTED.used.waits`: who has that pin waits for more room (`waiting`).

Room is given under a claim (`stores.claims`), which needs no locks of the disk. What a process had
that is gone counts no more. Nothing but these names is ever removed.
"""

import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Literal

from slidenet.core.errors import ClaimedElsewhere, DiskError, OutputError
from slidenet.slides.limits import current_time_limit
from slidenet.stores.atomic import output_errors
from slidenet.stores.claims import take_claim
from slidenet.stores.owners import TOKEN, is_at_this_place, is_gone, new_token, started_at
from slidenet.stores.temporary import time_of_disk_ns

Use = Literal["used", "wanted"]

FOLDER = "slidenet-objects"
_WAITS = ".waits"
_ENTRY = re.compile(r"([0-9a-f]{32})-(\d+)")
_LOADING = re.compile(rf"([0-9a-f]{{32}})-(\d+)\.({TOKEN})")
_PIN = re.compile(rf"([0-9a-f]{{32}})\.({TOKEN})\.(\d+)\.(used|wanted)({re.escape(_WAITS)})?")
_OLD_NS = 24 * 3600 * 10**9
_PAUSE_S = 0.01

_locks: dict[Path, threading.Lock] = {}


@dataclass(frozen=True, slots=True)
class Entry:
    """Staged objects.

    Attributes:
        path: Their folder.
        digest: What they are.
        num_bytes: What they take.
        used_ns: When they were last used, by the clock of the disk.
    """

    path: Path
    digest: str
    num_bytes: int
    used_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Who holds what, at one moment.

    Attributes:
        names: Of all entries, downloads and pins: others as soon as anything moves.
        is_worked_on: Whether anybody uses an entry without waiting for more, or fetches one, so
            that room will come.
        holders: Who holds how much, in words.
    """

    names: frozenset[str]
    is_worked_on: bool
    holders: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.holders) or "nothing is held"


def in_words(num_bytes: int) -> str:
    """A size for people: `1.25 GB`."""
    unit, name = next(((u, n) for u, n in ((10**12, "TB"), (10**9, "GB")) if num_bytes >= u),
                      (10**6, "MB"))  # fmt: skip
    return f"{num_bytes / unit:.2f} {name}"


class CacheRoom:
    """One folder of the cache, private to its user.

    Args:
        folder: Where it is made; other files in it are left alone.
        limit_bytes: What it may take.

    Raises:
        OutputError: It cannot be made, or belongs to somebody else.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.root, self.limit_bytes = folder / FOLDER, limit_bytes
        self.entries, self.loading = self.root / "entries", self.root / "loading"
        self.pins = self.root / "pins"
        with output_errors(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.root.mkdir(mode=0o700)
            about = self.root.lstat()
            if not stat.S_ISDIR(about.st_mode):
                raise self._strange("it is no folder")
            if hasattr(os, "geteuid") and about.st_uid != os.geteuid():
                raise self._strange(f"it belongs to another user (id {about.st_uid})")
            if about.st_mode & 0o077:
                self.root.chmod(0o700)
            for inner in (self.entries, self.loading, self.pins):
                inner.mkdir(mode=0o700, exist_ok=True)

    def _strange(self, why: str) -> OutputError:
        return OutputError(
            f"{self.root} cannot be the cache of objects: {why}",
            expected="a folder of your own",
            remedy="give another folder as --cache",
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within it, no other thread or process changes what lies in the cache."""
        limit = current_time_limit()
        with _locks.setdefault(self.root, threading.Lock()):
            while True:
                try:
                    own = take_claim(self.root / "room")
                    break
                except ClaimedElsewhere:
                    if limit is not None:
                        limit.check("waiting for the cache of objects")
                    sleep(_PAUSE_S)
            try:
                with output_errors(self.root):
                    yield
            finally:
                own.release()

    def entry(self, digest: str) -> Entry | None:
        """What is staged under a digest; None where nothing is."""
        return next((entry for entry in self._all() if entry.digest == digest), None)

    def pin(self, digest: str, use: Use) -> Path:
        """Keeps an entry from being evicted; to be called under `locked`."""
        started = started_at(os.getpid()) or "0"
        path = self.pins / f"{digest}.{new_token()}.{started}.{use}"
        path.touch(mode=0o600)
        return path

    def mark_waiting(self, pin: Path) -> Path:
        """Says that who has a pin waits for more room; for as long as the file is there."""
        mark = pin.with_name(pin.name + _WAITS)
        with output_errors(mark):
            mark.touch(mode=0o600)
        return mark

    def standing(self) -> Standing:
        """Who holds what; to be called under `locked`."""
        entries, loads, pins = self._all(), self._loads(), self._living()
        sizes = {entry.digest: entry.num_bytes for entry in entries}
        waiting = {name[0].removesuffix(_WAITS) for name in pins if name[5]}
        held: dict[tuple[str, bool], dict[str, int]] = {}
        for name in pins:
            if name[4] == "used" and not name[5]:
                who = (_named_owner(name[2]), name[0] in waiting)
                held.setdefault(who, {})[name[1]] = sizes.get(name[1], 0)
        holders = [
            f"{who} holds {in_words(sum(found.values()))}{' and waits, too' if waits else ''}"
            for (who, waits), found in sorted(held.items())
        ]
        holders += [
            f"{_named_owner(path.name.partition('.')[2])} fetches {in_words(size)}"
            for path, size in sorted(loads.items())
        ]
        names = {path.name for path in (*(entry.path for entry in entries), *loads)}
        names |= {name[0] for name in pins}
        is_worked_on = bool(loads) or not all(waits for _, waits in held)
        return Standing(frozenset(names), is_worked_on, tuple(holders))

    def unpin(self, pin: Path) -> None:
        """Gives an entry free; it counts as used just now."""
        with suppress(OSError):
            pin.unlink()
        with suppress(OSError, StopIteration):
            digest = pin.name.partition(".")[0]
            os.utime(next(entry.path for entry in self._all() if entry.digest == digest))

    def reserve(self, digest: str, num_bytes: int, use: Use) -> Path | None:
        """A folder for objects to come, with their room; to be called under `locked`.

        What was not used for longest gives way; what others will want soon, only to what is used.

        Args:
            digest: What they are.
            num_bytes: What they will take.
            use: Whether they are needed now.

        Returns:
            The folder; None where other processes use what would have to give way.

        Raises:
            DiskError: The disk has not that much room, whatever gives way.
        """
        pinned, entries, loading = self._pinned(), self._all(), self._loads()
        may_go = [
            entry
            for entry in entries
            if pinned.get(entry.digest) is None
            or (pinned[entry.digest] == "wanted" and use == "used" and entry.digest != digest)
        ]
        may_go.sort(key=lambda entry: (pinned.get(entry.digest) is not None, entry.used_ns))
        taken = sum(entry.num_bytes for entry in entries) + sum(loading.values())
        still_coming = sum(size - _size_of(path) for path, size in loading.items())
        free = shutil.disk_usage(self.root).free - max(0, still_coming)
        over = taken + num_bytes - self.limit_bytes
        could_go = sum(entry.num_bytes for entry in may_go)
        if over > could_go:
            return None
        if num_bytes - free > could_go:
            raise DiskError(
                f"the disk of {self.root} has {max(0, free) / 1e6:.1f} MB left",
                expected=f"{num_bytes / 1e6:.1f} MB for the next slide",
                remedy="free some disk space, or give a folder of another disk as --cache",
            )
        for entry in may_go:
            if over <= 0 and num_bytes <= free:
                break
            self.drop(entry.path)
            over, free = over - entry.num_bytes, free + entry.num_bytes
        path = self.loading / f"{digest}-{num_bytes}.{new_token()}"
        path.mkdir(mode=0o700)
        return path

    def settle(self, loaded: Path) -> Entry:
        """Makes what was loaded an entry; to be called under `locked`."""
        name = loaded.name.partition(".")[0]
        digest, _, num_bytes = name.partition("-")
        path = self.entries / name
        if path.exists():  # somebody took over while this process slept
            shutil.rmtree(loaded)
        else:
            os.rename(loaded, path)
        os.utime(path)
        return Entry(path, digest, int(num_bytes), path.stat().st_mtime_ns)

    def drop(self, path: Path) -> None:
        """Removes what was being loaded, or an entry that is of no more use."""
        assert path.parent in (self.entries, self.loading), "only what is ours"
        if path.parent == self.entries:
            # Out of sight first: a process that is killed here leaves no half as if it were whole.
            aside = self.loading / f"{path.name}.{new_token()}"
            with suppress(FileNotFoundError):
                path.rename(aside)
            path = aside
        shutil.rmtree(path, ignore_errors=True)

    def _all(self) -> list[Entry]:
        found = []
        with os.scandir(self.entries) as listed:
            for one in listed:
                name = _ENTRY.fullmatch(one.name)
                with suppress(FileNotFoundError):  # dropped in this moment
                    if name and one.is_dir(follow_symlinks=False):
                        used_ns = one.stat(follow_symlinks=False).st_mtime_ns
                        found.append(Entry(Path(one.path), name[1], int(name[2]), used_ns))
        return found

    def _loads(self) -> dict[Path, int]:
        """What is on its way, and the room it will take; what dead processes left is removed."""
        found = {}
        for path, name in _named(self.loading, _LOADING):
            if self._is_left(path, name[3], None):
                shutil.rmtree(path, ignore_errors=True)
            else:
                found[path] = int(name[2])
        return found

    def _pinned(self) -> dict[str, Use]:
        """Entries that living processes use or want; pins of dead ones are removed."""
        found: dict[str, Use] = {}
        for name in self._living():
            if not name[5] and (name[4] == "used" or name[1] not in found):
                found[name[1]] = "used" if name[4] == "used" else "wanted"
        return found

    def _living(self) -> list[re.Match[str]]:
        """The names of pins of living processes; those of dead ones are removed."""
        found = []
        for path, name in _named(self.pins, _PIN):
            if self._is_left(path, name[2], None if name[3] == "0" else name[3]):
                path.unlink(missing_ok=True)
            else:
                found.append(name)
        return found

    def _is_left(self, path: Path, token: str, started: str | None) -> bool:
        """Whether the process that made a name is gone; of other machines its age tells."""
        if is_at_this_place(token):
            return is_gone(token, started)
        try:
            return time_of_disk_ns(self.root) - path.stat().st_mtime_ns > _OLD_NS
        except FileNotFoundError:
            return False


def _named_owner(token: str) -> str:
    """A process, as people find it."""
    if is_at_this_place(token):
        return f"process {token.split('-')[1]}"
    return "a process of another machine"


def _named(folder: Path, names: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    found = ((folder / name, names.fullmatch(name)) for name in os.listdir(folder))
    return [(path, match) for path, match in found if match is not None]


def _size_of(folder: Path) -> int:
    total = 0
    for above, _, names in os.walk(folder):  # which passes over what vanishes meanwhile
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(above, name)).st_size
    return total


if hasattr(os, "register_at_fork"):  # a thread that held one does not live on in the child
    os.register_at_fork(after_in_child=_locks.clear)
