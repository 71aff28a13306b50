"""What lies in one folder, by what it can be for a cohort."""

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from slidenet.core.errors import ManifestError
from slidenet.slides import SCANNER_FORMATS
from slidenet.stores.manifest.left_out import Why

MAX_ENTRIES = 5_000_000
"""Of a cohort; what holds more is no folder of slides."""


@dataclass
class Entries:
    """What lies in a folder.

    Attributes:
        files: Files with the ending of a slide.
        away: Those of them that are links to what is not there.
        folders: Subfolders.
        others: Other files.
        left_out: What is nothing of these.
        counted: Entries of the cohort so far.
    """

    files: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    left_out: dict[Why, list[str]] = field(default_factory=dict)
    counted: int = 0

    @cached_property
    def endings(self) -> dict[str, str]:
        """The ending of each slide file, in small letters."""
        return {name: os.path.splitext(name)[1].lower() for name in self.files}


def entries_of(folder: Path, endings: tuple[str, ...], *, counted: int = 0) -> Entries:
    """Looks into a folder.

    Args:
        folder: Which.
        endings: That make a file a slide, in small letters.
        counted: Entries of the cohort seen before.

    Raises:
        OSError: It cannot be listed.
        ManifestError: The cohort has more entries than `MAX_ENTRIES`.
    """
    found = Entries(counted=counted)
    with os.scandir(folder) as listed:
        for entry in listed:
            found.counted += 1
            if found.counted > MAX_ENTRIES:
                raise ManifestError(
                    f"{folder} and the folders listed with it hold more than {MAX_ENTRIES:,} files",
                    expected="a folder of slides",
                    remedy="list the slides in a slides.csv with a column slide_path",
                )
            why, name = _why_not(entry, endings, found)
            if why is not None:
                found.left_out.setdefault(why, []).append(name)
    return found


def _why_not(
    entry: os.DirEntry[str], endings: tuple[str, ...], found: Entries
) -> tuple[Why | None, str]:
    """Puts an entry where it belongs; why it belongs nowhere, and how it is called then."""
    name, is_slide = entry.name, entry.name.lower().endswith(endings)
    ending = os.path.splitext(name)[1].lower()
    known = SCANNER_FORMATS.get(ending)
    if name.startswith("."):
        return Why.HIDDEN, name
    try:
        if known is not None and not known.read and not is_slide:
            return Why.FOREIGN, f"{name} ({known.words})"
        if entry.is_dir():
            found.folders.append(name)
        elif entry.is_file():
            (found.files if is_slide else found.others).append(name)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            if not is_slide:
                return Why.BROKEN_LINK, name
            # A link to a slide that is away is a slide that fails, not one that was never there.
            found.files.append(name)
            found.away.add(name)
        else:
            return Why.SPECIAL, name
    except OSError as error:  # a link that leads back to itself, a disk that fails
        if not is_slide:
            return Why.UNREADABLE, f"{name}: {error.strerror}"
        found.files.append(name)
        found.away.add(name)
    return None, name
