"""The gallery of maps: what a model looked at, on a sample of slides that were explained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.text import count_of, name_some
from slidenet.pipelines.cohort.layout import ExplanationLayout, FeatureMapsLayout, OutputLayout
from slidenet.pipelines.reporting.budget import (
    PictureBudget,
    in_turn,
    take_pictures,
    words_of_sample,
)
from slidenet.pipelines.reporting.cohort_files import UNREADABLE, line_of
from slidenet.stores.tile_maps import TileMaps, read_tile_maps
from slidenet.visualisation.html import (
    Child,
    Html,
    Picture,
    Section,
    details,
    element,
    figure,
    gallery,
    lines_of,
    listing,
    missing,
    note,
    paragraph,
    picture_of_file,
)

PICTURE_PX, SHEET_PX = 1100, 1400
MOST_SHEETS = 4
"""Sheets of tiles, and of methods side by side: each shows many pictures of one slide."""
FINE = "More would make this file larger than --max-megabytes."

COHORT_PICTURES = {
    "clusters.png": "Tiles near the middle of each cluster",
    "tiles.png": "Tiles of all slides laid out by their features",
    "slides.png": "Slides laid out by the shares of their clusters",
}
"""Of `slidenet feature-maps`."""

Explained = Mapping[str, tuple[ExplanationLayout, str]]
"""Of each slide by its name in the report: where its maps lie, and its slide_id."""


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A kind of large picture: its folder, its heading in the page, and what it shows."""

    kind: str
    heading: str
    caption: str


def has_maps(folder: Path) -> bool:
    """Whether `slidenet explain` or `feature-maps` has written into a folder."""
    layout = OutputLayout(folder)
    kinds = (False, True)
    explained = any(True for compare in kinds for _ in _layouts(layout, compare=compare))
    return explained or layout.feature_maps.space.is_file()


def maps_section(folders: Sequence[Path], budget: PictureBudget, *, most: int) -> Section:
    """Pictures of maps with what they show.

    Args:
        folders: Where `slidenet explain` may have written, in order.
        budget: Bytes the pictures may take.
        most: Slides with a picture.
    """
    title, parts, lacks = "Maps", list[Html](), ""
    explained, compared = _explained(folders), _explained(folders, compare=True)
    if not explained and not compared:
        lacks = "no maps"
        parts.append(
            missing("maps of what a model looked at: `slidenet explain --bundle MODEL` makes them.")
        )
    if explained:
        shown, lacks = _of_slides(explained, budget, most)
        parts += shown
    methods = _Sheet("figures", "Methods side by side",
                     "All methods that apply, and how far they agree")  # fmt: skip
    parts += _sheets(compared, sorted(compared), methods, budget)
    for folder in folders:
        parts += _feature_maps(OutputLayout(folder).feature_maps, budget)
    return Section("maps", title, parts, lacks)


def _of_slides(explained: Explained, budget: PictureBudget, most: int) -> tuple[list[Html], str]:
    """A card for each of a sample of slides, and a few sheets of tiles; and what is not there."""
    names = sorted(explained)
    pictures = take_pictures(
        names, lambda n: _picture(explained, n, "figures", PICTURE_PX), budget, most=most, first=0
    )
    problems: list[str] = []
    cards = [_card(name, explained, picture, problems) for name, picture in pictures.items()]
    parts: list[Html] = [
        paragraph(
            f"{count_of('slide', len(explained))} explained. A map shows what moved the model, not "
            "what is there. Maps marked as no evidence (attention, controls) show where it looked: "
            "what it saw there may speak for or against what it says."
        )
    ]
    remedy = FINE if budget.ran_out else "--max-maps shows more."
    sample = words_of_sample(
        len(pictures), len(explained), "slides", "spread evenly over all", remedy
    )
    if sample:
        parts.append(note("plain", sample))
    absent = [name for name, picture in pictures.items() if picture is None]
    if absent:
        told = f"{count_of('slide', len(absent))} without a figure of the map"
        parts.append(note("look", f"{told} ({name_some(absent)})."))
    parts.append(gallery(cards))
    tiles = _Sheet("galleries", "Tiles with the most and the least",
                   "The tiles that speak most for and against, and where they lie")  # fmt: skip
    parts += _sheets(explained, list(pictures), tiles, budget)
    if problems:
        parts += [note("bad", "Some maps could not be read."), details("Which", listing(problems))]
    return parts, "some maps have no picture" if absent else ""


