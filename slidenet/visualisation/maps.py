"""Tiles as colours in the extent of their slide; the first three principal components as RGB."""

import numpy as np

from slidenet.core.arrays import (
    BoolArray,
    FeatureRows,
    Float64Array,
    IntArray,
    UInt8Array,
    row_blocks,
)
from slidenet.core.errors import CoordinateError
from slidenet.core.records import TileGeometry
from slidenet.visualisation.overlay import cell_boxes

PAPER_RGB = (248, 247, 244)
PERCENTILES = (2.0, 98.0)
DARKEST, BRIGHTEST = 28, 236


def feature_map(
    features: FeatureRows,
    coords: IntArray,
    geometry: TileGeometry,
    *,
    mask: BoolArray | None = None,
    max_side_px: int = 1600,
) -> UInt8Array:
    """A picture of the whole slide's extent with every tile in the colour of its features.

    Args:
        features: (N, D), array or h5 dataset.
        coords: int64 (N, 2), level-0 pixels.
        geometry: Sizes of tiles and slide.
        mask: bool (N,), True = real; other tiles stay blank (unreadable ones).
        max_side_px: Longest side of the picture.

    Returns:
        uint8 RGB (h, w, 3), in the proportions of the slide.
    """
    return tile_picture(
        principal_colors(features, mask=mask),
        coords,
        geometry,
        mask=mask,
        max_side_px=max_side_px,
    )


def tile_picture(
    colors: UInt8Array,
    coords: IntArray,
    geometry: TileGeometry,
    *,
    mask: BoolArray | None = None,
    max_side_px: int = 1600,
) -> UInt8Array:
    """A picture of the whole slide's extent with every tile in its colour.

    Args:
        colors: uint8 RGB (N, 3).
        coords: int64 (N, 2), level-0 pixels.
        geometry: Sizes of tiles and slide.
        mask: bool (N,), True = real; other tiles stay blank (unreadable ones).
        max_side_px: Longest side of the picture.

    Returns:
        uint8 RGB (h, w, 3), in the proportions of the slide.
    """
    width, height = geometry.level0_width, geometry.level0_height
    scale = min(max_side_px / max(width, height), 1.0)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    picture = np.full((*size, 3), PAPER_RGB, dtype=np.uint8)
    if len(colors) != len(coords):
        raise CoordinateError(
            f"{len(colors)} features and {len(coords)} coordinates",
            expected="one feature vector per tile",
        )
    real = np.ones(len(coords), np.bool_) if mask is None else mask
    boxes = cell_boxes(coords[real], geometry, scale)
    for (left, top, right, bottom), color in zip(boxes.tolist(), colors[real], strict=True):
        picture[top:bottom, left:right] = color
    return picture


def principal_colors(features: FeatureRows, *, mask: BoolArray | None = None) -> UInt8Array:
    """One colour per tile: principal components 1, 2, 3 as red, green, blue.

    Every component is stretched between its 2nd and 98th percentile, so that a few odd tiles do
    not grey out the rest. Its sign is the one that makes its largest loading positive, hence the
    same features always give the same colours. A component without variance is mid-grey.

    Args:
        features: (N, D), array or h5 dataset; read in blocks of rows.
        mask: bool (N,), True = real; others neither count nor get a meaningful colour.

    Returns:
        uint8 (N, 3).
    """
    real = np.ones(features.shape[0], np.bool_) if mask is None else mask
    scores = np.zeros((features.shape[0], 3))
    if real.any():
        mean, axes = _principal_axes(features, real)
        for rows, block in row_blocks(features):
            scores[rows, : axes.shape[1]] = (block.astype(np.float64) - mean) @ axes
    low, high = (
        np.percentile(scores[real], PERCENTILES, axis=0) if real.any() else (np.zeros(3),) * 2
    )
    return component_colors(scores, low, high)


def component_colors(scores: Float64Array, low: Float64Array, high: Float64Array) -> UInt8Array:
    """Scores of principal components as red, green and blue.

    Args:
        scores: (N, 3) or fewer columns; a component that is not there is mid-grey.
        low: The scores that are darkest, one per column.
        high: The scores that are brightest; where they equal `low`, all is mid-grey.

    Returns:
        uint8 (N, 3).
    """
    missing = 3 - scores.shape[1]
    if missing:
        scores = np.pad(scores, ((0, 0), (0, missing)))
        low, high = np.pad(low, (0, missing)), np.pad(high, (0, missing))
    spread = high - low
    flat = spread <= 1e-6 * max(float(spread.max()), 1e-30)
    unit = np.where(flat, 0.5, (scores - low) / np.where(flat, 1.0, spread))
    shades = np.clip(np.nan_to_num(unit, nan=0.5), 0, 1)
    return np.asarray(np.rint(DARKEST + (BRIGHTEST - DARKEST) * shades), dtype=np.uint8)


def _principal_axes(features: FeatureRows, real: BoolArray) -> tuple[Float64Array, Float64Array]:
    """Mean (D,) and the first min(3, D) principal axes (D, 3), without holding all features."""
    dim = features.shape[1]
    total, count = np.zeros(dim), int(real.sum())
    for rows, block in row_blocks(features):
        total += block[real[rows]].astype(np.float64).sum(axis=0)
    mean = total / count
    scatter = np.zeros((dim, dim))
    for rows, block in row_blocks(features):
        centred = block[real[rows]].astype(np.float64) - mean
        scatter += centred.T @ centred
    _, vectors = np.linalg.eigh(scatter / count)
    axes = vectors[:, ::-1][:, :3]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return mean, axes * np.where(largest < 0, -1.0, 1.0)
