"""Whose TIFF a file is, and what each of its pages shows by that maker's rules."""

import re
from collections.abc import Callable, Sequence
from xml.parsers import expat

from slidenet.slides.tiff.directory import Directory
from slidenet.slides.tiff.ome import OmeImage

LEVEL, LABEL, MACRO, THUMBNAIL, OTHER = "level", "label", "macro", "thumbnail", "other"

_REDUCED, _MASK = 1, 4
_APERIO_KIND = re.compile(r"^(label|macro)\b", re.MULTILINE)
_LEICA = "http://www.leica-microsystems.com/scn/"


def family_of(first: Directory, *, ndpi: bool, ome: Sequence[OmeImage]) -> str:
    """Maker of a file by its first directory, in openslide's words where it has one.

    Args:
        first: The first directory.
        ndpi: Whether the layout is Hamamatsu's.
        ome: The images of its OME-XML.
    """
    text = first.description
    if ndpi:
        return "hamamatsu"
    if text.startswith("Aperio"):
        return "aperio"
    if _LEICA in text[:4096]:
        return "leica"
    if first.software.startswith("Philips") or "DPUfsImport" in text[:4096]:
        return "philips"
    if "<iScan" in first.xmp[:65536] or "<iScan" in text[:65536]:
        return "ventana"
    if first.software.startswith("MedScan"):
        return "trestle"
    return "ome" if ome else "generic-tiff"


def role_of(family: str, first: Directory) -> Callable[[Directory], str]:
    """What a page shows, as a function of the page.

    Args:
        family: See `family_of`.
        first: The first directory of the file.
    """
    if family == "leica":
        return _leica(first.description)
    return {
        "aperio": _aperio,
        "hamamatsu": _hamamatsu,
        "philips": _philips,
        "ventana": _ventana,
        "trestle": lambda page: LEVEL if page.is_tiled else OTHER,
    }.get(family, lambda page: LEVEL if is_reduced(page) else OTHER)


def is_reduced(page: Directory) -> bool:
    """Whether a page says that it is a smaller copy of another one."""
    return page.subfile_type & (_REDUCED | _MASK) == _REDUCED


def is_whole(page: Directory) -> bool:
    """Whether a page says that it is an image of its own, neither a copy nor a mask."""
    return page.subfile_type & (_REDUCED | _MASK) == 0


def _aperio(page: Directory) -> str:
    # "Aperio Image Library v11.2.1 \nlabel 387x463"; anonymised files keep the flags only.
    kind = _APERIO_KIND.search(page.description)
    if kind is not None:
        return LABEL if kind[1] == "label" else MACRO
    if page.is_tiled:
        return LEVEL
    return {1: LABEL, 9: MACRO}.get(page.subfile_type, THUMBNAIL if page.number == 1 else OTHER)


def _hamamatsu(page: Directory) -> str:
    if page.lens is None or page.lens <= 0:
        return MACRO if page.lens == -1 else OTHER
    return LEVEL if page.focal_plane == 0 else OTHER


def _philips(page: Directory) -> str:
    text = page.description[:64].lower()
    if text.startswith("label"):
        return LABEL
    if text.startswith("macro"):
        return MACRO
    return LEVEL if page.is_tiled else OTHER


def _ventana(page: Directory) -> str:
    text = page.description.lower()
    if text.startswith("level="):
        return LEVEL
    if text.startswith(("label image", "label_image")):
        return LABEL  # it shows the whole glass, label and tissue
    return THUMBNAIL if text.startswith("thumbnail") else OTHER


def _leica(description: str) -> Callable[[Directory], str]:
    """Leica's XML names the directories of each image; one that shows all the glass is macro."""
    roles: dict[int, str] = {}
    glass: tuple[str | None, str | None] = (None, None)
    pending: list[int] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal glass
        size = attributes.get("sizeX"), attributes.get("sizeY")
        if tag == "collection":
            glass = size
        elif tag == "image":
            pending.clear()
        elif tag == "dimension" and attributes.get("z", "0") == "0":
            if attributes.get("ifd", "").isdecimal():
                pending.append(int(attributes["ifd"]))
        elif tag == "view":
            role = MACRO if size == glass else LEVEL
            roles.update(dict.fromkeys(pending, role))

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    try:
        if "<!ENTITY" not in description:
            parser.Parse(description, True)
    except expat.ExpatError:
        roles.clear()
    return lambda page: roles.get(page.number, OTHER)
