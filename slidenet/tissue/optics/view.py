"""A brightfield slide looked at: tissue, what the rest is, and how sure that is."""

from dataclasses import dataclass

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.tissue.finding import Reason
from slidenet.tissue.optics.density import (
    Sheet,
    closed,
    extremes_of,
    grown,
    labelled,
    make_sheet,
    opened,
    shrunken,
)
from slidenet.tissue.optics.glass import Glass, fit_glass
from slidenet.tissue.optics.ground import Ground, flood
from slidenet.tissue.optics.ink import find_ink, foreign_hues, inked_pieces, unevenness
from slidenet.tissue.optics.outline import bands, outline, sharpened
from slidenet.tissue.optics.stain import Stain, evidence

_TEXTURED = 0.08
_LEAST_TEXTURED_UM2 = 100_000.0
_LITTLE = 0.01  # share of a slide below which what was found may as well be dirt
_TINY_PX = 50
_FAINT = 8.0  # mean evidence, in standard deviations, below which tissue is called faint


@dataclass(frozen=True, eq=False)
class View:
    """What was seen on a picture.

    Attributes:
        tissue: bool (h, w), not cleaned yet.
        reasons: uint8 (h, w), codes of `Reason`: ink, debris, haze, or ground.
        doubt: From 0 (sure) to 1.
        notes: What a person should know, one line each.
    """

    tissue: BoolArray
    reasons: UInt8Array
    doubt: float
    notes: tuple[str, ...]


def look(image: UInt8Array, lit: BoolArray, mpp: float, sensitivity: float) -> View:
    """Tells tissue from glass, haze, ink and debris.

    Args:
        image: uint8 RGB (h, w, 3), tissue darker than its ground.
        lit: bool (h, w), False where the scanner stored nothing.
        mpp: Microns per pixel.
        sensitivity: Evidence a pixel needs, in standard deviations of the ground.
    """
    sheet = make_sheet(image, lit, mpp)
    glass = fit_glass(sheet)
    ground = flood(sheet, glass)
    stain = evidence(sheet, ground)
    ink = grown(find_ink(sheet, stain), 2)
    shown = ~ground.reached & ~ink & (stain.fine > sensitivity)
    neutral = stain.neutral & ~_grey_tissue(sheet, shown, stain)
    blocked = ink | neutral
    found = outline(sheet, ground, stain, ink, neutral, sensitivity)
    piece = inked_pieces(sheet, found, stain, ink) & (not stain.grey)
    found &= ~piece
    ink |= piece
    tissue = sharpened(image, mpp, found, sheet, ground, stain, blocked)
    reasons = np.full(sheet.shape, Reason.GROUND, np.uint8)
    debris = neutral & ~ground.reached & (stain.fine > sensitivity)
    reasons[opened(debris, 1)] = Reason.DEBRIS
    reasons[ground.coloured] = Reason.HAZE
    reasons[ink] = Reason.INK
    size = (image.shape[1], image.shape[0])
    full = np.asarray(cv2.resize(reasons, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    doubt, notes = _doubt(sheet, glass, ground, stain, ink, found, sensitivity)
    return View(tissue, full, doubt, notes)


def _grey_tissue(sheet: Sheet, shown: BoolArray, stain: Stain) -> BoolArray:
    """What is wide and textured is tissue, even without a colour: silver, pigment."""
    total = np.maximum(stain.density.sum(axis=2), np.float32(1e-2))
    shown = shown & ~bands(sheet, shown)
    inner = shrunken(shown, 4)
    textured = inner & (unevenness(total, np.ones_like(total), 5) > _TEXTURED**2)
    labels, count = labelled(closed(textured, 2))
    keep = np.bincount(labels.ravel(), minlength=count) > sheet.area(_LEAST_TEXTURED_UM2)
    keep[0] = False
    return shown & grown(np.asarray(keep[labels]), 6)


def _doubt(
    sheet: Sheet,
    glass: Glass,
    ground: Ground,
    stain: Stain,
    ink: BoolArray,
    found: BoolArray,
    sensitivity: float,
) -> tuple[float, tuple[str, ...]]:
    """What could be wrong, each with its own doubt; they add up like independent chances."""
    if not found.any():
        return 1.0, ()
    tissue = int(found.sum())
    shown = float(stain.broad[found].mean())
    beside = grown(found, sheet.px(200.0))
    share = tissue / max(1, int(sheet.lit.sum()))
    haze = float((ground.coloured & beside).sum()) / tissue
    inked = float((ink & beside).sum()) / tissue
    wide = float(opened(ink, sheet.px(400.0)).sum()) / tissue
    weak = float((found & (stain.fine < sensitivity * 4 / 3)).sum()) / tissue
    no_stain = foreign_hues(stain.density)
    coloured = extremes_of(stain.density)[1] > 0.2
    alike = float((shrunken(ink, 4) & ~no_stain & coloured).sum()) / tissue
    foreign = float((found & no_stain & coloured).sum()) / tissue
    doubts = [
        (0.5 * max(0.0, 1 - shown / _FAINT), f"faint tissue: {shown:.1f} standard deviations"),
        (0.6 * max(0.0, 1 - share / _LITTLE), f"little tissue: {share:.1%} of the slide"),
        (
            0.5 * (max(sheet.shape) < _TINY_PX),
            "an overview of few pixels: try a finer --segment-mpp",
        ),
        (0.6 * (not glass.found), "no bare glass to be seen: tissue from edge to edge?"),
        (0.2 * stain.grey, "a picture without colours: ink and debris cannot be told"),
        (0.5 * min(1.0, 2 * haze), "coloured ground beside the tissue was left out"),
        (0.8 * min(1.0, 2 * wide), "what was taken for ink is wide: tissue of one colour?"),
        (0.7 * min(1.0, 2 * alike), "what was taken for ink has the colours of stain"),
        (0.3 * min(1.0, 4 * foreign) * (not stain.grey), "some of the tissue has colours of ink"),
        (
            0.45 * min(1.0, max(0.0, 5 * weak - 0.5)),
            f"{weak:.0%} of the tissue would be ground with a --sensitivity of a third more",
        ),
        (0.4 * min(1.0, 2 * inked), "ink beside or over the tissue was left out"),
    ]
    sure = float(np.prod([1 - doubt for doubt, _ in doubts]))
    return round(1 - sure, 3), tuple(note for doubt, note in doubts if doubt > 0.2)
