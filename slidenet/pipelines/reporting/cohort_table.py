"""The cohort as a table, one row per slide, and where its resolutions come from."""

from collections import Counter, defaultdict

import numpy as np

from slidenet.core.text import count_of, name_some
from slidenet.pipelines.reporting.cohort_files import CohortFound, SlideFound
from slidenet.tissue import Reason
from slidenet.visualisation.html import (
    Child,
    Column,
    Html,
    Section,
    badge,
    missing,
    note,
    paragraph,
    table,
)

MOST_ROWS = 2000
"""Of the table: more would be slow to open, and are in `run.json` and `tissue.csv`."""

FAR_OFF = 0.05
"""By how much the resolution of a slide differs from that of most, to be named."""


def cohort_section(found: CohortFound) -> Section:
    """One row per slide: what was made of it, its tiles, tissue and size."""
    if not found.slides:
        gone = missing(
            "slides: this folder holds no tiles, features or run.json. ",
            "`slidenet run --slides slides.csv --out FOLDER` makes them.",
        )
        return Section("cohort", "Cohort", [gone], "no slides")
    rows = sorted(found.slides.values(), key=lambda s: (not s.failed_in, s.slide_id))
    num_tiles = [tiles.num_tiles for tiles in found.tiled.values()]
    parts = [paragraph(_summary(found, num_tiles))]
    parts += [note("look", line) for line in _unfinished(found)]
    if len(rows) > MOST_ROWS:
        parts.append(
            note(
                "plain",
                f"The first {MOST_ROWS:,} of {len(rows):,} slides are listed, those that failed "
                "first; run.json and tissue.csv have all.",
            )
        )
    columns = [
        Column("slide"), Column("state"), Column("tiles", True), Column("unreadable", True),
        Column("tissue, mm²", True), Column("doubt", True), Column("µm per pixel", True),
        Column("width x height, px"), Column("seconds", True),
    ]  # fmt: skip
    caption = f"{count_of('slide', min(len(rows), MOST_ROWS))}, those that failed first"
    parts.append(
        table(columns, [_row(slide, found) for slide in rows[:MOST_ROWS]], caption=caption)
    )
    lacks = "" if found.stages else "run.json is not there, or damaged"
    return Section("cohort", "Cohort", parts, lacks)


def resolution_section(found: CohortFound) -> Section:
    """How fine the slides are, by where the number comes from."""
    title = "Resolution"
    if not found.tiled:
        gone = missing("tiles, which say at what resolution slides were read.")
        return Section("resolution", title, [gone], "no tiles")
    of_source: dict[str, list[float]] = defaultdict(list)
    targets: Counter[str] = Counter()
    resampled = 0
    for tiles in found.tiled.values():
        geometry = tiles.geometry
        of_source[geometry.slide_mpp.source].append(geometry.slide_mpp.value)
        targets[f"{geometry.tile_size_px} px at {geometry.target_mpp:g} µm per pixel"] += 1
        resampled += geometry.resampled
    rows = [
        (source, len(values), _mpp(min(values)), _mpp(float(np.median(values))), _mpp(max(values)))
        for source, values in sorted(of_source.items(), key=lambda item: -len(item[1]))
    ]
    columns = [
        Column("source of the resolution"), Column("slides", True), Column("finest", True),
        Column("median", True), Column("coarsest", True),
    ]  # fmt: skip
    cut = "; ".join(f"{count_of('slide', n)}: {what}" for what, n in targets.most_common())
    parts = [
        paragraph(
            f"Tiles are of {cut}. {resampled:,} of {len(found.tiled):,} slides are resampled after "
            "reading, as none of their levels has the resolution asked for."
        ),
        *(note("look", line) for line in _far_off(found)),
    ]
    if len(targets) > 1:
        parts.append(note("bad", "Tiles of different sizes or resolutions lie in one folder."))
    parts.append(
        table(columns, rows, caption="Microns per pixel of level 0, by where they come from")
    )
    return Section("resolution", title, parts)


