"""Claims: any number of processes share one output folder and one list of slides.

Who is about to make a file creates `.FILE.claim` beside it, exclusively, with a random token
inside, and touches it now and then. Nothing else is needed of the disk: no locks, which many
network disks lack, and no common clock: a claim is as old as a file just written there says.

A claim that is no longer touched is taken over. It is renamed to a name of one's own first and the
token read again, so that of several who try one succeeds and a claim that came back to life is put
back. What its last owner had begun to write is removed, and an owner proves before each rename that
the token is still its own: a process that slept for an hour wakes up and finds that it has lost.
"""

import atexit
import errno
import functools
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from slidenet.core.errors import ClaimedElsewhere, LostClaim
from slidenet.core.json_text import parse_json
from slidenet.stores.atomic import output_errors, proven_before_renames
from slidenet.stores.owners import TOKEN, host_name, is_gone, new_token, owner_of, started_at
from slidenet.stores.temporary import remove_temporaries, sweep_once, temporary_path

_log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
"""So often a claim is touched."""
STALE_S = 120.0
"""A claim that was not touched for so long is given up."""

_MAX_BYTES = 4096
_TRIES = 10
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Sighting:
    """A claim of another process as it was seen.

    Attributes:
        token: Of its owner; "" where the file does not say.
        changed_ns: When it was last touched, by the clock of the disk.
        host: Machine of its owner.
        pid: Process id of its owner there.
        started: When that process was started, in ticks of its kernel, where that is known.
    """

    token: str
    changed_ns: int
    host: str = ""
    pid: int = 0
    started: str | None = None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


class Claim:
    """The right of this process to make one file; made by `take_claim`.

    Attributes:
        path: The file that is to be made.
        token: Names this claim and nothing else.
        is_lost: Whether it is known that another process has taken the work over.
    """

    def __init__(self, path: Path, token: str, slide: str) -> None:
        self.path, self.token, self.is_lost = path, token, False
        self._slide = slide

    @property
    def file(self) -> Path:
        """Where the claim lies."""
        return claim_file(self.path)

    def check(self) -> None:
        """Proves that the claim is still that of this process.

        Raises:
            LostClaim: Another process has taken it over; nothing may be written any more.
            OutputError: The disk cannot be read.
        """
        with output_errors(self.file, slide=self._slide):
            found = _look(self.file)
        if found is None or found.token != self.token:
            self.is_lost = True
            raise LostClaim(
                f"the claim on {self.path} was taken over by {found or 'another process'}, as this "
                f"one had not been heard of for {STALE_S:g} s",
                remedy="nothing is lost; run the same command again if the other one does not end",
                slide=self._slide,
                seen=found,
            )

    def touch(self) -> None:
        """Says that this process is alive; notes where the claim was lost."""
        try:
            found = _look(self.file)
            if found is not None and found.token == self.token:
                os.utime(self.file)
            else:
                self.is_lost = True
        except OSError:  # the disk may be away for a while
            return

    def release(self) -> None:
        """Gives the claim back, unless it was taken over."""
        try:
            self._remove()
        except BaseException:  # a signal has come between; it comes once
            self._remove()
            raise
        _live.discard(self)

    def _remove(self) -> None:
        with suppress(OSError):  # else it will be given up for its age
            _remove(self.file, self.token)


def claim_file(path: Path) -> Path:
    """Where the claim on a file lies."""
    return path.with_name(f".{path.name}.claim")


@contextmanager
def claim(path: Path, *, slide: str = "") -> Iterator[Claim]:
    """Claims the right to make a file, for the block; within it, this thread may claim it again.

    Whatever is written in the block by `atomic_path` gets its name only while the claim is held.

    Args:
        path: The file; it need not exist, nor its folder.
        slide: slide_id, for messages.

    Raises:
        ClaimedElsewhere: Another process holds it, with what was seen of it.
        OutputError: The folder cannot be written.
    """
    held = held_claim(path)
    if held is not None:
        yield held
        return
    own = take_claim(path, slide=slide)
    before = _held.set((*_held.get(), own))
    try:
        with proven_before_renames(own.check):
            yield own
    finally:
        _held.reset(before)
        own.release()


def held_claim(path: Path) -> Claim | None:
    """The claim on a file that this thread holds within a block of `claim`."""
    return next((one for one in _held.get() if one.path == path), None)


def refuse_if_lost() -> None:
    """Raises `LostClaim` where a claim of this thread is known to be lost; asks no disk."""
    for one in _held.get():
        if one.is_lost:
            one.check()


def take_claim(path: Path, *, slide: str = "") -> Claim:
    """Claims a file until `release`; see `claim`, which does so for a block.

    Where this thread holds the claim already, take `claim`.
    """
    own, file = Claim(path, new_token(), slide), claim_file(path)
    with output_errors(path, slide=slide):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            for _ in range(_TRIES):
                now_ns = _create(file, own.token)
                with output_errors(file, slide=slide):  # what is in its place is to be named
                    found = _look(file)
                if found is None:
                    continue  # given back in this moment
                if found.token == own.token:
                    _live.add(own)
                    return own
                if not _is_stale(file, found, now_ns):
                    break
                _take_over(path, file, found)
        except BaseException:  # a signal may come when the claim has its name, and nobody knows
            own.release()
            raise
    raise ClaimedElsewhere(
        f"{found or 'another process'} is working on {path}",
        remedy="let it end and run the same command again; the claim of a process that died is "
        f"given up {STALE_S:g} s after its last sign of life",
        slide=slide,
        seen=found,
    )


