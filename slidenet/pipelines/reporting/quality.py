"""The quality mosaic: what was taken for tissue on each slide, what was dropped and why."""

from collections.abc import Mapping

from slidenet.core.text import count_of
from slidenet.pipelines.reporting.budget import PictureBudget, take_pictures, words_of_sample
from slidenet.pipelines.reporting.cohort_files import CohortFound, SlideFound
from slidenet.pipelines.tissue.record import LEAST_MM2
from slidenet.tissue import Reason
from slidenet.visualisation.html import (
    Child,
    Column,
    Html,
    Section,
    element,
    figure,
    gallery,
    lines_of,
    missing,
    note,
    paragraph,
    picture_of_file,
    table,
)
from slidenet.visualisation.overlay.reasons import REASON_RGB
from slidenet.visualisation.overlay.tissue import CONTOUR_RGB

PICTURE_PX = 380


def quality_section(found: CohortFound, budget: PictureBudget, *, most: int) -> Section:
    """Pictures of the slides, the most doubtful first.

    Args:
        found: What the folder holds.
        budget: Bytes the pictures may take.
        most: Slides with a picture.
    """
    title = "Quality of the tissue"
    described = {n: s for n, s in found.slides.items() if s.tiles is not None or s.record}
    if not described:
        gone = missing("tissue and tiles: `slidenet preprocess` finds them.")
        return Section("quality", title, [gone], "no tissue")
    ordered = sorted(described, key=lambda name: _rank(described[name]))
    doubtful = sum(_is_doubtful(slide) for slide in described.values())
    pictures = take_pictures(
        ordered,
        lambda name: picture_of_file(found.layout.overlay(name), longest=PICTURE_PX),
        budget,
        most=most,
        first=min(doubtful, most // 2),
    )
    absent = sum(picture is None for picture in pictures.values())
    parts = [
        paragraph(
            "Outlined is what was taken for tissue; what lies outside every tile is pale; tinted "
            "is what was dropped, by its reason. Doubt is from 0 (sure) to 1. "
            f"{doubtful:,} of {count_of('slide', len(described))} should be looked at by a person."
        ),
        _legend(),
    ]
    cut = "the most doubtful, and others spread evenly over the rest, in the order of doubt"
    remedy = "--max-pictures shows more."
    if budget.ran_out:
        remedy = "More would make this file larger than --max-megabytes."
    sample = words_of_sample(len(pictures), len(described), "slides", cut, remedy)
    if sample:
        parts.append(note("plain", sample))
    if absent:
        parts.append(
            note("look", f"{count_of('picture', absent)} of them not there or not readable.")
        )
    cards = (
        figure(
            picture,
            f"Overview of {name} with the outline of its tissue",
            lines_of(_words(described[name])),
            tone="look" if _is_doubtful(described[name]) else "plain",
        )
        for name, picture in pictures.items()
    )
    parts += [gallery(cards, "mosaic"), *_dropped(described)]
    lacks = "some pictures are not there" if absent else ""
    return Section("quality", title, parts, lacks)


def _rank(slide: SlideFound) -> tuple[float, bool, str]:
    notes = bool(slide.record is not None and slide.record.notes)
    return (1.0 if slide.doubt is None else -slide.doubt, not notes, slide.slide_id)


def _is_doubtful(slide: SlideFound) -> bool:
    return slide.record is not None and slide.record.is_doubtful


def _words(slide: SlideFound) -> list[Child]:
    """Name, doubt, warnings and areas of a slide."""
    doubt = "no doubt known" if slide.doubt is None else f"doubt {slide.doubt:.2f}"
    lines: list[Child] = [
        element("strong", slide.slide_id),
        doubt if slide.tiles is None else f"{doubt}; {count_of('tile', slide.tiles.num_tiles)}",
    ]
    if slide.record is None:
        return [*lines, "what was found is not described"]
    lines += [element("strong", f"{text}") for text in slide.record.notes[:3]]
    areas = [
        f"{reason.words} {area / 1e6:.2f} mm²"
        for reason, area in slide.record.areas_um2.items()
        if reason is Reason.TISSUE or (reason is not Reason.GROUND and area / 1e6 >= LEAST_MM2)
    ]
    if slide.record.num_dropped:
        areas.append(f"{count_of('region', slide.record.num_dropped)} dropped")
    tiled = slide.outcomes.get("preprocess")
    counts = None  # of tiles: in the grid, on tissue, dropped by each filter, kept
    if tiled is not None and tiled.status == "done":
        counts = tiled.detail.partition(";")[0]
    return [*lines, ", ".join(areas) or None, counts]


def _dropped(described: Mapping[str, SlideFound]) -> list[Html]:
    """What was dropped in the whole cohort, by reason."""
    areas: dict[Reason, list[float]] = {}
    for slide in described.values():
        if slide.record is not None:
            for reason, area in slide.record.areas_um2.items():
                if reason is not Reason.GROUND and area:
                    areas.setdefault(reason, []).append(area / 1e6)
    if not areas:
        return []
    rows = [
        (reason.words, len(found), f"{sum(found):.2f}", f"{max(found):.2f}")
        for reason, found in sorted(areas.items(), key=lambda item: -sum(item[1]))
    ]
    columns = [
        Column("what"), Column("slides", True), Column("mm² in all", True),
        Column("most on one slide, mm²", True),
    ]  # fmt: skip
    return [table(columns, rows, caption="Tissue and what was dropped, over all slides")]


def _legend() -> Html:
    """What the colours of the pictures are."""
    known = {"outline of tissue": CONTOUR_RGB}
    known |= {reason.words: rgb for reason, rgb in REASON_RGB.items()}
    return element("p", *(part for item in known.items() for part in _swatch(*item)))


def _swatch(words: str, rgb: tuple[int, int, int]) -> tuple[Child, ...]:
    square = element("rect", width=12, height=12, rx=2, fill=f"rgb{rgb}".replace(" ", ""))
    picture = element("svg", square, width=12, height=12, aria_hidden="true")
    return picture, f" {words}   "