def _summary(found: CohortFound, num_tiles: list[int]) -> str:
    failed = sum(bool(slide.failed_in) for slide in found.slides.values())
    text = f"{count_of('slide', len(found.slides))}; {len(num_tiles):,} with tiles"
    if num_tiles:
        text += (
            f" ({sum(num_tiles):,} in all, {min(num_tiles):,} to {max(num_tiles):,} per slide, "
            f"median {np.median(num_tiles):,.0f})"
        )
    return f"{text}; {failed:,} failed."


def _unfinished(found: CohortFound) -> list[str]:
    """What of the slides is not done, and did not fail either."""
    lines = []
    waiting = [s.slide_id for s in found.slides.values() if s.tiles is None and not s.failed_in]
    if waiting:
        lines.append(f"{count_of('slide', len(waiting))} without tiles: {name_some(waiting)}")
    for encoder in found.encoders:
        lack = [
            s.slide_id
            for s in found.slides.values()
            if s.tiles is not None and s.tiles.num_tiles and encoder not in s.features
            and not s.failed_in
        ]  # fmt: skip
        if lack:
            lines.append(
                f"{count_of('slide', len(lack))} with tiles and without features of {encoder}: "
                f"{name_some(lack)}. `slidenet embed-tiles` goes on where it was"
            )
    if found.tiled and not found.encoders:
        lines.append("No features yet: `slidenet embed-tiles` makes them")
    empty = [name for name, tiles in found.tiled.items() if not tiles.num_tiles]
    if empty:
        lines.append(f"{count_of('slide', len(empty))} with no tile at all: {name_some(empty)}")
    return lines


def _row(slide: SlideFound, found: CohortFound) -> list[Child]:
    geometry = None if slide.tiles is None else slide.tiles.geometry
    tissue = None if slide.record is None else slide.record.areas_um2.get(Reason.TISSUE)
    seconds = [one.seconds for one in slide.outcomes.values() if one.seconds is not None]
    return [
        slide.slide_id,
        _state(slide, found),
        None if slide.tiles is None else f"{slide.tiles.num_tiles:,}",
        slide.num_unreadable or None,
        None if tissue is None else f"{tissue / 1e6:.2f}",
        None if slide.doubt is None else f"{slide.doubt:.2f}",
        None if geometry is None else _mpp(geometry.slide_mpp.value),
        None if geometry is None else f"{geometry.level0_width:,} x {geometry.level0_height:,}",
        f"{sum(seconds):.1f}" if seconds else None,
    ]


def _state(slide: SlideFound, found: CohortFound) -> Html:
    """How far the slide has come, in one word or two."""
    if slide.failed_in:
        return badge("bad", f"failed in {', '.join(slide.failed_in)}")
    if any(one.status == "in progress elsewhere" for one in slide.outcomes.values()):
        return badge("look", "in progress")
    if slide.tiles is None:
        return badge("look", "features only" if slide.features else "no tiles")
    if found.encoders and len(slide.features) < len(found.encoders):
        return badge("look", "tiles")
    if not slide.features:
        return badge("plain", "tiles")
    return badge("good", "slide embedding" if slide.num_embeddings else "features")


def _far_off(found: CohortFound) -> list[str]:
    """Slides whose resolution is given by hand, or far from that of most."""
    values = {name: tiles.geometry.slide_mpp.value for name, tiles in found.tiled.items()}
    usual = float(np.median(list(values.values())))
    lines = []
    far = [n for n, value in values.items() if abs(np.log(value / usual)) > np.log1p(FAR_OFF)]
    if far:
        named = name_some(f"{name} ({_mpp(values[name])})" for name in far)
        lines.append(
            f"{count_of('slide', len(far))} more than {FAR_OFF:.0%} from the median of "
            f"{_mpp(usual)}: {named}"
        )
    finer = [n for n, t in found.tiled.items() if t.geometry.target_mpp < 0.99 * values[n]]
    if finer:
        lines.append(
            f"{count_of('slide', len(finer))} coarser than the tiles asked for, so that pixels are "
            f"enlarged: {name_some(finer)}"
        )
    return lines


def _mpp(value: float) -> str:
    return f"{value:.4f}"
