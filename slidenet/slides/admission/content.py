"""What a file is by its first bytes, whatever its name says."""

from pathlib import Path

from slidenet.slides.admission.jpeg_header import jpeg_frame
from slidenet.slides.tiff import TiffIndex, tags

_HEAD_BYTES = 1 << 20
_DECODED = {tags.NONE, tags.LZW, tags.JPEG, tags.DEFLATE, tags.OLD_DEFLATE, tags.PACKBITS}
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
_OTHER_FILE = "this is not the slide; look at what the path points to"
_PYRAMID = "convert it into a tiled TIFF pyramid (vips tiffsave IN OUT.tif --tile --pyramid)"
_WAYS_OUT = {
    "a Git LFS pointer": "fetch the file itself (git lfs pull)",
    "a web page": "download it again, signed in where the site asks for it",
    "a ZIP archive": "unpack it and give the slide inside",
    "a gzip archive": "unpack it (gunzip) and give the slide inside",
    "a PDF": _OTHER_FILE,
    "an HDF5": _OTHER_FILE,
    "an XML": _OTHER_FILE,
    "an SQLite": _OTHER_FILE,
    "plain text": _OTHER_FILE,
    "data of an unknown kind": _OTHER_FILE,
    "zeros": "copy it again and compare its content with the original's (column sha256)",
    "a JPEG": _PYRAMID,
    "a GIF": _PYRAMID,
    "a BMP": _PYRAMID,
    "a WebP": _PYRAMID,
    "a HEIF": _PYRAMID,
    "a TIFF": _PYRAMID,
    "a BigTIFF": _PYRAMID,
}


def describe_content(path: Path) -> str:
    """What the first bytes say a file is, for a message: "a PDF document", "plain text", ..."""
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image"
    if head[4:12] in (b"ftypheic", b"ftypmif1", b"ftypavif"):
        return "a HEIF or AVIF image"
    if head[128:132] == b"DICM":
        return "a DICOM file"  # also where its preamble is that of a TIFF
    folded = head.lower()
    for magic, words in _SIGNATURES:
        if folded.startswith(magic):
            return words
    if head and not head.strip(b"\0"):
        return "zeros (a copy that was begun and not finished)"
    if head and not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "plain text"
    return "data of an unknown kind"


def explain_content(path: Path) -> str:
    """What a file is that no reader knows, with the reason where its content is an image."""
    words = describe_content(path)
    if words == "a JPEG image":
        with path.open("rb") as file:
            frame = jpeg_frame(file.read(_HEAD_BYTES))
        if frame is not None and (frame.bits != 8 or frame.coding != "Huffman"):
            return f"{words} of {frame.bits} bits ({frame.coding} coding), which no reader here has"
    if words in ("a TIFF file", "a BigTIFF file"):
        index = TiffIndex.read(path)
        if index is not None and index.directories and index.picture.levels[0].problems == ():
            page = index.picture.levels[0]
            what = "tiles" if page.is_tiled else "strips"
            known = page.compression in _DECODED
            return (
                words if known else f"{words} whose {what} no reader here can decode: {page.codec}"
            )
    return words


def way_out(words: str) -> str:
    """What to do about a file that is no slide.

    Args:
        words: What `explain_content` says it is.
    """
    for start, remedy in _WAYS_OUT.items():
        if words.startswith(start):
            return remedy
    return "give the slide file itself, or leave it out of the manifest"
