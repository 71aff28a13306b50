"""How the tiles of an output folder are read: decided once, before its first slide.

Tiles read at whole pixels (reading 2) have other pixels than those of version 1 (reading 1), and a
cohort must not mix them. A folder that was begun in one way is finished in that way.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from slidenet.core.errors import ConfigError, IdentityMismatchError
from slidenet.core.records import BLENDED_READING, READINGS, WHOLE_PIXEL_READING, SlideRow
from slidenet.core.text import name_some
from slidenet.pipelines.begun.origins import origins, tile_files
from slidenet.pipelines.cohort.layout import OutputLayout

_log = logging.getLogger(__name__)


def reading_of_folder(
    layout: OutputLayout,
    rows: Sequence[SlideRow],
    asked: int | None,
    *,
    overwrite: bool = False,
    because: str = "",
) -> int:
    """The reading of every tile that will be made in an output folder.

    Args:
        layout: Paths of the output folder.
        rows: The slides of this run.
        asked: The reading asked for; None: that of the tiles there, else reading 2.
        overwrite: Whether the tiles of these slides are to be replaced.
        because: Who asked, as a clause, where it was not the user.

    Raises:
        ConfigError: No such reading.
        IdentityMismatchError: The folder holds tiles of both readings, or of another than asked.
    """
    if asked is not None and asked not in READINGS:
        raise ConfigError(f"reading is {asked}", expected=f"one of {', '.join(map(str, READINGS))}")
    replaced = {layout.tiles(row.slide_id) for row in rows} if overwrite else set()
    there = _readings(path for path in tile_files(layout) if path not in replaced)
    if len(there) > 1:
        raise IdentityMismatchError(
            f"{layout.root} holds tiles read in two ways ({_described(there)})",
            expected="one way for all slides of a cohort",
            remedy="choose another output folder, or pass --overwrite for all of its slides",
        )
    if not there:
        return WHOLE_PIXEL_READING if asked is None else asked
    (found,) = there
    if asked is not None and asked != found:
        raise IdentityMismatchError(
            f"{layout.root} holds tiles of another reading ({_described(there)})",
            expected=f"reading {asked}{because}",
            remedy=f"choose another output folder, or pass --reading {found} to go on as begun",
        )
    if found == BLENDED_READING and asked is None:
        _log.warning(
            "%s was begun with reading 1 (tiles blended between pixels of a level), so its other "
            "slides are read in the same way; a new output folder gets reading 2 (whole pixels)",
            layout.root,
        )
    return found


def check_one_reading(layout: OutputLayout, rows: Sequence[SlideRow]) -> None:
    """Refuses slides whose tiles were read in two ways.

    Raises:
        IdentityMismatchError: Naming slides of both.
    """
    paths = (layout.tiles(row.slide_id) for row in rows)
    there = _readings(path for path in paths if path.is_file())
    if len(there) > 1:
        raise IdentityMismatchError(
            f"the tiles of these slides were read in two ways ({_described(there)})",
            expected="one way for all slides of a cohort",
            remedy="run `slidenet preprocess --overwrite` for all of them",
        )


def _readings(paths: Iterable[Path]) -> dict[int, list[str]]:
    """Names of slides by the reading of their tiles."""
    found: dict[int, list[str]] = {}
    for slide_id, origin in origins(paths):
        found.setdefault(origin.reading, []).append(slide_id)
    return found


def _described(there: dict[int, list[str]]) -> str:
    return "; ".join(f"reading {r}: {name_some(names, most=3)}" for r, names in there.items())
