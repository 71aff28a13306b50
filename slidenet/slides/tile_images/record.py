"""`tiles.json`: what slidenet says of a folder of tiles that it exported itself."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.tile_images.declaration import LEVEL0, TILE_FRAMES

RECORD_NAME = "tiles.json"
FORMAT = "slidenet.tile_images"
_MAX_BYTES = 1_000_000
_MAX_SIDE = 1 << 31


@dataclass(frozen=True, slots=True)
class TileFolderRecord:
    """How the images of a folder lie.

    Attributes:
        slide_mpp: Microns per pixel of level 0.
        tile_mpp: Microns per pixel of the images.
        tile_size_px: Side of the images.
        stride_px: Step between tiles, pixels of the images.
        level0_width: Width of the slide they were cut from, level-0 pixels.
        level0_height: Its height.
        num_tiles: Images of the folder.
        complete: Whether all of them have been written.
        frame: What the places in their names count.
        stride_guessed: As `CutTiles.stride_guessed`, of tiles that had been cut before; the file
            says it only where it is so.
    """

    slide_mpp: float
    tile_mpp: float
    tile_size_px: int
    stride_px: int
    level0_width: int
    level0_height: int
    num_tiles: int
    complete: bool = True
    frame: str = LEVEL0
    stride_guessed: bool = False

    def content(self) -> dict[str, Any]:
        """What the file holds, as JSON."""
        content = {"format": FORMAT, "format_version": 1, **asdict(self)}
        if not self.stride_guessed:
            del content["stride_guessed"]
        return content

    @classmethod
    def of_folder(cls, folder: Path) -> "TileFolderRecord | None":
        """The record of a folder; None where it has none of slidenet's.

        Raises:
            UnreadableSlideError: It is damaged, or says that the export did not end.
        """
        path = folder / RECORD_NAME
        if not path.is_file():
            return None
        try:
            with path.open(encoding="utf-8-sig") as file:
                content = json.loads(file.read(_MAX_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(folder, f"cannot be read ({error})") from error
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            return None  # another tool's, about something else
        problem = _problem(content)
        if problem:
            raise _damaged(folder, problem)
        record = cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})
        if not record.complete:
            raise UnreadableSlideError(
                f"{RECORD_NAME} says that its export did not end",
                expected="all of its tiles",
                remedy="run the same `slidenet export-tiles` again, which goes on where it was",
                slide=folder.name,
            )
        return record


def _problem(content: Mapping[str, Any]) -> str:
    if content.get("format_version") != 1:
        return f"is of version {content.get('format_version')!r}; this slidenet reads version 1"
    for name in ("slide_mpp", "tile_mpp"):
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"says {name} {value!r}"
        if not (math.isfinite(value) and value > 0):
            return f"says {name} {value!r}"
    for name in ("tile_size_px", "stride_px", "level0_width", "level0_height", "num_tiles"):
        value = content.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _MAX_SIDE:
            return f"says {name} {value!r}"
    for name, otherwise in (("complete", None), ("stride_guessed", False)):
        if not isinstance(content.get(name, otherwise), bool):
            return f"says {name} {content.get(name)!r}"
    if content.get("frame") not in TILE_FRAMES:
        return f"says frame {content.get('frame')!r}"
    return ""


def _damaged(folder: Path, what: str) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"{RECORD_NAME} {what}",
        expected="what `slidenet export-tiles` wrote",
        remedy="export the tiles again; or delete the file and declare --mpp, --tile-mpp and "
        "--tile-frame",
        slide=folder.name,
    )
