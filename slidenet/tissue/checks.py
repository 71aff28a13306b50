"""What segmenters return, checked: those of other packages can return anything."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray
from slidenet.core.checks import check_share
from slidenet.core.errors import PluginError
from slidenet.slides import Slide, mark_places
from slidenet.tissue.finding import Finding, Reason

SIDE_TOLERANCE_PX = 2
"""A mask made level by level, each rounded down, is so many pixels off the slide's shape."""

OVERVIEW_PX = 1024
"""Longest side of the overview that shows what cannot be read, where the segmenter made none."""


def checked_finding(found: object, slide: Slide, *, segmenter: str) -> Finding:
    """What the segmenter returned as a `Finding` that covers the slide and nothing unreadable.

    Args:
        found: A `Finding`, or its mask alone.
        slide: The slide.
        segmenter: Its name, for messages.

    Raises:
        PluginError: It is something else: not bool, not (h, w), of another shape than the slide, or
            a mask, reasons and doubt that contradict each other.
    """
    finding = found if isinstance(found, Finding) else Finding(found)  # type: ignore[arg-type]
    try:
        _check_mask(finding.mask, slide)
        _check_reasons(finding)
        if finding.doubt is not None:
            check_share(doubt=finding.doubt, error=PluginError)
        notes = finding.notes
        if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
            raise PluginError(f"notes are {notes!r}", expected="texts, one line each")
    except PluginError as error:
        error.found = f"the segmenter {segmenter!r} returned nonsense: {error.found}"
        raise error.with_slide(slide.path.name) from None
    lines = tuple(" ".join(note.split()) for note in notes)
    doubt = None if finding.doubt is None else float(finding.doubt)
    # Plain arrays, whatever subclass they were: a masked array would not obey what follows.
    mask = np.array(finding.mask)
    reasons = None if finding.reasons is None else np.array(finding.reasons)
    return _without_unreadable(Finding(mask, reasons, doubt, lines), slide)


def _check_mask(mask: object, slide: Slide) -> None:
    expected = "a NumPy array bool (h, w) over the whole slide, or a Finding that holds one"
    if not isinstance(mask, np.ndarray):
        raise PluginError(f"the mask is a {type(mask).__name__}", expected=expected)
    if mask.dtype != np.bool_:
        unsure = mask.dtype.kind == "f" and bool(np.isnan(mask).any())
        raise PluginError(
            f"the mask is {mask.dtype} of shape {mask.shape}{', with NaN' if unsure else ''}",
            expected=expected,
            remedy="compare it with a threshold where it is made (values > 0.5)",
        )
    if mask.ndim != 2 or not mask.size:
        raise PluginError(f"the mask has the shape {mask.shape}", expected=expected)
    width, height = slide.level_dimensions[0]
    rows, columns = mask.shape
    if not _same_shape((columns, rows), (width, height)):
        turned = _same_shape((rows, columns), (width, height))
        raise PluginError(
            f"the mask is {columns} pixels across and {rows} down, the slide {width} and {height}",
            expected="the same proportions, since a mask covers the whole slide",
            remedy="return its transpose: a mask is (h, w)"
            if turned
            else "make the mask from slide.thumbnail(...), or paste it into one that covers all",
        )


def _same_shape(small: tuple[int, int], large: tuple[int, int]) -> bool:
    """Whether one scale makes both sides of `small` from those of `large`, but for rounding."""
    pairs = list(zip(small, large, strict=True))
    least = max((side - SIDE_TOLERANCE_PX) / whole for side, whole in pairs)
    return least <= min((side + SIDE_TOLERANCE_PX) / whole for side, whole in pairs)


def _check_reasons(finding: Finding) -> None:
    reasons = finding.reasons
    if reasons is None:
        return
    expected = f"uint8 of the mask's shape {finding.mask.shape}, codes of Reason"
    if not isinstance(reasons, np.ndarray) or reasons.dtype != np.uint8:
        kind = reasons.dtype if isinstance(reasons, np.ndarray) else type(reasons).__name__
        raise PluginError(f"the reasons are {kind}", expected=expected)
    if reasons.shape != finding.mask.shape:
        raise PluginError(f"the reasons have the shape {reasons.shape}", expected=expected)
    if reasons.max() > max(Reason):
        raise PluginError(f"the reasons hold the code {reasons.max()}", expected=expected)
    if not np.array_equal(reasons == Reason.TISSUE, finding.mask):
        raise PluginError(
            "the reasons say TISSUE (0) in other places than the mask is True",
            expected="the same places",
            remedy="make the mask from them: reasons == Reason.TISSUE",
        )


def _without_unreadable(finding: Finding, slide: Slide) -> Finding:
    """The finding without places of the slide that cannot be decoded: they look like glass."""
    mask, reasons = finding.mask, finding.reasons
    if not (mask & _unreadable(slide, mask.shape)).any():
        return finding
    if max(mask.shape) < OVERVIEW_PX:  # one of its pixels would drop more than is damaged
        shape = slide.thumbnail(OVERVIEW_PX).shape[:2]
        mask = enlarged(mask, shape)
        reasons = None if reasons is None else enlarged(reasons, shape)
    lost = _unreadable(slide, mask.shape)
    if reasons is None:
        reasons = np.where(mask, Reason.TISSUE, Reason.GROUND).astype(np.uint8)
    reasons = np.where(lost, Reason.UNREADABLE, reasons).astype(np.uint8)
    return replace(finding, mask=mask & ~lost, reasons=reasons)


def _unreadable(slide: Slide, shape: tuple[int, ...]) -> BoolArray:
    return mark_places(slide.unreadable_places, (shape[1], shape[0]))


def enlarged(values: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The nearest value for every pixel of a picture of another size that shows the same."""
    rows = np.arange(shape[0]) * values.shape[0] // shape[0]
    columns = np.arange(shape[1]) * values.shape[1] // shape[1]
    return values[np.ix_(rows, columns)]
