"""A scene: a picture whose tissue is known, the canvas it is painted on, and its marks."""

from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.testing.tissue_scenes.fields import Float32Array, Rng, Shape

SCENE_MPP = 8.0
SHORT_SIDE_PX, LONG_SIDE_PX = 704, 896
_FILLED_HOLE_PX = 250  # 16,000 square microns at 8 mpp: what segmenters fill unless told otherwise
_DROPPED_PIECE_PX = 62  # 4,000 square microns: what they drop
_UNSURE = 1.6


@dataclass(frozen=True, eq=False)
class Scene:
    """A generated overview of a slide, at `mpp`, with its truth.

    Attributes:
        kind: What it shows, one of `KINDS`.
        seed: Decides geometry, colours and thickness.
        image: uint8 RGB (h, w, 3).
        mpp: Microns per pixel of the picture.
        truth: bool (h, w), True = tissue. Holes that segmenters fill (under 16,000 square
            microns) are tissue.
        ignore: bool (h, w), pixels that count neither way: ink over tissue, crumbs, and holes near
            the sizes at which segmenters fill.
    """

    kind: str
    seed: int
    image: UInt8Array
    mpp: float
    truth: BoolArray
    ignore: BoolArray


class Marks(NamedTuple):
    """How good a mask is.

    Attributes:
        iou: Intersection over union with the truth; 1 where neither has any tissue.
        missed: Share of the tissue that was not found; 0 without tissue.
        taken: Share of what was found that is no tissue; 0 where nothing was found.
    """

    iou: float
    missed: float
    taken: float


def score(mask: BoolArray, scene: Scene) -> Marks:
    """Compares a mask, bool and of the scene's shape, with its truth."""
    assert mask.dtype == np.bool_
    assert mask.shape == scene.truth.shape
    counted = ~scene.ignore
    both = int((mask & scene.truth & counted).sum())
    found, tissue = int((mask & counted).sum()), int((scene.truth & counted).sum())
    union = found + tissue - both
    return Marks(
        iou=both / union if union else 1.0,
        missed=1 - both / tissue if tissue else 0.0,
        taken=1 - both / found if found else 0.0,
    )


@dataclass(eq=False)
class Canvas:
    """What a scene is made of before it becomes a picture: light, and what takes light away.

    Attributes:
        rng: Source of all chance.
        shape: (h, w).
        family: Texture family, "a", "b" or "c".
        light: float32 (h, w, 3), share of full white that reaches the camera through bare glass.
        density: float32 (h, w, 3), optical density (natural logarithm) on top of it.
        truth: bool (h, w), True = tissue.
        ignore: bool (h, w), counts neither way.
    """

    rng: Rng
    shape: Shape
    family: str
    light: Float32Array = field(init=False)
    density: Float32Array = field(init=False)
    truth: BoolArray = field(init=False)
    ignore: BoolArray = field(init=False)

    def __post_init__(self) -> None:
        self.light = np.ones((*self.shape, 3), np.float32)
        self.density = np.zeros((*self.shape, 3), np.float32)
        self.truth = np.zeros(self.shape, np.bool_)
        self.ignore = np.zeros(self.shape, np.bool_)

    @property
    def palette(self) -> str:
        """Whose pens, tints and haze: "b" has its own, which nobody tunes on."""
        return "b" if self.family == "b" else "a"

    def settle_truth(self) -> None:
        """Fills small holes of the truth and drops crumbs, as segmenters do.

        Crumbs, and what is near those sizes, count neither way.
        """
        for value, limit, connectivity in (
            (False, _FILLED_HOLE_PX, 4),
            (True, _DROPPED_PIECE_PX, 8),
        ):
            _, labels, stats, _ = cv2.connectedComponentsWithStats(
                (self.truth == value).astype(np.uint8), connectivity=connectivity
            )
            areas = np.asarray(stats)[:, cv2.CC_STAT_AREA]
            small, unsure = areas < limit, (areas > limit / _UNSURE) & (areas < limit * _UNSURE)
            small[0] = unsure[0] = False
            self.truth ^= small[labels]
            self.ignore |= unsure[labels]
            if value:  # a crumb may be found or not
                self.ignore |= small[labels]
