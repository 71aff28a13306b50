"""What a file is by its first bytes, whatever its name says."""

from pathlib import Path

_SIGNATURES = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (b"<!doctype html", "a web page (often a failed download)"),
    (b"<html", "a web page (often a failed download)"),
    (b"<?xml", "an XML document"),
    (b"%pdf", "a PDF document"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89hdf\r\n", "an HDF5 file"),
    (b"\x89png", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"ii*\x00", "a TIFF file"),
    (b"mm\x00*", "a TIFF file"),
    (b"ii+\x00", "a BigTIFF file"),
    (b"mm\x00+", "a BigTIFF file"),
    (b"gif8", "a GIF image"),
    (b"bm", "a BMP image"),
    (b"zisrawfile", "a Zeiss CZI file"),
)


def describe_content(path: Path) -> str:
    """What the first bytes say a file is, for a message: "a PDF document", "plain text", ..."""
    with path.open("rb") as file:
        head = file.read(512)
    folded = head.lower()
    for magic, words in _SIGNATURES:
        if folded.startswith(magic):
            return words
    if head[128:132] == b"DICM":
        return "a DICOM file"
    if head and not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "plain text"
    return "data of an unknown kind"
