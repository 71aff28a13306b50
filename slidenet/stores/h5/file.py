"""Opening and making h5 files without HDF5's sharp edges."""

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from slidenet.core.errors import StoreError, fault_of
from slidenet.stores.atomic import atomic_path

# Fixed, so that the bytes do not depend on what a newer HDF5 would choose.
_LIBVER = ("v110", "v110")


class _CarefulFile(io.RawIOBase):
    """A file that remembers its first error and from then on pretends that all works.

    HDF5 that sees an error of a full disk, or of memory, cannot close its file any more and takes
    the whole process down with a segmentation fault at exit. So it never sees one; `error` is
    raised once the file is closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.error: OSError | MemoryError | None = None

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            return self._file.readinto(buffer)  # type: ignore[attr-defined, no-any-return]  # raw
        except (OSError, MemoryError) as error:
            self.error = self.error or error
        view = memoryview(buffer).cast("B")
        view[:] = bytes(len(view))
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        done = 0
        while done < len(view) and self.error is None:
            try:
                done += self._file.write(view[done:])
            except (OSError, MemoryError) as error:
                self.error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            self._file.truncate(size)
        except (OSError, MemoryError) as error:
            self.error = self.error or error
        return size or 0

    def raise_error(self) -> None:
        """Raises the first error of writing, if there was one."""
        if self.error is not None:
            raise self.error


class NewFile:
    """A new h5 file: the h5py handle, and a way to stop early once the disk is full."""

    def __init__(self, h5: Any, file: _CarefulFile) -> None:
        self.h5 = h5
        self._file = file

    def check(self) -> None:
        """Raises the first error of writing, if there was one; call it now and then."""
        self._file.raise_error()


@contextmanager
def create_h5(path: Path, *, slide: str = "") -> Iterator[NewFile]:
    """Writes an h5 file that appears at `path` only when it is whole and on the disk.

    Raises:
        OutputError: The folder is read-only, full or missing; nothing is left behind.
    """
    with atomic_path(path, slide=slide) as temporary, temporary.open("wb+", buffering=0) as raw:
        file = _CarefulFile(raw)
        with h5py.File(file, "w", libver=_LIBVER) as h5:
            yield NewFile(h5, file)
        file.raise_error()


@contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Opens an h5 file for reading.

    Raises:
        StoreError: There is no such file, or it is not (or no longer) HDF5, or reading it failed.
    """
    h5 = open_handle(Path(path))
    try:
        yield h5
    except (OSError, RuntimeError, KeyError) as error:
        raise broken(Path(path), error) from error
    finally:
        h5.close()


@contextmanager
def open_group(path: Path, name: str) -> Iterator[Any]:
    """A group of an h5 file for reading its attributes, in half the time that `open_h5` takes.

    Raises:
        StoreError: As `open_h5`; or there is no such group.
    """
    try:
        file = h5py.h5f.open(os.fsencode(path), h5py.h5f.ACC_RDONLY, _quick_access())
    except (OSError, RuntimeError) as error:
        open_handle(path).close()  # says what is wrong with it
        raise broken(path, error) from error
    try:
        try:
            group = h5py.Group(h5py.h5g.open(file, name.encode()))
        except (KeyError, ValueError) as error:
            if "doesn't exist" not in str(error):
                raise broken(path, error) from error
            message = f"{path} has no group /{name}"
            raise StoreError(message, remedy="make the file again") from None
        yield group
    except (OSError, RuntimeError, KeyError) as error:
        raise broken(path, error) from error
    finally:
        file.close()


@functools.cache
def _quick_access() -> Any:
    """As h5py opens files: closed with all that is open in them, without locks."""
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_file_locking(False, True)
    return access


def open_handle(path: Path) -> Any:
    """An open h5py file for reading; the caller closes it. Raises as `open_h5` does."""
    if not path.is_file():
        raise StoreError(
            f"{path} does not exist" if not path.exists() else f"{path} is not a file",
            expected="an h5 file written by slidenet",
        )
    try:
        # Finished files never change, and locks fail on read-only and some network disks.
        return h5py.File(path, "r", locking=False)
    except (OSError, RuntimeError) as error:
        raise broken(path, error) from error


def broken(path: Path, error: Exception) -> StoreError:
    """The error for a file HDF5 cannot read: it is spoilt, or its disk fails."""
    if isinstance(error, OSError) and error.errno and (fault := fault_of(error)):
        return StoreError(
            f"{path} cannot be read ({os.strerror(error.errno)})",
            expected=fault.expected,
            remedy=fault.remedy,
        )
    reason = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
    return StoreError(
        f"{path} cannot be read as HDF5, it is cut short or spoilt ({reason})",
        expected="an h5 file written by slidenet",
        remedy="delete it and make it again",
    )
