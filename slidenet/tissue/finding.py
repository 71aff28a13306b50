"""What a segmenter found on a slide: the tissue, why the rest is none, and how sure that is."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array


class Reason(IntEnum):
    """Why a pixel is tissue or not; the codes of `Finding.reasons`."""

    TISSUE = 0
    GROUND = 1
    INK = 2
    TOO_SMALL = 3
    HOLE = 4
    BLACK = 5
    UNREADABLE = 6
    EXCLUDED = 7
    DEBRIS = 8
    HAZE = 9

    @property
    def words(self) -> str:
        """What it is called where people read it."""
        return _WORDS[self]


_WORDS = {
    Reason.TISSUE: "tissue",
    Reason.GROUND: "bare glass",
    Reason.INK: "ink of a pen",
    Reason.TOO_SMALL: "pieces too small",
    Reason.HOLE: "holes too large to fill",
    Reason.BLACK: "scanner black or padding",
    Reason.UNREADABLE: "not readable",
    Reason.EXCLUDED: "excluded by hand",
    Reason.DEBRIS: "dust, bubble or cover-slip edge",
    Reason.HAZE: "coloured ground",
}


DOUBTFUL = 0.5
"""From this doubt on a person should look at the slide."""


@dataclass(frozen=True, eq=False)
class Finding:
    """What a segmenter found on a slide.

    Attributes:
        mask: bool (h, w) over the whole slide, True = tissue.
        reasons: uint8 (h, w), codes of `Reason`, `TISSUE` exactly where the mask is True; None
            where the segmenter does not say why a pixel is no tissue.
        doubt: From 0 (sure) to 1 (a person must look); None where the segmenter does not say.
        notes: Warnings in words, one line each ("dark ground: fluorescence?").
    """

    mask: BoolArray
    reasons: UInt8Array | None = None
    doubt: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DroppedRegion:
    """A connected part of a slide that is no tissue for a reason worth knowing.

    Attributes:
        reason: Why.
        area_um2: Square microns; None where the slide's resolution is not known.
        box: (left, top, right, bottom), level-0 pixels, right and bottom excluded.
    """

    reason: Reason
    area_um2: float | None
    box: tuple[int, int, int, int]


class DroppedRegions(NamedTuple):
    """The largest dropped regions of a slide, and how many there are."""

    largest: list[DroppedRegion]
    number: int


def dropped_regions(
    finding: Finding,
    *,
    level0_size: tuple[int, int],
    slide_mpp: float | None,
    most: int | None = None,
) -> DroppedRegions:
    """The connected parts that are no tissue, largest first; bare glass is left out.

    Args:
        finding: What was found.
        level0_size: (width, height) of the slide, level-0 pixels.
        slide_mpp: Resolution of level 0; None where it is not known.
        most: So many of them are described, the others only counted; None: all.
    """
    if finding.reasons is None:
        return DroppedRegions([], 0)
    rows, columns = finding.mask.shape
    across, down = level0_size[0] / columns, level0_size[1] / rows
    # Reason, left, top, width, height and number of pixels, one row per region: of millions of
    # specks only the largest become objects.
    found = [np.empty((0, 6), np.int64)]
    for reason in Reason:
        here = finding.reasons == reason
        if reason in (Reason.TISSUE, Reason.GROUND) or not here.any():
            continue
        stats = cv2.connectedComponentsWithStats(here.astype(np.uint8), connectivity=8)[2]
        found.append(np.insert(np.asarray(stats, np.int64)[1:], 0, reason, axis=1))
    table = np.concatenate(found)
    table = table[np.lexsort((table[:, 2], table[:, 1], -table[:, 5]))]
    largest = []
    for code, left, top, width, height, count in table[:most].tolist():
        area = None if slide_mpp is None else count * across * down * slide_mpp**2
        box = (
            int(left * across),
            int(top * down),
            min(round((left + width) * across), level0_size[0]),
            min(round((top + height) * down), level0_size[1]),
        )
        largest.append(DroppedRegion(Reason(code), area, box))
    return DroppedRegions(largest, len(table))
