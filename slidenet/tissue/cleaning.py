"""Cleaning of masks by physical size."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray


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
    filled = mask | _small_holes(mask, max_hole_um2 / pixel_area_um2)
    return _without_small_pieces(filled, min_area_um2 / pixel_area_um2)


def odd_kernel_px(diameter_um: float, mpp: float) -> int:
    """The odd kernel side nearest to a physical diameter; 1 (no effect) below 2 pixels."""
    return 2 * round((diameter_um / mpp - 1) / 2) + 1 if diameter_um >= 2 * mpp else 1


def closed(mask: BoolArray, kernel_px: int) -> BoolArray:
    """The mask after a morphological closing with a disc of `kernel_px`."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_px, kernel_px))
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)) > 0


def _small_holes(mask: BoolArray, max_px: float) -> BoolArray:
    labels, areas = _pieces(~mask, connectivity=4)
    fill = areas <= max_px
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        fill[edge] = False
    fill[0] = False
    return np.asarray(fill[labels])


def _without_small_pieces(mask: BoolArray, min_px: float) -> BoolArray:
    labels, areas = _pieces(mask, connectivity=8)
    keep = areas >= min_px
    keep[0] = False
    return np.asarray(keep[labels])


def _pieces(
    mask: BoolArray, *, connectivity: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Label image (0 = False) and the area of every label, in pixels."""
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return np.asarray(labels, np.int32), np.bincount(labels.ravel())
