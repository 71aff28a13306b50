"""Drawn regions on the picture of a slide: outlines in the colour of each, with its name."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import shapely
from PIL import Image, ImageColor, ImageDraw, ImageFont
from shapely.geometry.base import BaseGeometry

from slidenet.core.arrays import UInt8Array
from slidenet.visualisation.overlay.outlines import HALO_RGB, draw_outlines
from slidenet.visualisation.style import COLOURS, DARK, short_name

_TAKEN = ("#009e73", "#cc79a7")
REGION_COLOURS = tuple(ImageColor.getrgb(colour)[:3] for colour in COLOURS if colour not in _TAKEN)
"""One per region, in turn; without the green of tissue outlines and the pink of eosin."""

LINE_PX = 70
"""Names are as high as this part of the picture's longer side."""
LEAST_TEXT_PX = 14


def draw_regions(
    picture: UInt8Array, regions: Sequence[tuple[str, BaseGeometry]], *, level0_width: int
) -> UInt8Array:
    """The picture with the outlines of regions, and at the largest part of each its name.

    Args:
        picture: uint8 RGB (h, w, 3), the whole slide.
        regions: Names with polygons or multipolygons, level-0 pixels.
        level0_width: Width of the slide, level-0 pixels.

    Returns:
        uint8 RGB (h, w, 3), a new picture.
    """
    scale = picture.shape[1] / level0_width
    num_colours = len(REGION_COLOURS)
    for number, color in enumerate(REGION_COLOURS):
        of_this_colour = [shape for _, shape in regions[number::num_colours]]
        parts = shapely.get_parts(of_this_colour).tolist()
        picture = draw_outlines(picture, parts, scale, color, flow=False, thicker=1)
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    text_px = max(LEAST_TEXT_PX, round(max(picture.shape) / LINE_PX))
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    font = ImageFont.truetype(fonts / "DejaVuSans-Bold.ttf", text_px)
    for name, shape in regions:
        parts = shapely.get_parts(shape)
        left, top, right, bottom = parts[shapely.area(parts).argmax()].bounds
        if (bottom - top) * scale < text_px:
            continue
        text = short_name(name)
        # Above its region, but not beyond the picture.
        width = pen.textlength(text, font=font)
        x = np.clip((left + right) / 2 * scale - width / 2, 2, max(drawn.width - width - 2, 2))
        y = max(top * scale - 1.4 * text_px, 2)
        pen.text((x, y), text, font=font, fill=DARK, stroke_width=3, stroke_fill=HALO_RGB)
    return np.asarray(drawn)
