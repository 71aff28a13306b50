"""Ways to break a generated slide, each as real slides get broken."""

import os
from pathlib import Path

from slidenet.core.extras import require_extra


def truncate_file(path: str | Path, fraction: float = 0.5) -> None:
    """Cuts a file off after a fraction of its bytes, as an interrupted copy does."""
    assert 0 <= fraction < 1, f"fraction {fraction} is not in [0, 1)"
    os.truncate(path, int(Path(path).stat().st_size * fraction))


def corrupt_tile(path: str | Path, location: tuple[int, int], *, level: int = 0) -> None:
    """Overwrites one compressed tile of a TIFF, so that reading it fails and its neighbours do not.

    Args:
        path: A tiled TIFF.
        location: (x, y) of any pixel of the tile, in pixels of `level`.
        level: The level, counted as the pages of the file.
    """
    tifffile = require_extra("tifffile", extra="testing", purpose="breaking generated slides")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        across = -(-page.imagewidth // page.tilewidth)
        index = location[1] // page.tilelength * across + location[0] // page.tilewidth
        offset, length = page.dataoffsets[index], page.databytecounts[index]
    assert length > 0, f"the tile at {location} is not stored"
    with Path(path).open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * length)
