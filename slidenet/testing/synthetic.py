"""Slides that look like H&E, with tissue at known places."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import UInt8Array
from slidenet.testing.painting import GLASS_RGB, Overlay, Painter, with_overlays
from slidenet.testing.pyramid import write_pyramid

_TEXTURE_PX = 1024
_EOSIN_RGB = (226, 158, 196)
_HAEMATOXYLIN_RGB = (98, 66, 140)
_NUCLEUS_RADIUS_PX = (5, 11)
_NUM_NUCLEI = 1200
_GREY_STEP = 8


@dataclass(frozen=True, slots=True)
class Blob:
    """An ellipse of tissue, level-0 pixels.

    Attributes:
        x: Centre.
        y: Centre.
        radius_x: Half its width.
        radius_y: Half its height.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float

    def covers(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.bool_] | None:
        """Which pixels of a rectangle lie in it, bool (height, width); None if it is far away."""
        if not (
            x < self.x + self.radius_x
            and x + width > self.x - self.radius_x
            and y < self.y + self.radius_y
            and y + height > self.y - self.radius_y
        ):
            return None
        # A pixel belongs to the blob when its centre does.
        across = ((np.arange(x, x + width) + 0.5 - self.x) / self.radius_x) ** 2
        down = ((np.arange(y, y + height) + 0.5 - self.y) / self.radius_y) ** 2
        return np.asarray(across[None, :] + down[:, None] <= 1)


@dataclass(frozen=True)
class SyntheticSlide:
    """A painter of tissue blobs on glass; the ground truth of a generated slide.

    Attributes:
        width: Level-0 pixels.
        height: Level-0 pixels.
        blobs: Where the tissue is; they may overlap.
        seed: Decides the texture.
    """

    width: int
    height: int
    blobs: tuple[Blob, ...]
    seed: int = 0

    def __call__(self, x: int, y: int, width: int, height: int) -> UInt8Array:
        """UInt8Array of a rectangle of level 0; see `Painter`."""
        pixels = np.full((height, width, 3), GLASS_RGB, np.uint8)
        mask = self.tissue_mask(x, y, width, height)
        if not mask.any():
            return pixels
        left, top = x % _TEXTURE_PX, y % _TEXTURE_PX
        if max(width, height) <= _TEXTURE_PX:  # ten times faster than indexing
            texture = self._texture_2x2[top : top + height, left : left + width]
        else:
            rows = np.arange(top, top + height) % _TEXTURE_PX
            columns = np.arange(left, left + width) % _TEXTURE_PX
            texture = self._texture_2x2[rows[:, None], columns]
        np.copyto(pixels, texture, where=mask[..., None])
        return pixels

    def tissue_mask(self, x: int, y: int, width: int, height: int) -> npt.NDArray[np.bool_]:
        """Which pixels of a rectangle of level 0 are tissue, bool (height, width)."""
        mask = np.zeros((height, width), np.bool_)
        for blob in self.blobs:
            covered = blob.covers(x, y, width, height)
            if covered is not None:
                mask |= covered
        return mask

    @cached_property
    def _texture_2x2(self) -> UInt8Array:
        """Stroma with nuclei that repeats without seams, twice each way, uint8 (2048, 2048, 3).

        Grey levels are coarse, so that large slides compress.
        """
        rng = np.random.default_rng(self.seed)
        side = _TEXTURE_PX
        coarse = rng.normal(0, 1, (side // 16, side // 16)).astype(np.float32)
        wrapped = cv2.resize(np.tile(coarse, (3, 3)), (3 * side, 3 * side))
        stroma = wrapped[side : 2 * side, side : 2 * side, None]
        eosin = np.array(_EOSIN_RGB, np.float32) + stroma * np.array((5, 14, 9), np.float32)
        nuclei = np.zeros((side, side), np.uint8)
        for _ in range(_NUM_NUCLEI):
            x, y = (int(v) for v in rng.integers(0, side, 2))
            axes = tuple(2 * int(v) for v in rng.integers(*_NUCLEUS_RADIUS_PX, 2))
            angle = float(rng.uniform(0, 180))
            for dx in (-side, 0, side):
                for dy in (-side, 0, side):
                    cv2.ellipse(nuclei, ((x + dx, y + dy), axes, angle), 1, -1)
        chromatin = np.array(_HAEMATOXYLIN_RGB, np.float32) + stroma * 8
        mixed = np.where(nuclei[..., None] > 0, chromatin, eosin)
        square = (np.clip(mixed, 0, 255) // _GREY_STEP * _GREY_STEP).astype(np.uint8)
        return np.tile(square, (2, 2, 1))


def synthetic_slide(
    width: int, height: int, *, num_blobs: int = 4, seed: int = 0
) -> SyntheticSlide:
    """A slide with tissue at seeded places; `num_blobs=0` gives an empty slide.

    Each blob lies wholly on the slide and measures 10 to 30 % of its sides across the radius.
    """
    rng = np.random.default_rng(seed)
    blobs = []
    for _ in range(num_blobs):
        radius_x, radius_y = rng.uniform(0.1, 0.3, 2) * (width, height)
        x = rng.uniform(radius_x, width - radius_x)
        y = rng.uniform(radius_y, height - radius_y)
        blobs.append(Blob(float(x), float(y), float(radius_x), float(radius_y)))
    return SyntheticSlide(width, height, tuple(blobs), seed)


def write_synthetic_slide(
    path: str | Path,
    width: int,
    height: int,
    mpp: float | None = 0.5,
    *,
    num_blobs: int = 4,
    seed: int = 0,
    overlays: Sequence[Overlay] = (),
    **pyramid: Any,
) -> SyntheticSlide:
    """Writes a synthetic slide as a pyramid and returns its ground truth.

    Args:
        path: File to write.
        width: Level-0 pixels.
        height: Level-0 pixels.
        mpp: Written as TIFF resolution tags; None writes none.
        num_blobs: Pieces of tissue; 0 for an empty slide.
        seed: Decides places and texture.
        overlays: Drawn over the slide, in order.
        pyramid: Further arguments of `write_pyramid`.
    """
    slide = synthetic_slide(width, height, num_blobs=num_blobs, seed=seed)
    painter: Painter = with_overlays(slide, *overlays)
    write_pyramid(path, width, height, mpp, painter, **pyramid)
    return slide
