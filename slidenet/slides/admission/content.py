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
    (b"\x00\x00\x00\x0cjp  \r\n\x87\n", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51".lower(), "a JPEG 2000 image"),
    (b"\x00\x00\x00\x0cjxl \r\n\x87\n", "a JPEG XL image"),
    (b"sis\x00", "an Olympus ETS file"),
    (b"\xda\xce\xbe\n", "a Nikon ND2 file"),
    (b"sqlite format 3\x00", "an SQLite database"),
)


def describe_content(path: Path) -> str:
    """What the first bytes say a file is, for a message: "a PDF document", "plain text", ..."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[128:132] == b"DICM":
        return "a DICOM file"  # also where its preamble is that of a TIFF
    folded = head.lower()
    for magic, words in _SIGNATURES:
        if folded.startswith(magic):
            return words
    if head and not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "plain text"
    return "data of an unknown kind"
