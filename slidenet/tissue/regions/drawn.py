"""Tissue that a person drew, instead of what a segmenter finds."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
from shapely.geometry import Polygon

from slidenet.core.errors import SlideError
from slidenet.core.provenance import INPUTS_KEY, Identity, identity_hash
from slidenet.core.text import name_some
from slidenet.slides import Slide
from slidenet.tissue.finding import Finding, Reason
from slidenet.tissue.masks import MAX_SIDE_PX
from slidenet.tissue.polygons import rasterize
from slidenet.tissue.regions.classes import belongs_to
from slidenet.tissue.regions.reading import cut_to_slide, place_regions
from slidenet.tissue.regions.records import Frame, Region, RegionSet
from slidenet.tissue.tissue import Tissue, tissue_on

DRAWN = "geojson"
"""What an identity says in place of a segmenter where tissue was drawn."""


def drawn_tissue(
    slide: Slide,
    path: str | os.PathLike[str],
    *,
    classification: str | None = None,
    mask_mpp: float = 4.0,
    frame: Frame = "qupath",
    exclude_classes: Collection[str] = (),
) -> Tissue:
    """Tissue drawn or corrected by hand: all regions, less those that exclude.

    Args:
        slide: The slide the regions belong to.
        path: Their file, see `read_regions`.
        classification: Only regions of this class and classes derived from it, for example
            "Tissue"; None takes all.
        mask_mpp: Resolution of the mask, microns per pixel; coarser where a side of the
            mask would exceed 4096 pixels. A pixel is tissue when its centre is inside.
        frame: See `read_regions`.
        exclude_classes: See `read_regions`.

    Raises:
        SlideError: The file cannot be used (see `read_regions`), holds no region of the class, or
            nothing of it is left.
        MissingMppError: The slide has no mpp.
    """
    name = Path(path).name
    wanted = () if classification is None else (classification,)
    drawn = place_regions(
        path, slide, frame=frame, exclude_classes=exclude_classes, wanted_classes=wanted
    )
    taken = [
        region
        for region in drawn.included
        if classification is None or belongs_to(region.classification, classification)
    ]
    if not taken:
        raise _nothing_chosen(drawn, classification, name)
    used = RegionSet((*taken, *drawn.excluded), drawn.notes, drawn.digest)
    notes = cut_to_slide(used, slide, name).notes
    width, height = slide.level_dimensions[0]
    size = mask_size(slide, mask_mpp)
    scale = (width / size[1], height / size[0])
    check_length([region.polygon for region in (*taken, *drawn.excluded)], scale, name)
    mask = rasterize((region.polygon for region in taken), shape=size, downsample_xy=scale)
    off = mask & rasterize(
        (region.polygon for region in drawn.excluded), shape=size, downsample_xy=scale
    )
    mask &= ~off
    if not mask.any():
        raise SlideError(
            f"of the {len(taken)} regions of {name} nothing is left on a mask of "
            f"{size[1]} x {size[0]} pixels",
            expected="regions larger than a pixel of it, outside of what excludes "
            f"({len(drawn.excluded)} regions)",
            remedy="draw larger regions, or fewer of the class Ignore*",
            slide=slide.path.name,
        )
    inputs = {"polygons": _shapes_hash(taken)}
    if drawn.excluded:
        inputs["excluded"] = _shapes_hash(drawn.excluded)
    identity: Identity = {
        "segmenter": DRAWN,
        "classification": classification,
        "mask_mpp": mask_mpp,
        INPUTS_KEY: inputs,
    }
    finding = None
    if off.any():  # counted and shown as what --exclude-regions takes off
        reasons = np.where(mask, Reason.TISSUE, Reason.GROUND).astype(np.uint8)
        reasons[off] = Reason.EXCLUDED
        finding = Finding(mask, reasons)
    return replace(tissue_on(slide, mask, identity, finding), notes=notes)


def mask_size(slide: Slide, mask_mpp: float) -> tuple[int, int]:
    """(h, w) of a mask of the whole slide; coarser where a side would exceed 4096 pixels.

    Raises:
        MissingMppError: The slide has no mpp.
    """
    width, height = slide.level_dimensions[0]
    step = max(mask_mpp / slide.slide_mpp.value, 1.0, max(width, height) / MAX_SIDE_PX)
    return max(round(height / step), 1), max(round(width / step), 1)


def check_length(polygons: Collection[Polygon], scale: tuple[float, float], name: str) -> None:
    """Refuses outlines longer than the largest mask has pixels: drawing them takes minutes."""
    length = sum(polygon.length for polygon in polygons) / min(scale)
    if length > MAX_SIDE_PX**2:
        raise SlideError(
            f"the outlines of {name} are {length:,.0f} mask pixels long",
            expected=f"at most {MAX_SIDE_PX**2:,}, which is every pixel of the largest mask",
            remedy="simplify them in QuPath with Objects > Annotations... > Simplify shape",
        )


def _shapes_hash(regions: Collection[Region]) -> str:
    """Follows the outlines as drawn: what an older slidenet made of them stays the same."""
    return identity_hash({"wkt": [region.polygon.wkt for region in regions]})


def _nothing_chosen(drawn: RegionSet, classification: str | None, name: str) -> SlideError:
    classes = sorted({repr(region.classification or "(none)") for region in drawn.included})
    found = f"{name} holds no polygons"
    if classification is not None and classes:
        found += f" of the class {classification!r}; its classes: {name_some(classes)}"
    elif drawn.excluded:
        found += f" but {len(drawn.excluded)} that exclude"
    return SlideError(
        found + "".join(f"; {note}" for note in drawn.notes),
        expected="at least one closed outline",
        remedy="draw the tissue in QuPath and export it with File > Object data... > "
        "Export as GeoJSON"
        + ("" if classification is None else ", or name another --tissue-class"),
    )
