"""Cells that touch each other: lobules of tissue and the adipocytes of fat."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import Float32Array, Rng, Shape, blurred


def voronoi(rng: Rng, shape: Shape, spacing: float) -> tuple[npt.NDArray[np.int32], BoolArray]:
    """Every pixel's nearest of many random points `spacing` px apart, and where cells meet.

    Returns:
        int32 (h, w) and bool (h, w).
    """
    height, width = shape
    rows, columns = int(height / spacing) + 2, int(width / spacing) + 2
    jitter = rng.uniform(-0.42, 0.42, (rows, columns, 2))
    row, column = np.mgrid[0:rows, 0:columns]
    # Odd rows lie half a cell to the right, so that cells have about six neighbours.
    x = ((column + 0.5 * (row % 2) + jitter[..., 0]) * spacing).astype(int).clip(0, width - 1)
    y = ((row + jitter[..., 1]) * spacing).astype(int).clip(0, height - 1)
    away = np.ones(shape, np.uint8)
    away[y, x] = 0
    _, found = cv2.distanceTransformWithLabels(
        away, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    labels = np.asarray(found, np.int32)
    edges = np.zeros(shape, np.bool_)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return labels, edges


def adipocytes(rng: Rng, piece: BoolArray, family: str) -> tuple[BoolArray, Float32Array]:
    """Fat that fills about `piece`: whole cells only, so its outline is scalloped.

    Family "a" has polygons with membranes of one width; "b" has membranes that thicken and fade.

    Returns:
        bool (h, w), the fat; float32 (h, w), the amount of membrane, 1 = usual.
    """
    shape = (piece.shape[0], piece.shape[1])
    labels, edges = voronoi(rng, shape, spacing=float(rng.uniform(7, 12)))
    share = np.bincount(labels.ravel(), piece.ravel()) / np.maximum(np.bincount(labels.ravel()), 1)
    fat = np.asarray((share > 0.5)[labels])
    rim = np.asarray(cv2.dilate(fat.astype(np.uint8), np.ones((3, 3), np.uint8))) > 0
    membranes = (edges | (rim & ~fat)) & rim
    amount = blurred(membranes, 0.55) * 1.6
    if family == "b":
        ruptured = rng.random(int(labels.max()) + 1)[labels] < 0.12
        amount *= rng.uniform(0.5, 1.5, int(labels.max()) + 1)[labels] * np.where(ruptured, 0.4, 1)
    return rim, np.asarray(amount, np.float32)
