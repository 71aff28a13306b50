"""Files that appear whole or not at all.

A file is written under a temporary name of its own in its folder, synced, and renamed. Whatever
goes wrong with the folder (read-only, full, not a folder) becomes one `OutputError` with its
remedy, and the temporary file is removed. Who works under a claim (`stores.claims`) proves before
each rename that it still holds it.
"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from slidenet.core.errors import AWAY, BROKEN, DiskError, OutputError, fault_of
from slidenet.stores.temporary import sweep_once, temporary_path

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}

_proofs: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("_proofs", default=())


def output_error(error: OSError, path: Path, *, slide: str = "") -> OutputError:
    """Says what an operating-system error on `path` means for the user."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL:
        found = f"no room left while writing {path} ({reason})"
        remedy = "free some disk space or choose another output folder, then run again"
    elif error.errno in _FORBIDDEN:
        found = f"{path} cannot be written ({reason})"
        remedy = "choose another output folder, or get the right to write to this one"
    elif error.errno in _NO_FOLDER:
        found = f"{path} cannot be written: a file and a folder are in each other's place"
        remedy = "choose another output folder"
    elif error.errno in AWAY | BROKEN and (fault := fault_of(error)):
        found, remedy = f"{path} cannot be written ({reason})", fault.remedy
    else:
        found, remedy = f"{path} cannot be written ({reason})", "choose another output folder"
    kind = OutputError if error.errno in _NO_FOLDER else DiskError
    return kind(found, remedy=remedy, slide=slide)


@contextmanager
def output_errors(path: Path, *, slide: str = "") -> Iterator[None]:
    """Turns every operating-system error of the block into an `OutputError` about `path`."""
    try:
        yield
    except OSError as error:
        raise output_error(error, path, slide=slide) from error


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """Makes the output folder where it is missing and proves that files can be written there.

    Args:
        path: The folder; its missing parents are made too.

    Returns:
        The folder as a `Path`.

    Raises:
        OutputError: The folder cannot be made or written, with the remedy.
    """
    folder = Path(path)
    _refuse_address(path)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_path(folder / "slidenet-write-test")
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    return folder


def _refuse_address(path: str | os.PathLike[str]) -> None:
    """A folder named as a bucket would be made in the working folder, and nobody would look there.

    Raises:
        OutputError: With what to do.
    """
    from slidenet.stores.objects.uri import shown_uri, uri_of  # which need this module

    uri = uri_of(path)
    if uri is not None:
        raise OutputError(
            f"{shown_uri(uri)} is the address of an object store",
            expected="a folder of this machine, which is all this verb can write to",
            remedy="give a folder, and copy it there afterwards (`aws s3 sync FOLDER URI`)",
        )


def check_free_disk(path: Path, needed: int, *, slide: str = "") -> None:
    """Refuses to start what cannot fit: `needed` bytes on the disk that will hold `path`."""
    with output_errors(path, slide=slide):
        free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DiskError(
            f"{path.parent} has {free / 1e6:.1f} MB free",
            expected=f"{needed / 1e6:.1f} MB for {path.name} and its partial file",
            remedy="free some disk space or choose another output folder",
            slide=slide,
        )


@contextmanager
def proven_before_renames(proof: Callable[[], None]) -> Iterator[None]:
    """Within it, in this thread, `proof` is called before a file gets its name, and may refuse."""
    before = _proofs.set((*_proofs.get(), proof))
    try:
        yield
    finally:
        _proofs.reset(before)


@contextmanager
def atomic_path(path: Path, *, slide: str = "") -> Iterator[Path]:
    """Yields a temporary name; on success it becomes `path`, on any failure it is removed.

    Raises:
        OutputError: The folder is read-only or full.
        LostClaim: Another process has taken over the work this file belongs to.
    """
    temporary = temporary_path(path)
    with output_errors(path, slide=slide):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                yield temporary
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                sweep_once(temporary)
                for prove in _proofs.get():
                    prove()
                os.replace(temporary, path)
            except FileNotFoundError:  # who takes a claim over removes what its last owner wrote
                for prove in _proofs.get():
                    prove()
                raise
        except BaseException:
            if os.path.lexists(temporary):
                temporary.unlink()
            raise
        path.with_name(f".{path.name}.tmp").unlink(missing_ok=True)  # a kill of an older version
        _sync_folder(path.parent)


def write_json(path: Path, content: Any, *, sort_keys: bool = False) -> None:
    """Writes `content` as indented JSON, whole or not at all.

    Raises:
        OutputError: The folder is read-only or full.
    """
    text = json.dumps(content, indent=2, sort_keys=sort_keys) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_once(path: Path, content: Any) -> bool:
    """Writes `content` like `write_json`, but only where nothing is there yet.

    Of several processes that do so at the same time, one is told that it did.

    Raises:
        OutputError: The folder is read-only or full.
    """
    own = temporary_path(path)
    write_json(own, content)
    with output_errors(path):
        try:
            os.link(own, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links; then the last one to write is followed
            if path.exists():
                return False
            os.replace(own, path)
            return True
        finally:
            own.unlink(missing_ok=True)
    return True


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # folders cannot be opened there; the rename itself is journalled
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
