"""From grey levels to optical density, and the small operations on masks that all of it needs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray, UInt8Array

Plane = npt.NDArray[np.float32]
Pixels = TypeVar("Pixels", Plane, UInt8Array)

WORKING_UM = 16.0
"""Side of the pixels on which evidence is gathered; only outlines are drawn on finer ones."""

WHITE = 0.006
"""Below two grey levels of 255: padding, or glass that the scanner clipped."""

GREY_LEVELS = 2
"""Largest difference of the channels, of 255, in a picture without colours."""

_OF_LEVEL = -np.log((np.arange(256) + 1.0) / 256).astype(np.float32)
_MEAN = np.full((1, 3), 1 / 3, np.float32)
_LIT_SHARE = 0.2
_FEWEST_PX = 100
_MOST_PX = 5_000_000
_SPREAD_PX = 6.0
_RIM_PX = 6


@dataclass(frozen=True, eq=False)
class Sheet:
    """A picture on the working scale.

    Attributes:
        image: uint8 (h, w, 3), RGB; places that are not lit show what lies around them.
        density: float32 (h, w, 3), optical density of R, G and B against full white: by the law of
            Beer and Lambert the densities of glass and of everything on it add up.
        lit: bool (h, w), False where the scanner stored nothing.
        um: Side of a pixel, microns; more of them on a picture of few pixels, so that all lengths
            shrink with it, or nothing would be far enough from an edge.
    """

    image: UInt8Array
    density: Plane
    lit: BoolArray
    um: float

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        rows, columns = self.lit.shape
        return rows, columns

    @cached_property
    def white(self) -> BoolArray:
        """Pure white, bool (h, w)."""
        return np.asarray(extremes_of(self.density)[1] < WHITE)

    def px(self, length_um: float) -> int:
        """A length in whole pixels, at least one."""
        return max(1, round(length_um / self.um))

    def area(self, area_um2: float) -> float:
        """An area in pixels."""
        return area_um2 / self.um**2

    def blur(self, plane: Plane, sigma_um: float) -> Plane:
        """Gaussian smoothing; nothing below a third of a pixel."""
        return gaussian(plane, sigma_um / self.um)


def make_sheet(image: UInt8Array, lit: BoolArray, mpp: float) -> Sheet:
    """A picture shrunk to the working scale without mixing in what is not lit.

    Args:
        image: uint8 RGB (h, w, 3).
        lit: bool (h, w).
        mpp: Microns per pixel of both.
    """
    longest = max(image.shape[:2])
    step = max(1, min(round(WORKING_UM / mpp), longest // _FEWEST_PX))
    # A slide of many centimetres has a coarse picture as large as others' fine ones.
    step = max(step, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / _MOST_PX)))
    size = (max(1, image.shape[0] // step), max(1, image.shape[1] // step))
    um = mpp * image.shape[0] / size[0]
    if max(size) < _FEWEST_PX:
        um *= _FEWEST_PX / max(size)
    if lit.all():
        small = resized(image, size)
        return Sheet(small, optical_density(small), np.ones(size, np.bool_), um)
    share = resized(lit.astype(np.float32), size)
    kept = image * lit.astype(np.uint8)[..., None]
    mean = resized(kept, size) / np.maximum(share, _LIT_SHARE)[..., None]
    here = share > _LIT_SHARE
    mean *= here[..., None]
    around = gaussian(here.astype(np.float32), _SPREAD_PX)[..., None]
    spread = np.where(
        around > 1e-3, gaussian(mean.astype(np.float32), _SPREAD_PX) / np.maximum(around, 1e-3), 255
    )
    small = np.where(here[..., None], np.minimum(mean, 255), spread).astype(np.uint8)
    return Sheet(small, optical_density(small), here, um)


def optical_density(image: UInt8Array) -> Plane:
    """Optical density (natural logarithm) against white, float32 like `image`."""
    return np.asarray(cv2.LUT(image, _OF_LEVEL), dtype=np.float32)


def mean_of(density: Plane) -> Plane:
    """Mean over the channels, (h, w)."""
    return np.asarray(cv2.transform(density, _MEAN), dtype=np.float32)


def channels(density: Plane) -> tuple[Plane, Plane, Plane]:
    """Red, green and blue, (h, w) each."""
    red, green, blue = (np.asarray(plane, np.float32) for plane in cv2.split(density))
    return red, green, blue


def extremes_of(density: Plane) -> tuple[Plane, Plane]:
    """Lowest and highest of the channels, (h, w) each."""
    red, green, blue = cv2.split(density)
    return (
        np.asarray(cv2.min(cv2.min(red, green), blue), dtype=np.float32),
        np.asarray(cv2.max(cv2.max(red, green), blue), dtype=np.float32),
    )


def gaussian(plane: Plane, sigma_px: float) -> Plane:
    """Gaussian smoothing; nothing below a third of a pixel."""
    if sigma_px < 1 / 3:
        return plane
    return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma_px), dtype=np.float32)


def resized(plane: Pixels, size: tuple[int, int]) -> Pixels:
    """Shrunk by averaging or enlarged linearly to (h, w)."""
    smaller = size[0] < plane.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=method), dtype=plane.dtype)


def enlarged(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A mask in other pixels, (h, w), by the nearest."""
    found = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(found, np.bool_)


