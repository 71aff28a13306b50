"""DeepZoom pictures as openslide's and vips' exporters write them: NAME.dzi and NAME_files.

Format: NAME_files/LEVEL/COLUMN_ROW.jpeg; the highest level is the whole picture, each lower one has
half its sides, rounded up. Tiles share `Overlap` pixels with each neighbour, beyond their own.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.tile_images.listing import (
    DEEPZOOM_FOLDER,
    DEEPZOOM_SUFFIX,
    FolderListing,
)

_MAX_BYTES = 65_536
_ELEMENT = re.compile(r"<(?:[A-Za-z]+:)?(Image|Size)\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"""([A-Za-z]+)\s*=\s*["']([^"']*)["']""")
_MAX_SIDE = 1 << 31
MPP_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class DeepZoom:
    """A DeepZoom picture.

    Attributes:
        description: The .dzi.
        folder: With a folder per level.
        tile_size_px: Side of a tile without what it shares.
        overlap_px: Pixels shared with each neighbour.
        width: Of the whole picture.
        height: Of the whole picture.
    """

    description: Path
    folder: Path
    tile_size_px: int
    overlap_px: int
    width: int
    height: int

    @property
    def top_level(self) -> int:
        """The level of the whole picture."""
        return (max(self.width, self.height) - 1).bit_length()

    @classmethod
    def at(cls, path: Path, listing: FolderListing | None) -> "DeepZoom | None":
        """The picture a path means: its .dzi, its folder of levels, or the folder of both.

        Args:
            path: A file or a folder.
            listing: What lies in the folder.

        Returns:
            None where the path means something else.

        Raises:
            UnreadableSlideError: The description is damaged, its folder is missing, or there are
                several.
        """
        if listing is None:
            return cls._read(path)
        stem = path.name.removesuffix(DEEPZOOM_FOLDER)
        if stem != path.name and path.with_name(stem + DEEPZOOM_SUFFIX).is_file():
            return cls._read(path.with_name(stem + DEEPZOOM_SUFFIX))
        if not listing.deepzooms or listing.images:
            return None
        if len(listing.deepzooms) > 1:
            raise UnreadableSlideError(
                f"{path.name} holds {len(listing.deepzooms)} DeepZoom pictures",
                expected="one slide",
                remedy="give the folder as --slides: each .dzi of it is a slide",
                slide=path.name,
            )
        return cls._read(path / listing.deepzooms[0])

    @classmethod
    def _read(cls, path: Path) -> "DeepZoom":
        try:
            with path.open(encoding="utf-8-sig") as file:
                text = file.read(_MAX_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(path, f"cannot be read ({error})") from error
        said: dict[str, str] = {}
        for element, attributes in _ELEMENT.findall(text):
            for name, value in _ATTRIBUTE.findall(attributes):
                said.setdefault(f"{element}.{name}", value)
        numbers = {}
        for name, least in (
            ("Image.TileSize", 1),
            ("Image.Overlap", 0),
            ("Size.Width", 1),
            ("Size.Height", 1),
        ):
            value = said.get(name, "")
            if not re.fullmatch("[0-9]{1,10}", value) or not least <= int(value) < _MAX_SIDE:
                raise _damaged(path, f"says {name} {value!r}")
            numbers[name.partition(".")[2]] = int(value)
        folder = path.with_name(path.stem + DEEPZOOM_FOLDER)
        if not folder.is_dir():
            raise UnreadableSlideError(
                f"its folder {folder.name} is not beside {path.name}",
                expected="the tiles of the DeepZoom picture",
                remedy="copy the folder, too",
                slide=path.name,
            )
        return cls(
            path,
            folder,
            numbers["TileSize"],
            numbers["Overlap"],
            numbers["Width"],
            numbers["Height"],
        )

    def level_for(self, mpp: float | None, tile_mpp: float | None) -> int:
        """The level whose pixels have a resolution; the highest where none is asked for.

        Args:
            mpp: Microns per pixel of the highest level.
            tile_mpp: Microns per pixel wanted.

        Raises:
            UnreadableSlideError: No level has it; those there are are named.
        """
        there = sorted(
            (int(name) for name in FolderListing.of(self.folder).folders if name.isdecimal()),
            reverse=True,
        )
        there = [level for level in there if level <= self.top_level]
        if mpp is None or tile_mpp is None:
            wanted = self.top_level
        else:
            fits = [
                level
                for level in there
                if abs(mpp * 2 ** (self.top_level - level) / tile_mpp - 1) <= MPP_TOLERANCE
            ]
            wanted = fits[0] if fits else -1
        if wanted not in there:
            scale = "" if mpp is None else f", {mpp:g} mpp at level {self.top_level}"
            asked = f"of {tile_mpp:g} mpp" if wanted < 0 else str(wanted)
            raise UnreadableSlideError(
                f"it has no level {asked} (there are {', '.join(map(str, there)) or 'none'}"
                f"{scale}; each lower one has twice the microns per pixel)",
                expected="tiles of that level",
                remedy="give --tile-mpp of a level that is there (in Python, tile_mpp), or export "
                "it again",
                slide=self.description.name,
            )
        return wanted


def _damaged(path: Path, what: str) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"{path.name} {what}",
        expected="<Image TileSize=.. Overlap=..><Size Width=.. Height=../></Image>",
        remedy="export the picture again",
        slide=path.name,
    )