def _feature_maps(layout: FeatureMapsLayout, budget: PictureBudget) -> list[Html]:
    """What features look like without any model; nothing where nobody has drawn it."""
    figures = [
        layout.figure(path.stem) for path in sorted(layout.record("x").parent.glob("*.json"))
    ]
    of_slides = [figures[i] for i in in_turn(len(figures), 0)[:MOST_SHEETS]]
    shown = [(layout.cohort(name), words) for name, words in COHORT_PICTURES.items()]
    shown += [
        (path, f"{path.stem}: the slide, its features as colours, and its clusters")
        for path in sorted(of_slides)
    ]
    sheets: list[Html] = []
    for path, words in shown:
        picture = picture_of_file(path, longest=SHEET_PX)
        if picture is not None and budget.takes(picture):
            sheets.append(figure(picture, words, words))
    if not sheets:
        return []
    told = (
        "Colours and clusters of features mean the same on every slide; no model and no label has "
        "a part in them."
    )
    return [element("h3", "What features look like"), paragraph(told), gallery(sheets)]


def _layouts(
    layout: OutputLayout, *, compare: bool = False
) -> Iterator[tuple[str, ExplanationLayout]]:
    """Where maps lie, by feature set, with what is said of it."""
    number = 1
    while (found := layout.explanations(compare=compare, number=number)).maps("x").parent.is_dir():
        yield ("" if number == 1 else f" (feature set {number})"), found
        number += 1


def _explained(folders: Sequence[Path], *, compare: bool = False) -> Explained:
    found: dict[str, tuple[ExplanationLayout, str]] = {}
    for folder in folders:
        for told, layout in _layouts(OutputLayout(folder), compare=compare):
            for path in layout.maps("x").parent.glob("*.h5"):
                if path.name[:1] != ".":
                    found.setdefault(f"{path.stem}{told}", (layout, path.stem))
    return found


def _picture(explained: Explained, name: str, kind: str, longest: int) -> Picture | None:
    """What is drawn of a slide: of the map to believe first."""
    layout, slide_id = explained[name]
    return picture_of_file(layout.export(kind, slide_id, ".png"), longest=longest)


def _sheets(
    explained: Explained,
    names: Sequence[str],
    sheet: _Sheet,
    budget: PictureBudget,
) -> list[Html]:
    """A few large pictures, one below the other; nothing where there are none."""
    sheets: list[Html] = []
    for name in (names[place] for place in in_turn(len(names), 0)):
        picture = _picture(explained, name, sheet.kind, SHEET_PX)
        if len(sheets) == MOST_SHEETS or not budget.takes(picture):
            break
        if picture is not None:
            words = lines_of([element("strong", name), sheet.caption])
            sheets.append(figure(picture, f"{sheet.heading}, of {name}", words))
    if not sheets:
        return []
    told = note("plain", f"Of {len(sheets)} of {count_of('slide', len(names))}; the others lie in "
                f"the folder {sheet.kind} of the explanations.")  # fmt: skip
    return [
        element("h3", sheet.heading),
        *([told] if len(names) > len(sheets) else []),
        gallery(sheets),
    ]


def _card(name: str, explained: Explained, picture: Picture | None, problems: list[str]) -> Html:
    lines: list[Child] = [element("strong", name)]
    layout, slide_id = explained[name]
    try:
        maps = read_tile_maps(layout.maps(slide_id))
    except UNREADABLE as error:
        problems.append(line_of(error))
        lines.append("its values cannot be read")
    else:
        lines += _words(maps)
    return figure(picture, f"Map of {name}", lines_of(lines))


def _words(maps: TileMaps) -> list[Child]:
    """What the model says of the slide, and each kind of map with its range."""
    lines: list[Child] = []
    for bag, said in list(maps.prediction.items())[:3]:
        if isinstance(said, Mapping) and "words" in said:
            lines.append(f"{bag}: {said['words']}")
    first, *others = (maps.maps[place] for place in maps.called_first)
    low, high = first.value_range()
    lines.append(
        f"{first.target}, {first.title}; raw values {low:.3g} to {high:.3g} ({first.unit})"
    )
    named = (
        f"{one.method} of {one.target}{'' if one.is_evidence else ' (not evidence)'}"
        for one in others
    )
    return [*lines, f"also in the file: {name_some(named)}" if others else None]
