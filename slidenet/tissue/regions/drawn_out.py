"""Areas that a person draws out: taken off the tissue, whatever found it."""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from shapely.geometry import Polygon

from slidenet.core.errors import EmptyTissueError
from slidenet.core.provenance import INPUTS_KEY, Identity, identity_hash
from slidenet.core.text import count_of, name_some
from slidenet.slides import Slide
from slidenet.tissue.checks import enlarged
from slidenet.tissue.finding import Finding, Reason
from slidenet.tissue.polygons import rasterize
from slidenet.tissue.regions.drawn import check_length, mask_size
from slidenet.tissue.regions.reading import read_regions
from slidenet.tissue.regions.records import Frame
from slidenet.tissue.tissue import Tissue, tissue_on

MASK_MPP = 4.0
COARSE = 4
"""A mask this many times coarser than `MASK_MPP` is made finer first: that of the whole slide is a
single pixel."""


@dataclass(frozen=True, eq=False)
class DrawnOut:
    """What a person drew out on one slide.

    Attributes:
        polygons: Level-0 pixels, cut to the slide; empty where nothing in the file excludes.
        file_name: Where they were drawn, for messages.
        notes: What a user should know of the file, a clause each.
    """

    polygons: tuple[Polygon, ...]
    file_name: str
    notes: tuple[str, ...] = ()

    def identity(self, tissue: Identity) -> Identity:
        """The identity of tissue once this is taken off it; unchanged where nothing is.

        What is drawn out belongs to one slide: its tiles are made again when it changes, those of
        the other slides are not, and all stay one cohort.
        """
        if not self.polygons:
            return tissue
        shapes = sorted({polygon.wkt for polygon in self.polygons})
        inputs = tissue.get(INPUTS_KEY, {})
        assert isinstance(inputs, dict)
        return {**tissue, INPUTS_KEY: {**inputs, "drawn_out": identity_hash({"wkt": shapes})}}


def drawn_out(
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    frame: Frame = "qupath",
    exclude_classes: Collection[str] = (),
    wanted_classes: Collection[str] = (),
) -> DrawnOut:
    """The regions of a file that exclude; the others do not count.

    Args:
        slide: The slide they were drawn on.
        path: Their file, see `read_regions`.
        frame: See `read_regions`.
        exclude_classes: See `read_regions`.
        wanted_classes: See `read_regions`.

    Raises:
        SlideError: The file cannot be used, see `read_regions`.
    """
    name = Path(path).name
    drawn = read_regions(
        path,
        slide,
        frame=frame,
        exclude_classes=exclude_classes,
        wanted_classes=wanted_classes,
    )
    notes = [f"{name}: {note}" for note in drawn.notes]
    if not drawn.excluded:
        classes = sorted({repr(region.classification or "(none)") for region in drawn.included})
        held = f"its classes: {name_some(classes)}" if classes else "it holds no area"
        notes.append(
            f"nothing in {name} excludes ({held}): areas to be taken off are of the class Ignore* "
            "or named as --exclude-classes"
        )
    return DrawnOut(tuple(region.polygon for region in drawn.excluded), name, tuple(notes))


def take_off(tissue: Tissue, out: DrawnOut, slide: Slide) -> Tissue:
    """The tissue without what a person drew out.

    A pixel of the mask is taken off when its centre lies inside.

    Args:
        tissue: As found by a segmenter, or drawn.
        out: What is drawn out on the same slide.
        slide: The slide.

    Returns:
        Its finding says `Reason.EXCLUDED` where tissue was taken off.

    Raises:
        EmptyTissueError: No tissue is left.
        SlideError: The outlines are so long that drawing them would take minutes.
    """
    if not out.polygons:
        return replace(tissue, notes=(*tissue.notes, *out.notes))
    finding = tissue.finding or Finding(tissue.mask)
    mask, reasons = finding.mask, finding.reasons
    if reasons is None:
        reasons = np.where(mask, Reason.TISSUE, Reason.GROUND).astype(np.uint8)
    size = mask_size(slide, MASK_MPP)
    if max(mask.shape) * COARSE <= max(size):
        mask, reasons = enlarged(mask, size), enlarged(reasons, size)
    width, height = slide.level_dimensions[0]
    scale = (width / mask.shape[1], height / mask.shape[0])
    check_length(out.polygons, scale, out.file_name)
    off = rasterize(out.polygons, shape=mask.shape, downsample_xy=scale) & mask
    areas = count_of("region", len(out.polygons))
    notes = [*tissue.notes, *out.notes]
    if not off.any():
        notes.append(f"what excludes in {out.file_name} ({areas}) takes nothing off the tissue")
    if off.sum() == mask.sum():
        raise EmptyTissueError(
            f"all tissue is drawn out ({areas} of {out.file_name})",
            expected="some tissue that is left",
            remedy="correct what is drawn (--exclude-regions, --exclude-classes), or leave the "
            "slide out",
            slide=slide.path.name,
        )
    reasons = np.where(off, Reason.EXCLUDED, reasons).astype(np.uint8)
    left = replace(finding, mask=mask & ~off, reasons=reasons)
    identity = out.identity(tissue.identity)
    return replace(tissue_on(slide, left.mask, identity, left), notes=tuple(notes))
