"""A fingerprint of a slide's content that is quick on network disks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.admission import check_file

NUM_BLOCKS = 64
BLOCK_BYTES = 64 * 1024
_DICOM_HEAD_BYTES = 64 * 1024


def fingerprint_file(path: Path, *, dicom_series: str | None = None) -> str:
    """SHA-256 over the size and 64 evenly spaced blocks of 64 KiB, the first and last included.

    At most 4 MiB are read, so a change that touches only bytes between blocks and keeps the size
    goes unseen; a file of up to 4 MiB is read whole. Of a slide made of several files (mrxs, vms,
    DICOM) the names and sizes of the companions count too. The slide's own name does not, so a
    moved slide keeps its fingerprint.

    Args:
        path: The file that is opened.
        dicom_series: SeriesInstanceUID of a DICOM slide, to find its companions.

    Returns:
        64 hex digits.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"slidenet fingerprint 1\n{size}\n".encode())
    with path.open("rb") as file:
        if size <= NUM_BLOCKS * BLOCK_BYTES:
            digest.update(file.read())
        else:
            for i in range(NUM_BLOCKS):
                file.seek(i * (size - BLOCK_BYTES) // (NUM_BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))
    for name, companion in sorted(companions(path, dicom_series)):
        digest.update(f"\n{name}\t{companion.stat().st_size}".encode())
    return digest.hexdigest()


def check_sha256(path: Path, expected: str) -> None:
    """Reads the whole file and compares its digest: what bit rot and half copies do not survive.

    Args:
        path: The slide; of one made of several files, the one that is opened.
        expected: 64 hex digits, lower case.

    Raises:
        UnreadableSlideError: It has another digest, or cannot be read.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableSlideError(
            f"it cannot be read to the end ({error.strerror})",
            expected="a readable file",
            remedy="copy it again",
            slide=path.name,
        ) from error
    if found != expected:
        raise UnreadableSlideError(
            f"its SHA-256 is {found[:12]}..., the manifest says {expected[:12]}...",
            expected="the file the manifest was made for",
            remedy="copy it again; or correct the column `sha256` where the slide was changed on "
            "purpose",
            slide=path.name,
        )


def companions(path: Path, dicom_series: str | None) -> Iterator[tuple[str, Path]]:
    """The other files of a slide, each with its name beside the one that is opened.

    Args:
        path: The file that is opened.
        dicom_series: SeriesInstanceUID of a DICOM slide.
    """
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        folder = path.with_suffix("")
        for file in folder.rglob("*"):
            if file.is_file():
                yield file.relative_to(folder).as_posix(), file
    elif suffix in {".vms", ".vmu"}:
        # A Hamamatsu index file names its neighbours: `ImageFile(1,0)=slide-1-0.jpg`.
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name = line.partition("=")[2].strip()
            if name and (path.parent / name).is_file():
                yield name, path.parent / name
    elif dicom_series is not None:
        for file in path.parent.iterdir():
            if file != path and file.is_file():
                with file.open("rb") as opened:
                    head = opened.read(_DICOM_HEAD_BYTES)
                if head[128:132] == b"DICM" and dicom_series.encode() in head:
                    yield file.name, file
