"""What is made of the maps of a slide beside their h5: tables, pictures, files of other programs.

Which of them were made of which maps, and how, stands in a note per slide. So a resume makes what
is missing, and all of it again where the maps, or the settings of pictures, are others.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from slidenet.core.errors import StoreError
from slidenet.core.extras import require_extra
from slidenet.core.records import SlideRow
from slidenet.explanation.exports import (
    write_anndata,
    write_ome_tiff,
    write_tile_geojson,
    write_tile_table,
    write_value_tiff,
)
from slidenet.pipelines.cohort.layout import ExplanationLayout
from slidenet.pipelines.explaining.pictures import draw_figures, draw_galleries, gallery_tiles
from slidenet.pipelines.explaining.pixels import SlidePixels, read_pixels
from slidenet.pipelines.explaining.regions import REGION_COLUMNS, region_rows
from slidenet.pipelines.objects.staging import size_of_slide
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import FeatureFile, TileMaps
from slidenet.stores.atomic import write_json
from slidenet.stores.csv_writing import write_csv
from slidenet.stores.json_file import read_json
from slidenet.tasks import BinaryTask, MulticlassTask, MultilabelTask, Task
from slidenet.tissue.regions.frames import qupath_bounds, qupath_origin

Format: TypeAlias = Literal["h5", "csv", "geojson", "figures", "galleries", "anndata", "ome_tiff"]
FORMATS: tuple[Format, ...] = get_args(Format)
NEED_PLACES = {"geojson", "figures", "ome_tiff"}
NEED_SLIDE = {"geojson", "figures", "galleries", "ome_tiff", "anndata"}
"""Formats that show something of the slide, or lie in a frame that only the slide knows."""


@dataclass(frozen=True)
class OutputSettings:
    """What is made of maps.

    Attributes:
        formats: Of `FORMATS`; the h5 is always made.
        num_top: Tiles at the top, and at the bottom, of a gallery.
        opening: Where slides are opened and what they may cost.
    """

    formats: tuple[Format, ...]
    num_top: int
    opening: OpeningSettings


@dataclass(frozen=True)
class SlideOutputs:
    """All that is made of the maps of one slide.

    Attributes:
        layout: Where it lies.
        maps: The maps.
        row: The slide; it may be gone.
        file: Its features.
        task: Of the model.
        settings: What is made.
        compare: Whether methods are shown side by side.
    """

    layout: ExplanationLayout
    maps: TileMaps
    row: SlideRow
    file: FeatureFile
    task: Task
    settings: OutputSettings
    compare: bool

    def make(self) -> tuple[int, list[str]]:
        """Makes what is missing.

        Returns:
            How many formats were made, and what to say.
        """
        slide_id, notes = self.maps.slide_id, list[str]()
        note, digest = self.layout.made(slide_id), _digest(self.layout.maps(slide_id))
        made = _read_note(note, digest)
        count = 0
        placeless = [n for n in self.settings.formats if n in NEED_PLACES]
        if placeless and not self.maps.geometry.placed:
            notes.append(f"no {', '.join(placeless)}: nobody knows where its tiles lie")
        for name in self.settings.formats:
            if name not in MAKERS:  # the h5, which is always there
                continue
            if name in NEED_PLACES and not self.maps.geometry.placed:
                continue
            how = self._how(name)
            before = made.get(name, {})
            there = all((self.layout.root / one).is_file() for one in before.get("files", ()))
            # What was drawn while the slide was there is better than what can be drawn without.
            known = before.get("how")
            if there and (known == how or (known and {**known, "slide": None} == how)):
                notes += before.get("notes", ())
                continue
            files, lines = MAKERS[name](self)
            said = [line.rstrip(".") for line in lines]
            made[name] = {
                "how": how,
                "files": [path.relative_to(self.layout.root).as_posix() for path in files],
                "notes": said,
            }
            write_json(note, {"maps": digest, "made": made})
            notes += said
            count += 1
        return count, notes

    def _how(self, name: str) -> dict[str, Any]:
        """The settings on which the files of a format depend, beside the maps."""
        how: dict[str, Any] = {"num_top": self.settings.num_top} if name == "galleries" else {}
        if name in NEED_SLIDE:
            how["slide"] = size_of_slide(self.row.slide_path)
        return how

    @cached_property
    def pixels(self) -> SlidePixels:
        """What could be read of the slide, once for all formats."""
        which, num_top = self.first_of_targets(), self.settings.num_top
        shown = gallery_tiles(self.maps, which, num_top)
        tiles = self.file.identity.get("tiles")
        return read_pixels(
            self.row,
            self.maps,
            self.settings.opening.how_to_open(),
            tiles=shown if "galleries" in self.settings.formats else (),
            icc=isinstance(tiles, Mapping) and bool(tiles.get("icc")),
        )

    def first_of_targets(self) -> list[int]:
        """The map to believe first of each target, as its place; called targets first."""
        firsts: dict[str, int] = {}
        for place in self.maps.called_first:
            firsts.setdefault(self.maps.maps[place].target, place)
        return list(firsts.values())


def check_extras(formats: Sequence[Format]) -> None:
    """Refuses formats whose packages are not installed, before any work.

    Raises:
        MissingExtraError: Naming what to install.
    """
    if "anndata" in formats:
        require_extra("anndata", extra="anndata", purpose="the format anndata")
    if "ome_tiff" in formats:
        require_extra("tifffile", extra="ome-tiff", purpose="the format ome_tiff")


Maker: TypeAlias = Callable[[SlideOutputs], tuple[Sequence[Path], list[str]]]
"""Makes the files of one format; gives them, and what to say."""


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _read_note(path: Path, digest: str) -> dict[str, Any]:
    """What was made of these very maps; a note that is damaged says nothing."""
    if not path.is_file():
        return {}
    try:
        note = read_json(path, remedy="delete it", needs=("maps", "made"))
    except StoreError:
        return {}
    made = note["made"]
    return dict(made) if note["maps"] == digest and isinstance(made, Mapping) else {}


def _csv(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    classes = isinstance(of.task, MulticlassTask | BinaryTask | MultilabelTask)
    exclusive = isinstance(of.task, MulticlassTask) if classes else None
    path = of.layout.export("csv", of.maps.slide_id, ".csv")
    files = [write_tile_table(path, of.maps, exclusive=exclusive)]
    rows = region_rows(of.maps)
    if rows:
        files.append(of.layout.further("csv", of.maps.slide_id, "regions", ".csv"))
        write_csv(files[-1], REGION_COLUMNS, rows)
    return files, []


def _geojson(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    properties, said = of.pixels.properties, list[str]()
    if properties is None:
        said = ["geojson is in level-0 pixels, which is QuPath's frame unless the slide has bounds"]
    origin = None if properties is None else qupath_origin(properties)
    path = of.layout.export("geojson", of.maps.slide_id, ".geojson")
    return [write_tile_geojson(path, of.maps, origin=origin)], said


def _anndata(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    # Without features: they are a hundred times as large as the maps, and lie in their own file.
    path = of.layout.export("anndata", of.maps.slide_id, ".h5ad")
    return [write_anndata(path, of.maps, overview=of.pixels.overview)], []


def _ome_tiff(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    properties = of.pixels.properties
    area = None if properties is None else qupath_bounds(properties)
    picture = of.layout.export("ome_tiff", of.maps.slide_id, ".ome.tiff")
    values = of.layout.further("ome_tiff", of.maps.slide_id, "values", ".ome.tiff")
    write_ome_tiff(picture, of.maps, area=area, overview=of.pixels.overview)
    return [picture, write_value_tiff(values, of.maps, area=area)], []


def _figures(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    return draw_figures(of.layout, of.maps, of.pixels, compare=of.compare)


def _galleries(of: SlideOutputs) -> tuple[list[Path], list[str]]:
    num_top, which = of.settings.num_top, of.first_of_targets()
    return draw_galleries(of.layout, of.maps, of.pixels, num_top=num_top, which=which)


MAKERS: Mapping[Format, Maker] = {
    "csv": _csv,
    "geojson": _geojson,
    "figures": _figures,
    "galleries": _galleries,
    "anndata": _anndata,
    "ome_tiff": _ome_tiff,
}
