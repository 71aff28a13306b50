"""What is asked of a slide: tiles by row of the features file or by place, or the whole slide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slidenet.core.arrays import IntArray
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.explanation.feature_space.neighbours import Nearest
from slidenet.pipelines.explaining.slide_maps import geometry_of
from slidenet.pipelines.feature_space.cohort import FeatureCohort, labels_beside
from slidenet.stores import FeatureFile


@dataclass(frozen=True, eq=False)
class Query:
    """What was asked, and what is near.

    Attributes:
        name: Of its files.
        slide_id: The slide asked about.
        tile: Row of the tile asked about; None: the slide as a whole.
        nearest: What is near; slides count in `slide_ids`.
        slide_ids: Of the cohort.
        coords: (k, 2), places of the tiles found; None of slides.
    """

    name: str
    slide_id: str
    tile: int | None
    nearest: Nearest
    slide_ids: Sequence[str]
    coords: IntArray | None

    def rows(self, cohort: FeatureCohort) -> list[dict[str, Any]]:
        """One mapping per neighbour, the nearest first; labels of its slide at the end."""
        of_slide = {row.slide_id: row for row in cohort.rows}
        found = []
        for i, (place, tile, cosine) in enumerate(zip(*self.nearest, strict=True)):
            row = of_slide[self.slide_ids[place]]
            about: dict[str, Any] = {"query_slide_id": self.slide_id}
            if self.tile is not None:
                about["query_tile"] = self.tile
            about |= {"rank": i + 1, "slide_id": row.slide_id, "patient_id": row.patient_id or ""}
            if self.coords is not None:
                x, y = self.coords[i].tolist()
                about |= {"tile": int(tile), "x": x, "y": y}
            about["cosine"] = round(float(cosine), 6)
            found.append(about | labels_beside(row, about))
        return found


def tiles_asked(
    file: FeatureFile, tile: Sequence[int] | None, place: Sequence[int] | None
) -> IntArray:
    """The rows of the tiles asked about, in order, each once.

    Args:
        file: Features of the slide.
        tile: Rows of tiles, from 0.
        place: Level-0 pixels: x, y, and further pairs.

    Returns:
        int64 (Q,); empty where nothing is given, which asks about the slide as a whole.

    Raises:
        ConfigError: No such tile, an odd number of coordinates, or a tile that could not be read.
        CoordinateError: No tile is there, or it is not known where tiles lie.
    """
    if tile and place:
        raise ConfigError("--tile and --place are given", expected="one of them")
    rows = [] if not tile else _by_row(file, tile)
    if place:
        rows = _by_place(file, place)
    asked = np.array(list(dict.fromkeys(rows)), np.int64)
    unreadable = asked[~file.mask[asked]] if len(asked) else asked
    if len(unreadable):
        raise ConfigError(
            f"tile {unreadable[0]} of {file.slide_id!r} could not be read, so it has no features",
            expected="a readable tile",
        )
    return asked


def _by_row(file: FeatureFile, tiles: Sequence[int]) -> list[int]:
    for tile in tiles:
        check_whole(least=0, tile=tile)
        if tile >= file.num_tiles:
            raise ConfigError(
                f"tile is {tile}",
                expected=f"a row of the features of {file.slide_id!r}, 0 to {file.num_tiles - 1}",
            )
    return [*tiles]


def _by_place(file: FeatureFile, place: Sequence[int]) -> list[int]:
    """Of each place the tile around it; where tiles overlap, the one whose centre is nearest."""
    if len(place) % 2:
        raise ConfigError(
            f"place is {','.join(map(str, place))}",
            expected="x and y in level-0 pixels, or several such pairs",
        )
    if not file.placed:
        raise CoordinateError(
            f"the tile images of {file.slide_id!r} have no places", remedy="give --tile instead"
        )
    coords, side = file.coords, geometry_of(file).tile_size_level0
    rows = []
    for x, y in zip(place[::2], place[1::2], strict=True):
        distance = np.abs(coords + side / 2 - (x, y)).max(axis=1)
        nearest = int(distance.argmin())
        if distance[nearest] > side / 2:
            left, top = coords[nearest].tolist()
            raise CoordinateError(
                f"no tile of {file.slide_id!r} is at ({x}, {y})",
                expected=f"a place inside a tile; the nearest tile is {nearest}, at ({left}, "
                f"{top}) and {side} px wide",
                remedy="places are level-0 pixels from the corner of the whole scan",
            )
        rows.append(nearest)
    return rows
