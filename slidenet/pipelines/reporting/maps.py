"""The gallery of maps: what a model looked at, on a sample of slides that were explained."""

from collections.abc import Sequence
from pathlib import Path

from slidenet.core.errors import SlidenetError
from slidenet.core.text import count_of, name_some
from slidenet.pipelines.reporting.budget import PictureBudget, take_pictures, words_of_sample
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

PICTURE_PX = 1100
FOLDER = "explanations"


def maps_section(folders: Sequence[Path], budget: PictureBudget, *, most: int) -> Section:
    """Pictures of maps with what they show.

    Args:
        folders: Where `slidenet explain` may have written, in order.
        budget: Bytes the pictures may take.
        most: Slides with a picture.
    """
    title = "Maps"
    where = [f / FOLDER for f in folders if (f / FOLDER / "h5").is_dir()]
    files = {
        path.stem: path
        for folder in reversed(where)
        for path in sorted((folder / "h5").glob("*.h5"))
        if path.name[:1] != "."
    }
    if not files:
        gone = missing(
            "maps of what a model looked at: `slidenet explain --bundle MODEL` makes them."
        )
        return Section("maps", title, [gone], "no maps")
    names = sorted(files)
    pictures = take_pictures(names, lambda name: _picture(files[name]), budget, most=most, first=0)
    problems: list[str] = []
    cards = [_card(name, files[name], picture, problems) for name, picture in pictures.items()]
    parts: list[Html] = [
        paragraph(
            f"{count_of('slide', len(files))} explained. A map shows what moved the model, not "
            "what is there. Maps marked as no evidence (attention, controls) show where it looked: "
            "what it saw there may speak for or against what it says."
        )
    ]
    sample = words_of_sample(
        len(pictures), len(files), "slides", "spread evenly over all",
        "More would make this file larger than --max-megabytes."
        if budget.ran_out else "--max-maps shows more.",
    )  # fmt: skip
    if sample:
        parts.append(note("plain", sample))
    absent = [name for name, picture in pictures.items() if picture is None]
    if absent:
        parts.append(
            note("look", f"{count_of('slide', len(absent))} without a picture of the map "
                 f"({name_some(absent)}): `slidenet explain --formats figures` makes them.")
        )  # fmt: skip
    parts.append(gallery(cards))
    if problems:
        parts += [note("bad", "Some maps could not be read."), details("Which", listing(problems))]
    return Section("maps", title, parts, "some maps have no picture" if absent else "")


def _picture(path: Path) -> Picture | None:
    """The figure of a slide, of the first target and method where there are several."""
    figures = path.parent.parent / "figures"
    of_slide = figures / f"{path.stem}.png"
    if of_slide.is_file():
        return picture_of_file(of_slide, longest=PICTURE_PX)
    inside = sorted((figures / path.stem).glob("*.png")) if figures.is_dir() else []
    return picture_of_file(inside[0], longest=PICTURE_PX) if inside else None


def _card(name: str, path: Path, picture: Picture | None, problems: list[str]) -> Html:
    lines: list[Child] = [element("strong", name)]
    try:
        maps = read_tile_maps(path)
    except SlidenetError as error:
        problems.append(str(error))
        lines.append("its values cannot be read")
    else:
        lines += _words(maps)
    return figure(picture, f"Map of {name}", lines_of(lines))


def _words(maps: TileMaps) -> list[Child]:
    """What the model says of the slide, and each kind of map with its range."""
    lines: list[Child] = []
    for bag, said in list(maps.prediction.items())[:3]:
        if isinstance(said, dict) and "words" in said:
            lines.append(f"{bag}: {said['words']}")
    for one in maps.maps[:6]:
        low, high = one.value_range()
        lines.append(f"{one.target}, by {one.title}: {low:.3g} to {high:.3g} ({one.unit})")
    more = len(maps.maps) - 6
    return [*lines, f"and {count_of('map', more)} more in the file" if more > 0 else None]
