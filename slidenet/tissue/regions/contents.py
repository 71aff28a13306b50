"""The bytes of a region file, within a budget of work and memory: a file of others is a claim."""

import gzip
import reprlib
import stat
import zlib
from pathlib import Path

from slidenet.core.errors import SlideError

MAX_BYTES = 200 * 2**20
"""Largest region file read, unpacked."""
EXPORT_REMEDY = (
    "export only annotations in QuPath (without cells and detections), or simplify outlines with "
    "Objects > Annotations... > Simplify shape"
)

_GZIP = b"\x1f\x8b"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_UTF_8_MARK = b"\xef\xbb\xbf"


def read_contents(path: Path) -> bytes:
    """The unpacked bytes of a region file, without a byte order mark.

    Raises:
        SlideError: No ordinary file, unreadable, too large packed or unpacked, or UTF-16.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SlideError(f"{path} is no ordinary file", expected="a file of regions")
        if path.stat().st_size > MAX_BYTES:
            raise _too_large(path, f"is {path.stat().st_size / 1e6:,.0f} MB")
        content = path.read_bytes()
        if content.startswith(_GZIP):
            with gzip.open(path) as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise _too_large(path, f"unpacks to more than {MAX_BYTES / 1e6:,.0f} MB")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SlideError(
            f"{path} cannot be read ({reason})", expected="GeoJSON, as .geojson.gz too, or ASAP XML"
        ) from error
    content = content.removeprefix(_UTF_8_MARK)
    if not is_xml(content) and (content.startswith(_UTF_16) or b"\0" in content[:4]):
        raise SlideError(
            f"{path.name} is not UTF-8 (UTF-16, or no text at all)",
            expected="GeoJSON in UTF-8",
            remedy="save it again as UTF-8",
        )
    return content


def is_xml(content: bytes) -> bool:
    """Whether the first letter opens an XML element; in any of the encodings of XML."""
    return content[:100].lstrip(b"\xff\xfe\0 \t\r\n")[:1] == b"<"


def shown(value: object) -> str:
    """A value of a file of others, short and printable on one line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    return ascii(value) if isinstance(value, bool | None) else reprlib.repr(value)


def _too_large(path: Path, found: str) -> SlideError:
    return SlideError(
        f"{path.name} {found}", expected=f"at most {MAX_BYTES / 1e6:,.0f} MB", remedy=EXPORT_REMEDY
    )
