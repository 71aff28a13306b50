"""What lies in a folder of tile images: one look, however many files there are."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
DEEPZOOM_SUFFIX, DEEPZOOM_FOLDER = ".dzi", "_files"
_SLIDES_OF_FOLDERS = (".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".vms", ".vmu")
_NOT_COUNTED = {"thumbs.db", "desktop.ini", "tiles.json"}
"""Files of Windows, and slidenet's own record of an export."""
MAX_FILES = 5_000_000


@dataclass(frozen=True, slots=True)
class FolderListing:
    """The names in a folder, each kind in the order that people count in (2 before 10).

    Attributes:
        images: Files with the ending of an image.
        tables: CSV files.
        deepzooms: Descriptions of DeepZoom pictures (.dzi).
        slides: Files of scanners' formats.
        folders: Folders.
        num_others: Other files, but for hidden ones, those of Windows and `tiles.json`.
    """

    images: tuple[str, ...]
    tables: tuple[str, ...]
    deepzooms: tuple[str, ...]
    slides: tuple[str, ...]
    folders: tuple[str, ...]
    num_others: int

    @classmethod
    def of(cls, folder: Path) -> "FolderListing":
        """Looks into a folder.

        Raises:
            UnreadableSlideError: It cannot be read, or holds more than `MAX_FILES` names.
        """
        kinds: dict[str, list[str]] = {name: [] for name in ("", *cls.__slots__)}
        try:
            with os.scandir(folder) as entries:
                for count, entry in enumerate(entries):
                    if count >= MAX_FILES:
                        raise _too_many(folder)
                    kinds[_kind(entry)].append(entry.name)
        except OSError as error:
            raise UnreadableSlideError(
                f"{folder.absolute()} cannot be read ({error.strerror})",
                expected="a folder that can be listed",
                remedy="check the path and its permissions",
                slide=folder.name,
            ) from error
        num_others = len(kinds.pop("num_others"))
        kinds.pop("")
        ordered = {name: tuple(sorted(names, key=_natural)) for name, names in kinds.items()}
        return cls(**ordered, num_others=num_others)


def is_tile_folder(path: Path) -> bool:
    """Whether a path is read as tile images: a .dzi file, or a folder that holds images or one.

    A folder with files of a scanner's format is none: what lies beside those is not the slide.
    """
    if path.suffix.lower() == DEEPZOOM_SUFFIX and os.path.isfile(path):
        return True
    if not os.path.isdir(path):  # False too for what is too long for a name
        return False
    found = False
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == "slides":
                    return False
                found = found or kind in ("images", "deepzooms")
    except OSError:
        return True  # opening it says what keeps it from being read
    return found or _is_deepzoom_folder(path)


def may_say_resolution(path: Path) -> bool:
    """Whether something beside the images could say their resolution: a record, CSV or .dzi."""
    if not path.is_dir() or _is_deepzoom_folder(path):
        return True
    if path.with_name(f"{path.name}.csv").is_file():
        return True
    telling = ("tiles.json", ".csv", DEEPZOOM_SUFFIX)
    try:
        with os.scandir(path) as entries:
            return any(entry.name.lower().endswith(telling) for entry in entries)
    except OSError:
        return True  # opening it says what keeps it from being read


def _is_deepzoom_folder(path: Path) -> bool:
    stem = path.name.removesuffix(DEEPZOOM_FOLDER)
    return stem != path.name and path.with_name(stem + DEEPZOOM_SUFFIX).is_file()


def _kind(entry: os.DirEntry[str]) -> str:
    name = entry.name.lower()
    if name.startswith(".") or name in _NOT_COUNTED:
        return ""
    suffix = os.path.splitext(name)[1]
    try:
        if entry.is_dir():
            return "folders"
    except OSError:  # a link that leads back to itself
        return "images" if suffix in IMAGE_SUFFIXES else "num_others"
    # A link to a tile that is away is a tile that cannot be read, not one that was never there.
    if suffix in IMAGE_SUFFIXES and (entry.is_file() or entry.is_symlink()):
        return "images"
    if not entry.is_file():
        return "num_others"
    if suffix == ".csv":
        return "tables"
    if suffix == DEEPZOOM_SUFFIX:
        return "deepzooms"
    return "slides" if suffix in _SLIDES_OF_FOLDERS else "num_others"


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    parts = re.split("([0-9]+)", name)
    return tuple((int(part), part) if i % 2 else (0, part) for i, part in enumerate(parts))


def _too_many(folder: Path) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"{folder} holds more than {MAX_FILES:,} files",
        expected="the tiles of one slide",
        remedy="give each slide a folder of its own",
        slide=folder.name,
    )
