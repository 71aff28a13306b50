"""A folder of slides: which of its entries are slides, with subfolders where asked for.

A folder is listed once, without a question to the disk per file where the disk tells the kinds of
entries with their names, and in bounded time: links between folders are followed once.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slidenet.core.errors import ManifestError, UnreadableSlideError
from slidenet.core.records import SlideRow
from slidenet.slides.tile_images.listing import (
    DEEPZOOM_FOLDER,
    DEEPZOOM_SUFFIX,
    IMAGE_SUFFIXES,
    is_tile_folder,
)
from slidenet.slides.tile_images.names import places_in_names
from slidenet.stores.manifest.entries import Entries, entries_of
from slidenet.stores.manifest.left_out import FolderSlides, Why, some_slides
from slidenet.stores.manifest.slide_ids import check_slide_ids, same_on_disk

_OUTPUTS = {"overlays", "runs", "slide_embeddings", "tile_features", "tiles", "tissue"}


def slides_of_folder(
    folder: Path, suffixes: Collection[str], *, recursive: bool = False
) -> FolderSlides:
    """The slides of a folder, in order of their paths, and what else lies there.

    Args:
        folder: Its slide files are the slides; where it holds none, its subfolders that hold tile
            images are.
        suffixes: File name endings that make a file a slide; case does not matter.
        recursive: Whether slides of all subfolders count, too. Slides that would share a name are
            then named with their folders, `FOLDER--NAME`.

    Raises:
        ManifestError: No slides, several that cannot be told apart, or a name that cannot be a
            slide_id.
    """
    found = FolderSlides(folder)
    endings = tuple(suffix.lower() for suffix in suffixes)
    return named_slides(found, endings, Search(found, endings, recursive))


def named_slides(found: FolderSlides, endings: tuple[str, ...], search: "Search") -> FolderSlides:
    """The slides of a search with their names; see `slides_of_folder`.

    Args:
        found: Gets them, and what to tell of them.
        endings: That make a file a slide, in small letters.
        search: Finds them.
    """
    folder = found.folder
    slides = sorted(search.slides(), key=lambda slide: slide.parts)
    if not slides:
        raise _no_slides(found, endings)
    shared = _shared_names(slides)
    rows = [
        SlideRow(
            slide.with_folders if slide.name in shared else slide.name, search.place(slide.parts)
        )
        for slide in slides
    ]
    places = [f"{folder}, file {slide.within}" for slide in slides]
    check_slide_ids(rows, places, error=ManifestError)
    if shared:
        named = [r.slide_id for r, s in zip(rows, slides, strict=True) if s.name in shared]
        found.remarks.append(
            f"{some_slides(named)} are named with their folders: the names of their files alone "
            "come more than once"
        )
    away = [slide.within for slide in slides if slide.is_away]
    if away:
        found.remarks.append(f"{some_slides(away)} are links to what is not there, and will fail")
    found.rows = rows
    return found


@dataclass(frozen=True, slots=True)
class _Found:
    """A slide of the folder.

    Attributes:
        parts: Its path from the folder on.
        name: Of the file without its ending, or of the folder.
        is_away: Whether it is a link to something that is not there.
    """

    parts: tuple[str, ...]
    name: str
    is_away: bool = False

    @property
    def within(self) -> str:
        """Its path from the folder on, as text."""
        return str(PurePosixPath(*self.parts))

    @property
    def with_folders(self) -> str:
        """The name behind those of the subfolders it lies in."""
        return "--".join((*self.parts[:-1], self.name))


def _shared_names(slides: list[_Found]) -> set[str]:
    """Names that slides of several folders have."""
    groups: dict[str, list[_Found]] = {}
    for slide in slides:
        groups.setdefault(same_on_disk(slide.name), []).append(slide)
    several = (g for g in groups.values() if len({slide.parts[:-1] for slide in g}) > 1)
    return {slide.name for group in several for slide in group}


class Search:
    """One walk through a folder.

    Args:
        found: Is told what is left out.
        endings: That make a file a slide, in small letters.
        recursive: Whether to go into subfolders.
    """

    def __init__(self, found: FolderSlides, endings: tuple[str, ...], recursive: bool) -> None:
        self._found, self._endings, self._recursive = found, endings, recursive
        self._seen: set[tuple[int, int]] = set()
        self._count = 0

    def slides(self) -> Iterator[_Found]:
        """Every slide, in any order."""
        tile_folders: list[_Found] = []
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            entries = self._entries(parts)
            if entries is None:
                continue
            if parts and self._is_tile_slide(parts, entries):
                tile_folders.append(_Found(parts, parts[-1]))
                continue
            files = self._without_parts(parts, entries)
            for name in files:
                stem, away = os.path.splitext(name)[0], name in entries.away
                yield _Found((*parts, name), stem, away)
            folders = [name for name in entries.folders if not _holds_pixels(name, entries)]
            if self._recursive:
                waiting += [(*parts, name) for name in folders]
            elif files:
                self._leave_out(Why.SUBFOLDER, parts, folders)
            else:
                for name, stem in self._tile_folders(folders):
                    yield _Found((name,), stem)
        if tile_folders:
            shown = some_slides([slide.within for slide in tile_folders])
            self._found.remarks.append(f"{shown} are folders of tile images")
        yield from tile_folders

    def place(self, parts: tuple[str, ...]) -> str:
        """Where an entry lies, as a manifest says it."""
        return str(self._path(parts))

    def _path(self, parts: tuple[str, ...]) -> Path:
        return Path(self._found.folder).joinpath(*parts)

    def _leave_out(self, why: Why, parts: tuple[str, ...], names: Collection[str]) -> None:
        for name in names:
            self._found.leave_out(why, str(PurePosixPath(*parts, name)))

    def _entries(self, parts: tuple[str, ...]) -> Entries | None:
        """What lies in a folder; None where it is not to be looked into, which is told."""
        path = self._path(parts)
        try:
            if self._recursive:
                about = path.stat()
                if (about.st_dev, about.st_ino) in self._seen:
                    self._leave_out(Why.SEEN, parts[:-1], parts[-1:])
                    return None
                self._seen.add((about.st_dev, about.st_ino))
            entries = entries_of(path, self._endings, counted=self._count)
        except OSError as error:
            if not parts:
                raise ManifestError(
                    f"{path} cannot be read ({error.strerror})",
                    expected="a folder that can be listed",
                    remedy="check the path and its permissions",
                ) from error
            self._leave_out(Why.UNREADABLE, parts[:-1], [f"{parts[-1]}: {error.strerror}"])
            return None
        self._count = entries.counted
        return self._looked_through(parts, entries)

    def _looked_through(self, parts: tuple[str, ...], entries: Entries) -> Entries | None:
        """Tells what is no slide of a folder; None where the folder is not looked into."""
        if parts and ("run.json" in entries.others or len(_OUTPUTS & {*entries.folders}) > 1):
            self._leave_out(Why.OUTPUT, parts[:-1], parts[-1:])
            return None
        for why, names in entries.left_out.items():
            self._leave_out(why, parts, names)
        self._leave_out(Why.OTHER_ENDING, parts, entries.others)
        return entries

    def _without_parts(self, parts: tuple[str, ...], entries: Entries) -> list[str]:
        """The slide files but for parts of another slide, and DeepZoom copies of one."""
        endings = entries.endings
        number = list(endings.values()).count(".dcm")
        if number > 1:
            raise ManifestError(
                f"{self.place(parts)} holds {number} .dcm files, and which of them make one slide "
                "cannot be told from their names",
                expected="one .dcm file at most in a folder given as a cohort",
                remedy="write a slides.csv naming one .dcm file of each slide",
            )
        # Hamamatsu's index files point to JPEGs beside them.
        with_jpegs = bool({".vms", ".vmu"} & set(endings.values()))
        # What a viewer has made of a slide for itself is not another slide.
        stems = {os.path.splitext(n)[0] for n, end in endings.items() if end != DEEPZOOM_SUFFIX}
        left = {
            name
            for name, end in endings.items()
            if (with_jpegs and end in (".jpg", ".jpeg"))
            or (end == DEEPZOOM_SUFFIX and os.path.splitext(name)[0] in stems)
        }
        self._leave_out(Why.PART, parts, left)
        return [name for name in entries.files if name not in left]

    def _tile_folders(self, folders: list[str]) -> list[tuple[str, str]]:
        """The subfolders that are slides of tile images, with their names; others are told."""
        tiles = [name for name in folders if is_tile_folder(self._path((name,)))]
        others = set(folders) - set(tiles)
        self._leave_out(Why.NO_TILES if tiles else Why.SUBFOLDER, (), others)
        return [(name, name.removesuffix(DEEPZOOM_FOLDER)) for name in tiles]

    def _is_tile_slide(self, parts: tuple[str, ...], entries: Entries) -> bool:
        """Whether a subfolder is one slide of tile images, as its record or their names say.

        Without either nobody knows; then its images count as slides.
        """
        stems = [os.path.splitext(n)[0] for n, e in entries.endings.items() if e in IMAGE_SUFFIXES]
        if not stems or not is_tile_folder(self._path(parts)):
            return False
        if "tiles.json" in entries.others:
            return True
        try:
            return len(stems) > 1 and places_in_names(stems, slide=parts[-1]) is not None
        except UnreadableSlideError:  # some of the names only
            return False


def _holds_pixels(folder: str, entries: Entries) -> bool:
    """Whether a folder belongs to a file beside it: of a MIRAX slide, of a DeepZoom picture."""
    stem = folder.removesuffix(DEEPZOOM_FOLDER)
    if stem != folder:
        return f"{stem}{DEEPZOOM_SUFFIX}" in entries.endings
    return f"{folder}.mrxs" in entries.endings


def _no_slides(found: FolderSlides, endings: tuple[str, ...]) -> ManifestError:
    """The error for a folder without slides, with what it holds instead."""
    held = [found.count(why) for why in Why if why in found.left_out]
    remedies = {
        Why.FOREIGN: "convert them into pyramidal OME-TIFFs",
        Why.SUBFOLDER: "pass --recursive, which takes the slides of subfolders, or list them in a "
        "slides.csv with a column slide_path; of tile images, give the folder that holds a folder "
        "per slide",
    }
    remedy = next((text for why, text in remedies.items() if why in found.left_out), "")
    return ManifestError(
        f"{found.folder} holds no slides that can be read"
        + (f", but {'; '.join(held)}" if held else ""),
        expected=f"files ending in {', '.join(endings)}",
        remedy=remedy or "check the path",
    )
