"""Maps as pyramidal OME-TIFF: a picture in colours for eyes, and the raw numbers for programs.

OME's schema of 2016-06 in the description of the first page; smaller levels in SubIFDs, as
OME-TIFF 6 has them. openslide, which knows no SubIFDs, opens level 0 of the picture.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slidenet.core.arrays import UInt8Array
from slidenet.core.escapes import in_html
from slidenet.core.extras import require_extra
from slidenet.explanation.exports.canvas import (
    FILE_TILE_PX,
    Area,
    Canvas,
    Painter,
    Pyramid,
    canvas_of,
    colour_painter,
    value_painter,
)
from slidenet.explanation.exports.columns import (
    chosen_map,
    map_names,
    map_words,
    require_places,
    unit_words,
)
from slidenet.stores.atomic import atomic_path
from slidenet.stores.tile_maps import TileMaps
from slidenet.visualisation.heatmaps import scale_of

COLOUR_PX_PER_TILE, COLOUR_MAX_SIDE_PX = 16, 8192
VALUE_PX_PER_TILE, VALUE_MAX_SIDE_PX = 4, 4096

_BIG_TIFF_BYTES = 2**31
_SCHEMA = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def write_ome_tiff(
    path: str | os.PathLike[str],
    maps: TileMaps,
    *,
    which: int | None = None,
    area: Area | None = None,
    overview: UInt8Array | None = None,
) -> Path:
    """Writes one map as a picture, RGB; whole or not at all.

    Colours are those of slidenet's figures; where they begin and end stands in the description. A
    tile is 16 to 31 pixels wide, less on a slide that would need more than 8192 pixels.

    Args:
        path: The file; it should end in .ome.tiff.
        maps: The maps of one slide.
        which: Which map, by its place in `maps.maps`; None: the first of what the model calls the
            slide.
        area: (x, y, width, height) of the slide to show, level-0 pixels, such as `qupath_bounds` of
            its properties; None or without extent: all of it.
        overview: uint8 RGB (h, w, 3), the whole slide, which is shown beneath and beside the
            colours; None: white.

    Returns:
        The path written.

    Raises:
        CoordinateError: It is not known where the tiles lie, or the area is outside the slide.
        ConfigError: There is no such map.
        MissingExtraError: tifffile is not installed.
        OutputError: The folder cannot be written.
    """
    require_places(maps, "a picture of their places")
    canvas = canvas_of(maps, area, COLOUR_PX_PER_TILE, COLOUR_MAX_SIDE_PX)
    shown = maps.maps[chosen_map(maps, which)]
    scale = scale_of(shown)
    paint = colour_painter(canvas, maps, scale.rgb(shown.values), overview)
    words = f"{map_words(shown)}: {unit_words(shown)}. {scale.words}"
    return _write(Path(path), canvas, maps, words, [paint])


def write_value_tiff(
    path: str | os.PathLike[str], maps: TileMaps, *, area: Area | None = None
) -> Path:
    """Writes the raw numbers of all maps, a float32 channel each; whole or not at all.

    NaN is where no tile lies, or one in no bag. Smaller levels hold the mean of what is a number.
    A tile is 4 to 7 pixels wide, less on a slide that would need more than 4096 pixels.

    Args:
        path: The file; it should end in .ome.tiff.
        maps: The maps of one slide; at least one.
        area: As for `write_ome_tiff`.

    Returns:
        The path written.

    Raises:
        CoordinateError: It is not known where the tiles lie, or the area is outside the slide.
        MissingExtraError: tifffile is not installed.
        OutputError: The folder cannot be written.
    """
    require_places(maps, "a picture of their places")
    assert maps.maps, "a picture without a channel"
    canvas, names = (
        canvas_of(maps, area, VALUE_PX_PER_TILE, VALUE_MAX_SIDE_PX),
        map_names(maps.maps),
    )
    units = (f"{name}: {unit_words(each)}" for name, each in zip(names, maps.maps, strict=True))
    paint = [value_painter(canvas, maps, each.values) for each in maps.maps]
    words = f"Raw numbers of the tiles. {'; '.join(units)}."
    return _write(Path(path), canvas, maps, words, paint, channels=names)


def _write(
    path: Path,
    canvas: Canvas,
    maps: TileMaps,
    words: str,
    planes: Sequence[Painter],
    channels: Sequence[str] = (),
) -> Path:
    """All levels of one plane of RGB, or of a plane of numbers for each channel."""
    tifffile = require_extra("tifffile", extra="ome-tiff", purpose="writing OME-TIFF")
    sizes, pyramid = canvas.sizes, Pyramid(canvas, planes)
    per_cm = 10000 / canvas.mpp
    common = {
        "dtype": np.float32 if channels else np.uint8,
        "photometric": "minisblack" if channels else "rgb",
        "planarconfig": None if channels else "contig",
        "tile": (FILE_TILE_PX, FILE_TILE_PX),
        "compression": "zlib",
        "software": "slidenet",
        "metadata": None,
        "resolutionunit": "CENTIMETER",
        "maxworkers": 1,
    }
    raw_bytes = sizes[0][0] * sizes[0][1] * (4 * len(channels) or 3) * 4 / 3
    big = raw_bytes > _BIG_TIFF_BYTES
    with (
        atomic_path(path, slide=maps.slide_id) as temporary,
        tifffile.TiffWriter(temporary, bigtiff=big) as tiff,
    ):
        for level, (width, height) in enumerate(sizes):
            own: dict[str, object] = {"subfiletype": 1}
            if level == 0:
                xml = _ome_xml(canvas, maps, words, channels)
                own = {"description": xml.encode(), "subifds": len(sizes) - 1}
            tiff.write(
                pyramid.tiles(level),
                shape=(len(channels), height, width) if channels else (height, width, 3),
                resolution=(per_cm / 2**level,) * 2,
                **common,
                **own,
            )
    return path


def _ome_xml(canvas: Canvas, maps: TileMaps, words: str, channels: Sequence[str]) -> str:
    """What OME asks to be said of the pixels, and where they lie on the slide."""
    width, height = canvas.sizes[0]
    x, y, across, down = canvas.area
    where = (
        f"Shows x {x} to {x + across}, y {y} to {y + down} of level 0; "
        f"one pixel is {canvas.downsample} x {canvas.downsample} of level 0."
    )
    described = in_html(f"Slide {maps.slide_id}. {words} {where}")
    kind, samples = ("float", 1) if channels else ("uint8", 3)
    names = channels or ["RGB"]
    marked = "".join(
        f'<Channel ID="Channel:0:{number}" Name="{in_html(each)}" SamplesPerPixel="{samples}"/>'
        for number, each in enumerate(names)
    )
    planes = "".join(
        f'<TiffData FirstC="{number}" IFD="{number}" PlaneCount="1"/>'
        for number in range(len(names))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{_SCHEMA}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{_SCHEMA} {_SCHEMA}/ome.xsd" Creator="slidenet">'
        f'<Image ID="Image:0" Name="{in_html(maps.slide_id)}">'
        f"<Description>{described}</Description>"
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="{kind}" BigEndian="false" '
        f'SizeX="{width}" SizeY="{height}" SizeC="{len(names) * samples}" SizeZ="1" SizeT="1" '
        f'PhysicalSizeX="{float(canvas.mpp)!r}" PhysicalSizeXUnit="µm" '
        f'PhysicalSizeY="{float(canvas.mpp)!r}" PhysicalSizeYUnit="µm">'
        f"{marked}{planes}</Pixels></Image></OME>"
    )