_held: ContextVar[tuple[Claim, ...]] = ContextVar("_held", default=())


class _LiveClaims:
    """The claims of this process, touched by one thread."""

    def __init__(self) -> None:
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, own: Claim) -> None:
        with self._lock:
            self._claims.add(own)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="claims", daemon=True)
                self._thread.start()

    def discard(self, own: Claim) -> None:
        with self._lock:
            self._claims.discard(own)

    def release(self) -> None:
        for own in list(self._claims):
            own.release()

    def _beat(self) -> None:
        while True:
            sleep(HEARTBEAT_S)
            with self._lock:
                claims = list(self._claims)
            for own in claims:
                own.touch()


_live = _LiveClaims()


def _forget() -> None:
    """A forked process holds no claim, and has no thread that touches any."""
    global _live
    _live = _LiveClaims()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@atexit.register
def give_back_claims() -> None:
    """Releases what a signal has kept from being released when its block ended.

    Whoever still works under one of them notices before it gives a file its name.
    """
    _live.release()


def _create(file: Path, token: str) -> int:
    """Creates the claim, unless one is there; returns what time it is for the disk, in ns.

    The file is linked to its name with its content, so that nobody sees it half written; on disks
    without links it is created exclusively and filled.
    """
    content = {"token": token, "host": host_name(), "started": started_at(os.getpid())}
    own = temporary_path(file)
    try:
        own.write_text(json.dumps(content), encoding="utf-8")
        now_ns = own.stat().st_mtime_ns
        sweep_once(own)
        _name_exclusively(own, file)
    finally:
        with suppress(OSError):
            own.unlink()
    return now_ns


def _name_exclusively(own: Path, file: Path) -> None:
    """Gives a file a second name, where none is there yet; a disk without links makes a copy."""
    try:
        os.link(own, file)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _say_once(file.parent)
        with suppress(FileExistsError), file.open("xb") as copy:
            copy.write(own.read_bytes())


@functools.cache
def _say_once(folder: Path) -> None:
    _log.warning(
        "the disk of %s knows no hard links; claims of slides are created exclusively there, which "
        "some network disks do not keep to: results stay right, but work may be done twice",
        folder,
    )


def _look(file: Path) -> Sighting | None:
    """The claim that is there; None where there is none.

    The file is opened anew, as network disks only then ask whether it has changed. Claims are no
    links: one in their place is as good as nonsense, wherever it leads.
    """
    try:
        with open(file, "rb", opener=_open_no_link) as opened:
            changed_ns = os.fstat(opened.fileno()).st_mtime_ns
            found = parse_json(opened.read(_MAX_BYTES))
        token, host, started = (found[name] for name in ("token", "host", "started"))
        if not (re.fullmatch(TOKEN, token) and isinstance(host, str)):
            raise ValueError("not what slidenet wrote")
        return Sighting(token, changed_ns, host, int(token.split("-")[1]), started)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # removed by another machine while it was opened
            return None
        if error.errno == errno.ELOOP:
            with suppress(FileNotFoundError):
                return Sighting("", file.lstat().st_mtime_ns)
            return None
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return Sighting("", changed_ns)  # being written, or spoilt: only its age tells


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


_seen: dict[Path, tuple[Sighting, float]] = {}


def _is_stale(file: Path, found: Sighting, now_ns: int) -> bool:
    """Whether the owner of a claim has died, or slept so long that it counts as dead.

    Either it is known to be gone, or its age says so and it was not touched while this process
    looked on, or it was not touched for `STALE_S` by the clock of this process: clocks may jump.
    """
    if found.token and is_gone(found.token, found.started):
        return True
    first, since = _seen.setdefault(file, (found, monotonic()))
    if first != found:
        _seen[file] = (found, monotonic())
        return False
    quiet = monotonic() - since
    is_old = now_ns - found.changed_ns >= STALE_S * 1e9
    return quiet >= (2 * HEARTBEAT_S if is_old else STALE_S)


def _take_over(path: Path, file: Path, found: Sighting) -> None:
    """Removes a stale claim, and what its owner had begun to write in its place."""
    if _remove(file, found.token):
        _seen.pop(file, None)
        _log.info("%s: the claim of %s was given up", path, found)
        if found.token:
            remove_temporaries(path, owner_of(found.token))


def _remove(file: Path, token: str) -> bool:
    """Removes the claim of that token and no other; says whether it did."""
    found = _look(file)
    if found is None or found.token != token:
        return False
    aside = temporary_path(file)
    try:  # a signal that comes right after the rename finds it in here
        os.rename(file, aside)
        found = _look(aside)
        if found is not None and found.token == token:
            return True
        _name_exclusively(aside, file)  # where somebody was faster, its owner will notice
        return False
    except FileNotFoundError:
        return False
    finally:
        aside.unlink(missing_ok=True)
