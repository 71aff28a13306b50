"""Where (0, 0) of a region file lies on the slide.

QuPath shows what lies inside the bounds that openslide reports, and counts from their corner,
unless the image was opened with `--no-crop`. Everything else here counts from the corner of level
0: x of level 0 = x in QuPath + openslide.bounds-x, and so for y.
"""

from collections.abc import Mapping, Sequence

import shapely

from slidenet.core.errors import SlideError
from slidenet.core.text import count_of
from slidenet.slides import Slide
from slidenet.tissue.regions.records import Frame, Parsed, Region

_BOUNDS = tuple(f"openslide.bounds-{what}" for what in ("x", "y", "width", "height"))
_SLACK = 0.02
"""So far regions may reach beyond the bounds without a word, as a share of their longer side."""


def qupath_origin(properties: Mapping[str, str]) -> tuple[int, int]:
    """(x, y) in level-0 pixels of what QuPath calls (0, 0): the corner of the slide's bounds.

    (0, 0) where the slide does not report all four bounds as whole numbers; so does QuPath.
    """
    x, y, _, _ = qupath_bounds(properties)
    return x, y


def qupath_bounds(properties: Mapping[str, str]) -> tuple[int, int, int, int]:
    """(x, y, width, height) in level-0 pixels of what QuPath shows; zeros where it shows all."""
    try:
        x, y, width, height = (int(properties[name]) for name in _BOUNDS)
    except (KeyError, ValueError):
        return 0, 0, 0, 0
    return x, y, width, height


def origin_of(
    parsed: Parsed, slide: Slide, frame: Frame, name: str
) -> tuple[tuple[int, int], Sequence[str]]:
    """What to add to the coordinates of a file, and what to tell the user about it.

    Args:
        parsed: The file.
        slide: The slide it is read for.
        frame: What the user says of files that do not say it themselves.
        name: Of the file, for messages.

    Returns:
        (x, y) to add, level-0 pixels; notes.

    Raises:
        SlideError: slidenet wrote the file for a slide with other bounds, or it mixes regions of
            an older slidenet (level 0) with others (QuPath's frame).
    """
    bounds = qupath_origin(slide.properties)
    if parsed.frame == "qupath":
        if parsed.origin != bounds:
            raise SlideError(
                f"{name} was written for a slide whose bounds start at {parsed.origin}, those of "
                f"this one start at {bounds}",
                expected="the regions of this slide",
                slide=slide.path.name,
            )
        return bounds, ()
    if parsed.frame == "level0" or frame == "level0" or bounds == (0, 0) or not parsed.regions:
        return (0, 0), ()
    numbers = {region.number for region in parsed.regions}
    if parsed.old_numbers == numbers:
        return (0, 0), ("read in level-0 pixels, as an older slidenet wrote it",)
    if parsed.old_numbers:
        raise SlideError(
            f"{name} mixes {len(parsed.old_numbers)} regions that an older slidenet wrote in "
            f"level-0 pixels with {len(numbers) - len(parsed.old_numbers)} others, and the bounds "
            f"of the slide start at {bounds}",
            expected="regions in one frame",
            remedy="pass --annotation-frame level0 if all of them are level-0 pixels; otherwise "
            "preprocess the slide again and correct the new GeoJSON",
            slide=slide.path.name,
        )
    return bounds, ()


def frame_notes(regions: Sequence[Region], slide: Slide, frame: Frame) -> Sequence[str]:
    """Says which regions lie where nothing was scanned, as if drawn in the other frame.

    Args:
        regions: In level-0 pixels.
        slide: The slide.
        frame: The frame they were taken to be drawn in, which the file does not say.
    """
    x, y, width, height = qupath_bounds(slide.properties)
    if (x, y) == (0, 0) or min(width, height) <= 0:
        return ()
    slack, right, bottom = _SLACK * max(width, height), x + width, y + height
    beyond = [
        region
        for region, (x0, y0, x1, y1) in ((each, each.polygon.bounds) for each in regions)
        if min(x0 - x, y0 - y, right - x1, bottom - y1) < -slack
    ]
    if not beyond:
        return ()
    other = "qupath if they were drawn on what QuPath shows by default"
    if frame == "qupath":
        other = "level0 if they were drawn with QuPath's --no-crop"
    return (
        f"{count_of('region', len(beyond))} (first: {beyond[0]}) beyond what was scanned, x {x} to "
        f"{right}, y {y} to {bottom} of level 0: pass --annotation-frame {other}",
    )


def moved(polygon: shapely.Polygon, by: tuple[int, int]) -> shapely.Polygon:
    """The polygon shifted by (x, y); the very same one where that is nothing."""
    return polygon if by == (0, 0) else shapely.transform(polygon, lambda points: points + by)
