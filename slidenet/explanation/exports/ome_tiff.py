"""Maps as pyramidal OME-TIFF: a picture in colours for eyes, and the raw numbers for programs.

OME's schema of 2016-06 in the description of the first page; smaller levels in SubIFDs, as
OME-TIFF 6 has them. openslide, which knows no SubIFDs, opens level 0 of the picture.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import UInt8Array
from slidenet.core.escapes import in_html
from slidenet.core.extras import require_extra
from slidenet.explanation.exports.canvas import (
    FILE_TILE_PX,
    Area,
    Canvas,
    canvas_of,
    colour_painter,
    value_painter,
)
from slidenet.explanation.exports.columns import map_names, map_words, require_places
from slidenet.stores.atomic import atomic_path
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.heatmaps import scale_of

_BIG_TIFF_BYTES = 2**31
_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"

Levels = Callable[[int], Iterator[npt.NDArray]]


def write_ome_tiff(
    path: str | os.PathLike[str],
    maps: TileMaps,
    *,
    which: int = 0,
    area: Area | None = None,
    overview: UInt8Array | None = None,
) -> Path:
    """Writes one map as a picture, RGB, whole or not at all.

    Colours are those of slidenet's figures; where they begin and end stands in the description.
    A pixel is a power of two of level-0 pixels wide, so that a tile has 16 to 31 of them.

    Args:
        path: The file; it should end in .ome.tiff.
        maps: The maps of one slide.
        which: Which map, by its place in `maps.maps`.
        area: (x, y, width, height) of the slide to show, level-0 pixels, such as `qupath_bounds` of
            its properties; None or without extent: all of it.
        overview: uint8 RGB (h, w, 3), the whole slide, that is shown beneath and beside the
            colours; None: white.

    Returns:
        The path written.

    Raises:
        CoordinateError: It is not known where the tiles lie, or the area is beyond the slide.
        MissingExtraError: tifffile is not installed.
        OutputError: The folder cannot be written.
    """
    require_places(maps, "a picture of their places")
    canvas, shown = canvas_of(maps, area), maps.maps[which]
    scale = scale_of(shown)
    paint = colour_painter(canvas, maps, scale.rgb(shown.values), overview)
    xml = _ome_xml(
        canvas, maps, map_words(shown), f"{_unit(shown.unit)} {scale.words}", "uint8", ["RGB"]
    )
    tiles = partial(_tiles_of, canvas, paint, np.uint8)
    return _write(Path(path), canvas, xml, tiles, maps.slide_id, "rgb", 1)


def write_value_tiff(
    path: str | os.PathLike[str], maps: TileMaps, *, area: Area | None = None
) -> Path:
    """Writes the raw numbers of all maps, a float32 channel each, whole or not at all.

    Args:
        path: The file; it should end in .ome.tiff.
        maps: The maps of one slide; NaN where no tile lies, or one in no bag. Smaller levels hold
            the mean of what is a number.
        area: As for `write_ome_tiff`.

    Returns:
        The path written.

    Raises:
        CoordinateError: It is not known where the tiles lie, or the area is beyond the slide.
        MissingExtraError: tifffile is not installed.
        OutputError: The folder cannot be written.
    """
    require_places(maps, "a picture of their places")
    canvas, names = canvas_of(maps, area), map_names(maps.maps)
    units = ", ".join(
        f"{name}: {_unit(each.unit)}" for name, each in zip(names, maps.maps, strict=True)
    )
    xml = _ome_xml(canvas, maps, "tile maps", f"Raw numbers. {units}", "float", names)

    def tiles(level: int) -> Iterator[npt.NDArray]:
        return chain.from_iterable(
            _tiles_of(
                canvas, value_painter(canvas, maps, each.values[:, None]), np.float32, level
            )
            for each in maps.maps
        )

    return _write(Path(path), canvas, xml, tiles, maps.slide_id, "minisblack", len(names))


def _tiles_of(canvas: Canvas, paint, dtype, level: int) -> Iterator[npt.NDArray]:
    for tile in canvas.tiles(level, paint, dtype):
        yield tile if tile.shape[2] > 1 else tile[..., 0]


def _write(
    path: Path, canvas: Canvas, xml: str, tiles: Levels, slide_id: str, kind: str, num_planes: int
) -> Path:
    """One plane of RGB, or several of numbers, with all their levels."""
    tifffile = require_extra("tifffile", extra="ome-tiff", purpose="writing OME-TIFF")
    colour, sizes = kind == "rgb", canvas.sizes
    per_pixel = 3 if colour else 4 * num_planes
    big = sizes[0][0] * sizes[0][1] * per_pixel * 4 / 3 > _BIG_TIFF_BYTES
    per_cm = 10000 / canvas.mpp
    with atomic_path(path, slide=slide_id) as temporary:
        with tifffile.TiffWriter(temporary, bigtiff=big) as tiff:
            for level, (width, height) in enumerate(sizes):
                shape = (height, width, 3) if colour else (num_planes, height, width)
                first = {"description": xml.encode(), "subifds": len(sizes) - 1}
                tiff.write(
                    tiles(level),
                    shape=shape,
                    dtype=np.uint8 if colour else np.float32,
                    tile=(FILE_TILE_PX, FILE_TILE_PX),
                    photometric=kind,
                    planarconfig="contig" if colour else None,
                    compression="zlib",
                    software="slidenet",
                    metadata=None,
                    resolution=(per_cm / 2**level, per_cm / 2**level),
                    resolutionunit="CENTIMETER",
                    maxworkers=1,
                    **(first if level == 0 else {"subfiletype": 1}),
                )
    return path


def _unit(unit: str) -> str:
    return {"logit": "In logits.", "share": "Shares of attention."}.get(unit, "Distances.")


def _ome_xml(
    canvas: Canvas, maps: TileMaps, name: str, words: str, kind: str, channels: Sequence[str]
) -> str:
    """What OME asks to be said of the pixels, and where they lie on the slide."""
    width, height = canvas.sizes[0]
    x, y, across, down = canvas.area
    where = (
        f"Shows x {x} to {x + across}, y {y} to {y + down} of level 0 of the slide; "
        f"one pixel is {canvas.downsample} x {canvas.downsample} of level 0."
    )
    described = in_html(f"{name} of slide {maps.slide_id}. {words} {where}")
    samples = 3 if kind == "uint8" else 1
    marked = "".join(
        f'<Channel ID="Channel:0:{number}" Name="{in_html(each)}" SamplesPerPixel="{samples}"/>'
        for number, each in enumerate(channels)
    )
    planes = "".join(
        f'<TiffData FirstC="{number * samples}" IFD="{number}" PlaneCount="1"/>'
        for number in range(len(channels))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{_SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_SCHEMA} {_SCHEMA}/ome.xsd" Creator="slidenet">'
        f'<Image ID="Image:0" Name="{in_html(maps.slide_id)}">'
        f"<Description>{described}</Description>"
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" BigEndian="false" '
        f'SizeX="{width}" SizeY="{height}" SizeC="{len(channels) * samples}" SizeZ="1" SizeT="1" '
        f'PhysicalSizeX="{canvas.mpp!r}" PhysicalSizeXUnit="µm" '
        f'PhysicalSizeY="{canvas.mpp!r}" PhysicalSizeYUnit="µm">'
        f"{marked}{planes}</Pixels></Image></OME>"
    )
