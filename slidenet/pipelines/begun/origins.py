"""What the tiles of each slide were begun with, known of thousands of slides in a second.

To open a file costs about a millisecond, on a network disk several, and each verb asks of all files
of a cohort before its first slide. So what they say is remembered in `tiles/.origins.json`, with
size, times and inode of each file: one that is not the same any more is asked anew. The memory only
saves time: it may be deleted, and what cannot be written is not remembered.
"""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from slidenet.core.errors import OutputError, StoreError
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.stores import TilesOrigin, tiles_origin
from slidenet.stores.atomic import atomic_path

MEMORY_NAME = ".origins.json"
LEAST_NEW = 500
"""Files opened anew before it is worth to write them down."""
_MOST_BYTES = 500_000_000
_VERSION = 1

Stamp: TypeAlias = tuple[int, int, int, int]
"""Size, times of change of content and of anything (ns), and inode of a file."""
_known: dict[Path, tuple[Stamp, TilesOrigin]] = {}
_recalled: set[Path] = set()


def tile_files(layout: OutputLayout) -> list[Path]:
    """The tile sets of an output folder, whole or broken, by name."""
    folder = layout.tiles("x").parent
    if not folder.is_dir():
        return []
    # Names are sorted before they are paths, which compare slowly.
    names = sorted(n for n in os.listdir(folder) if n.endswith(".h5") and not n.startswith("."))
    return [folder / name for name in names]


def origins(paths: Iterable[Path]) -> Iterator[tuple[str, TilesOrigin]]:
    """Name of the slide and what its tiles were begun with; without files that are broken.

    Those are named when their turn is.

    Args:
        paths: Tile sets, all of one folder.
    """
    new, folder = 0, None
    for path in paths:
        if folder is None:
            folder = path.parent
            _recall(folder)
        try:
            stamp = _stamp(path)
            known = _known.get(path)
            if known is None or known[0] != stamp:
                known = _known[path] = (stamp, tiles_origin(path))
                new += 1
        except (OSError, StoreError):
            continue
        yield path.stem, known[1]
    if folder is not None and new >= LEAST_NEW:
        _remember(folder)


def origin_of(path: Path) -> TilesOrigin:
    """What the tiles of one slide were begun with.

    Raises:
        StoreError: The file is missing or broken.
    """
    for _, origin in origins([path]):
        return origin
    return tiles_origin(path)


def remember_origins(layout: OutputLayout) -> None:
    """Writes down what many new tile sets say, for the verbs that follow."""
    paths = tile_files(layout)
    if sum(path not in _known for path in paths) >= LEAST_NEW:
        deque(origins(paths), maxlen=0)


def _stamp(path: Path) -> Stamp:
    about = path.stat()
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


def _recall(folder: Path) -> None:
    """Takes in what was remembered of a folder, once in a process."""
    if folder in _recalled:
        return
    _recalled.add(folder)
    path = folder / MEMORY_NAME
    # A memory that cannot be read, or is of something else, is none.
    with suppress(OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        if path.stat().st_size > _MOST_BYTES:
            return
        memory = json.loads(path.read_text(encoding="utf-8"))
        if memory["version"] != _VERSION:
            return
        for name, (stamp, reading, segmenter, num_tiles) in dict(memory["files"]).items():
            size, changed, touched, inode = map(int, stamp)
            origin = TilesOrigin(
                int(reading), None if segmenter is None else str(segmenter), int(num_tiles)
            )
            _known.setdefault(folder / name, ((size, changed, touched, inode), origin))


def _remember(folder: Path) -> None:
    """Writes down what is known of a folder; of several processes the last one is kept."""
    files = {
        path.name: [stamp, *origin]
        for path, (stamp, origin) in _known.items()
        if path.parent == folder
    }
    with suppress(OutputError), atomic_path(folder / MEMORY_NAME) as temporary:
        text = json.dumps({"version": _VERSION, "files": files}, sort_keys=True)
        temporary.write_text(text, encoding="utf-8")
