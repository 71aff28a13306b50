"""The tissue of a slide as a mask, and the call that finds it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray
from slidenet.core.errors import EmptyTissueError, UnreadableSlideError
from slidenet.core.provenance import Identity
from slidenet.slides import Slide, damage_note, lost_share
from slidenet.tissue.checks import OVERVIEW_PX, checked_finding
from slidenet.tissue.finding import Finding, Reason
from slidenet.tissue.segmenters import (
    DEFAULT_SEGMENTER,
    PictureSegmenter,
    Segmenter,
    make_segmenter,
    segmenter_identity,
)

_MOSTLY_LOST = 0.5
"""From here on of the overview, damage is the cause and not what little is seen."""


@dataclass(frozen=True, eq=False)
class Tissue:
    """Where the tissue of a slide is.

    Attributes:
        mask: bool (h, w), True = tissue; covers the whole slide; read-only.
        downsample_xy: Level-0 pixels per mask pixel, (x, y); exact, so slightly different per axis.
        identity: Every setting that chose the mask.
        finding: What the segmenter says of it; None for tissue drawn by hand of which nothing was
            taken off.
        notes: What a user should know of the files that were drawn by hand, a clause each.
    """

    mask: npt.NDArray[np.bool_]
    downsample_xy: tuple[float, float]
    identity: Identity
    finding: Finding | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.mask.dtype == np.bool_
        assert self.mask.ndim == 2
        frozen = self.mask.copy()
        frozen.flags.writeable = False
        object.__setattr__(self, "mask", frozen)

    @property
    def fraction(self) -> float:
        """Share of the slide that is tissue, in [0, 1]."""
        return float(self.mask.mean())


def find_tissue(
    slide: Slide, segmenter: str | Segmenter = DEFAULT_SEGMENTER, **settings: Any
) -> Tissue:
    """Finds tissue on a low-resolution picture of the slide.

    Args:
        slide: An open slide.
        segmenter: Its name ("otsu", "optical_density", ..., or that of another package's), or a
            segmenter made earlier.
        **settings: Fields of that segmenter, by name; only together with a name.

    Raises:
        EmptyTissueError: Nothing on the slide passes for tissue.
        UnreadableSlideError: Nothing does, and most of the slide cannot be decoded.
        MissingMppError: The segmenter works in microns and the slide has no mpp.
        UnknownNameError: No segmenter of that name.
        ConfigError: A setting is unknown or out of range.
        PluginError: The segmenter returned something else than a mask of this slide.
    """
    chosen = make_segmenter(segmenter, **settings) if isinstance(segmenter, str) else segmenter
    assert isinstance(segmenter, str) or not settings, "settings go with a name"
    try:
        return _found(slide, chosen)
    except EmptyTissueError as error:
        damage = damage_note(slide.unreadable_places)
        if lost_share(slide.unreadable_places) > _MOSTLY_LOST:  # who finds nothing there?
            raise UnreadableSlideError(
                f"{damage} ({slide.overview_problem}), and no tissue was found in the rest",
                expected="an overview that shows the slide",
                remedy="see that its disk is well, or copy the slide again and compare its size "
                "with the original's, then run again",
                slide=slide.path.name,
            ) from error
        error.found += f"; {damage}" if damage else ""
        raise


def _found(slide: Slide, chosen: Segmenter) -> Tissue:
    found = chosen.find(slide)
    if not isinstance(chosen, PictureSegmenter):
        slide.thumbnail(OVERVIEW_PX)  # by which it is known what of the slide cannot be read
    finding = checked_finding(found, slide, segmenter=chosen.name)
    if not finding.mask.any():
        raise _nothing_found(finding, chosen, slide)
    return tissue_on(slide, finding.mask, segmenter_identity(chosen), finding)


def _nothing_found(finding: Finding, segmenter: Segmenter, slide: Slide) -> EmptyTissueError:
    """The error for a slide without tissue, with what its segmenter says it has instead."""
    found = f"the segmenter {segmenter.name!r} found no tissue"
    instead = []
    if finding.reasons is not None:
        shares = np.bincount(finding.reasons.ravel(), minlength=len(Reason)) / finding.reasons.size
        order = sorted((reason for reason in Reason if shares[reason]), key=lambda r: -shares[r])
        instead = [f"{shares[reason]:.1%} {reason.words}" for reason in order]
    found += f": {', '.join(instead)}" if instead else ""
    found += "".join(f"; {note}" for note in finding.notes)
    settings = ["sensitivity"] if hasattr(segmenter, "sensitivity") else []
    settings += ["min_area_um2"] if any(Reason.TOO_SMALL.words in text for text in instead) else []
    flags = " or ".join(f"--{name.replace('_', '-')}" for name in settings)
    return EmptyTissueError(
        found,
        expected="some tissue",
        remedy=(f"lower {flags} (in Python, {' or '.join(settings)}), " if settings else "")
        + "take another --segmenter ('all' is the whole slide), or draw the tissue in QuPath and "
        "pass its GeoJSON as --tissue-geojson",
        slide=slide.path.name,
    )


def tissue_on(
    slide: Slide, mask: BoolArray, identity: Identity, finding: Finding | None = None
) -> Tissue:
    """A mask that covers the whole slide, with the scale that follows from the two sizes."""
    width, height = slide.level_dimensions[0]
    rows, columns = mask.shape
    return Tissue(mask, (width / columns, height / rows), identity, finding)
