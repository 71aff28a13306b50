"""What cannot be a slide, refused before any library sees it."""

import os
import stat
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError

_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path) -> None:
    """Refuses what cannot be a slide before any library sees it.

    Raises:
        UnreadableSlideError: Missing, unreadable, empty, a folder, a pipe or a device.
    """
    try:
        kind = path.stat().st_mode
    except OSError as error:
        raise _cannot_open(path, error) from error
    if stat.S_ISDIR(kind):
        raise UnreadableSlideError(
            "it is a folder",
            expected="a slide file",
            remedy="give the file inside it (DICOM: any one .dcm; MIRAX: the .mrxs beside it)",
            slide=str(path),
        )
    if not stat.S_ISREG(kind):  # opening a pipe would wait for ever
        raise UnreadableSlideError(
            f"it is {_SPECIAL.get(stat.S_IFMT(kind), 'a special file')}",
            expected="a slide file",
            remedy="give a regular file, or leave it out of the manifest",
            slide=str(path),
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise _cannot_open(path, error) from error
    if empty:
        raise UnreadableSlideError(
            "it has zero bytes",
            expected="a slide file",
            remedy="copy it again",
            slide=path.name,
        )


def _cannot_open(path: Path, error: OSError) -> UnreadableSlideError:
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return UnreadableSlideError(
            f"{path.absolute()} is a link to {os.readlink(path)}, which is not there",
            expected="a readable file",
            remedy="bring back what it points to, or make the link anew",
            slide=str(path),
        )
    return UnreadableSlideError(
        f"{path.absolute()} cannot be opened ({error.strerror})",
        expected="a readable file",
        remedy="check the path and its permissions",
        slide=str(path),
    )