def grown(mask: BoolArray, radius_px: int) -> BoolArray:
    """A mask and what lies within `radius_px` of it."""
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius_px)), np.bool_)


def shrunken(mask: BoolArray, radius_px: int) -> BoolArray:
    """A mask without what lies within `radius_px` of its outside; the picture's edge is none."""
    return np.asarray(cv2.erode(mask.astype(np.uint8), _disc(radius_px)), np.bool_)


def opened(mask: BoolArray, radius_px: int) -> BoolArray:
    """A mask without what is too narrow for a disc of `radius_px`."""
    wide = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius_px))
    return np.asarray(wide, np.bool_)


def closed(mask: BoolArray, radius_px: int) -> BoolArray:
    """A mask with gaps that are too narrow for a disc of `radius_px`."""
    full = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(radius_px))
    return np.asarray(full, np.bool_)


def labelled(mask: BoolArray, connectivity: int = 8) -> tuple[npt.NDArray[np.int32], int]:
    """Connected pieces: their numbers from 1, 0 outside, and how many numbers there are."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=connectivity)
    return np.asarray(labels, np.int32), count


def pieces_of(
    labels: npt.NDArray[np.int32], chosen: BoolArray
) -> Iterator[tuple[int, tuple[slice, slice], BoolArray]]:
    """Each chosen piece in a window of its own.

    To look at the whole picture for each of a thousand pieces would take minutes.

    Args:
        labels: int32 (h, w), numbers of pieces from `labelled`.
        chosen: bool, by number; 0 (outside) is never a piece.

    Yields:
        Its number; the window, (rows, columns), with a rim where the picture has one; the piece in
        that window, bool.
    """
    mask = (chosen[labels] & (labels > 0)).astype(np.uint8)
    _, again, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    for number, (left, top, width, height, _) in enumerate(boxes[1:].tolist(), start=1):
        rows = slice(max(0, top - _RIM_PX), top + height + _RIM_PX)
        columns = slice(max(0, left - _RIM_PX), left + width + _RIM_PX)
        here = np.asarray(again[rows, columns] == number)
        yield int(labels[rows, columns][here][0]), (rows, columns), here


def touching(mask: BoolArray, seeds: BoolArray, least_px: float = 1) -> BoolArray:
    """The connected pieces of a mask that hold at least `least_px` seeds."""
    labels, count = labelled(mask)
    keep = np.bincount(labels[seeds & mask], minlength=count) >= least_px
    keep[0] = False
    return np.asarray(keep[labels])


def _disc(radius_px: int) -> UInt8Array:
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)
