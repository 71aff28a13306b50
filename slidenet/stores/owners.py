"""Which process a file on a shared disk belongs to, and whether that process is still there.

An owner is named `PLACE-PID`. A place is one kernel since it was started and one namespace of
process ids: who is at the same place sees the same processes, so that one that is gone is known to
be gone. Of processes at other places only the age of their files tells.
"""

import functools
import hashlib
import os
import re
import secrets
import socket
import sys
from pathlib import Path

_PLACE_BYTES, _RANDOM_BYTES = 4, 4
TOKEN = rf"[0-9a-f]{{{2 * _PLACE_BYTES}}}-\d+-[0-9a-f]{{{2 * _RANDOM_BYTES}}}"
"""What `new_token` makes, as a regular expression."""


def host_name() -> str:
    """Name of this machine in letters, digits, dots and dashes, for names of files."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:40].strip(".-") or "host"


@functools.cache
def _place() -> str | None:
    """What tells this set of processes from every other; None where the system does not say."""
    if sys.platform != "linux":
        return None
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(os.readlink("/proc/self/ns/pid"))
    except OSError:
        return None
    return f"{socket.gethostname()} {boot} {namespace}"


def place_digest() -> str:
    """The place of this process as eight digits."""
    place = _place() or f"{socket.gethostname()} {sys.platform}"
    return hashlib.blake2b(place.encode(), digest_size=_PLACE_BYTES).hexdigest()


def new_token() -> str:
    """A name that nobody had before: place, process id and random digits."""
    return f"{place_digest()}-{os.getpid()}-{secrets.token_hex(_RANDOM_BYTES)}"


def owner_of(token: str) -> str:
    """The process that made a token."""
    return token.rpartition("-")[0]


def started_at(pid: int) -> str | None:
    """When a process of this place was started, in ticks of its kernel; None where nobody says.

    With it a process is told from a later one that got the same id.
    """
    status = _status_of(pid)
    return None if status is None else status[19]


def is_at_this_place(token: str) -> bool:
    """Whether the process that made a token would be seen from here, while it lives."""
    return _place() is not None and token.startswith(f"{place_digest()}-")


def is_gone(token: str, started: str | None = None) -> bool:
    """Whether the process that made a token is known to have ended; False where nobody knows.

    Args:
        token: Of `new_token`.
        started: When it was started, if that was noted down.
    """
    if not is_at_this_place(token):
        return False
    pid = token.split("-")[1]
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass  # somebody else's, and there
    status = _status_of(int(pid))
    if status is None:  # /proc may hide processes of others
        return False
    return status[0] in "ZX" or started not in (None, status[19])


def _status_of(pid: int) -> list[str] | None:
    """State of a process and what follows it in /proc; None where it is not shown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
