"""From a picture of a slide to a mask: the picture, thresholds on it, cleaning by physical size."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.core.errors import EmptyTissueError
from slidenet.slides import Slide
from slidenet.tissue.finding import Reason

MAX_SIDE_PX = 4096
"""Longest side of the picture segmented; a larger slide is segmented at a coarser resolution."""


def overview(
    slide: Slide, target_mpp: float, *, max_side_px: int = MAX_SIDE_PX
) -> tuple[UInt8Array, float]:
    """A picture of the whole slide at about `target_mpp`, never upsampled, and its true mpp."""
    slide_mpp = slide.slide_mpp.value
    longest = max(slide.level_dimensions[0])
    wanted = round(longest * slide_mpp / max(target_mpp, slide_mpp))
    image = slide.thumbnail(min(max(wanted, 1), max_side_px))
    return image, slide_mpp * longest / max(image.shape[:2])


def otsu_threshold(
    values: UInt8Array, min_contrast: float, what: str, segmenter: str, slide: str
) -> int:
    """Otsu's threshold (the last value of the lower side), refused where the split is noise."""
    contrast = 0.0
    if values.size:
        found, _ = cv2.threshold(
            np.ascontiguousarray(values.reshape(-1, 1)), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU
        )
        threshold = int(found)
        lower, upper = values[values <= threshold], values[values > threshold]
        if lower.size and upper.size:
            contrast = float(upper.mean() - lower.mean())
            if contrast >= min_contrast:
                return threshold
    raise EmptyTissueError(
        f"the segmenter {segmenter!r} found no tissue: {what} differs by {contrast:.1f} of 255 "
        "between the two sides of Otsu's threshold",
        expected=f"at least {min_contrast:g}, the --min-contrast",
        remedy="look at the slide; if it does hold tissue, lower --min-contrast (in Python, "
        "min_contrast), take another --segmenter ('all' is the whole slide), or draw the tissue in "
        "QuPath and pass its GeoJSON as --tissue-geojson",
        slide=slide,
    )


def clean_mask(
    mask: BoolArray, *, pixel_area_um2: float, min_area_um2: float, max_hole_um2: float
) -> BoolArray:
    """Fills holes up to `max_hole_um2`, then drops pieces under `min_area_um2`.

    Pieces are connected over edges and corners, holes over edges only, so that a closed diagonal
    line separates inside from outside. Background that reaches the picture's border is no hole.

    Args:
        mask: bool (h, w).
        pixel_area_um2: Area of one mask pixel, square microns.
        min_area_um2: Smallest piece of tissue kept, square microns; 0 keeps all.
        max_hole_um2: Largest hole filled, square microns; 0 fills none.

    Returns:
        A new mask, bool (h, w).
    """
    sizes = {"min_area_um2": min_area_um2, "max_hole_um2": max_hole_um2}
    reasons = clean_reasons(mask, pixel_area_um2=pixel_area_um2, **sizes)
    return np.asarray(reasons == Reason.TISSUE)


def clean_reasons(
    mask: BoolArray, *, pixel_area_um2: float, min_area_um2: float, max_hole_um2: float
) -> UInt8Array:
    """What `clean_mask` makes of a mask, with the reason where it is no tissue.

    Args:
        mask: bool (h, w).
        pixel_area_um2: See `clean_mask`.
        min_area_um2: See `clean_mask`.
        max_hole_um2: See `clean_mask`.

    Returns:
        uint8 (h, w), codes of `Reason`: `TISSUE`; `TOO_SMALL` pieces; every `HOLE` of a kept piece
        that is too large to be filled, without what lies in it; `GROUND` for the rest.
    """
    ground, boxes = _pieces(~mask, connectivity=4)
    inside = np.ones(len(boxes), np.bool_)
    for edge in (ground[0], ground[-1], ground[:, 0], ground[:, -1]):
        inside[edge] = False
    inside[0] = False
    small = boxes[:, cv2.CC_STAT_AREA] <= max_hole_um2 / pixel_area_um2
    pieces, areas = _pieces(mask | (inside & small)[ground], connectivity=8)
    keep = areas[:, cv2.CC_STAT_AREA] >= min_area_um2 / pixel_area_um2
    keep[0] = False
    code = np.where(keep, Reason.TISSUE, Reason.TOO_SMALL).astype(np.uint8)
    code[0] = Reason.GROUND
    reasons = code[pieces]
    hole = np.zeros(len(boxes), np.bool_)
    for number in np.flatnonzero(inside & ~small).tolist():
        left, top, width, _, _ = boxes[number].tolist()
        column = left + int((ground[top, left : left + width] == number).argmax())
        hole[number] = keep[pieces[top - 1, column]]  # above a hole's highest pixel is its ring
    if hole.any():
        reasons[hole[ground]] = Reason.HOLE
    return reasons


def odd_kernel_px(diameter_um: float, mpp: float) -> int:
    """The odd kernel side nearest to a physical diameter; 1 (no effect) below 2 pixels."""
    return 2 * round((diameter_um / mpp - 1) / 2) + 1 if diameter_um >= 2 * mpp else 1


def _pieces(
    mask: BoolArray, *, connectivity: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Label image (0 = False), and OpenCV's box and area of every label, in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity
    )
    return np.asarray(labels, np.int32), np.asarray(stats, np.int32)
