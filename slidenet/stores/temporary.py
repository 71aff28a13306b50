"""Names under which files are written, and the removal of what dead processes left of them.

Every name is new: `.FILE.TOKEN.tmp` beside the file, so that no two writers ever share one. Only
such names are removed: where their process is known to have ended or, of processes elsewhere, where
the file is older than a day by the clock of the disk itself (clocks of machines differ).
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from slidenet.stores.owners import TOKEN, is_at_this_place, is_gone, new_token, owner_of

_NAME = re.compile(rf"\.(?P<file>.+)\.(?P<token>{TOKEN})\.tmp", re.DOTALL)
_OLD_NS = 24 * 3600 * 10**9

_swept: set[Path] = set()


def temporary_path(path: Path) -> Path:
    """A new name under which `path` is written before it is whole."""
    return path.with_name(f".{path.name}.{new_token()}.tmp")


def time_of_disk_ns(folder: Path) -> int:
    """What time it is for the disk that holds a folder, in nanoseconds."""
    own = temporary_path(folder / "clock")
    try:
        own.write_bytes(b"x")
        return own.stat().st_mtime_ns
    finally:
        own.unlink(missing_ok=True)


def sweep_once(own: Path) -> None:
    """Removes what dead processes left in a folder; once per process and folder.

    Args:
        own: A file just written there; its time is what "now" is for the disk.
    """
    if own.parent in _swept:
        return
    _swept.add(own.parent)
    with suppress(OSError):  # others may be faster; what stays is invisible and swept next time
        now_ns = own.stat().st_mtime_ns
        for path, _, token in _temporaries(own.parent):
            if path == own:
                continue
            is_old = now_ns - path.stat().st_mtime_ns > _OLD_NS
            if is_gone(token) or (is_old and not is_at_this_place(token)):
                path.unlink(missing_ok=True)


def remove_temporaries(path: Path, owner: str) -> None:
    """Removes what a process that lost its claim has of `path`, so that it cannot rename it."""
    for temporary, name, token in _temporaries(path.parent):
        if name == path.name and owner_of(token) == owner:
            temporary.unlink(missing_ok=True)


def _temporaries(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """Temporary files of a folder, what they are to be called and whose they are."""
    with os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found:
                yield Path(entry.path), found["file"], found["token"]
