"""The picture of what is near: tiles beside the tile asked about, slides beside the slide."""

from pathlib import Path
from typing import Any

from slidenet.core.arrays import UInt8Array
from slidenet.core.text import count_of
from slidenet.pipelines.explaining.pixels import SlidePixels
from slidenet.pipelines.feature_space.cohort import FeatureCohort
from slidenet.pipelines.feature_space.looking import NOT_GIVEN, look_at
from slidenet.pipelines.feature_space.queries import Query
from slidenet.pipelines.settings import OpeningSettings
from slidenet.visualisation import save_figure
from slidenet.visualisation.feature_space.tile_rows import TilePicture, TileRow, rows_figure


def draw_neighbours(
    path: Path, query: Query, cohort: FeatureCohort, opening: OpeningSettings
) -> list[str]:
    """Writes the picture of one query, where slides are given.

    Args:
        path: The picture.
        query: What was asked and found.
        cohort: The slides and their features.
        opening: How slides are opened.

    Returns:
        What is missing, a line each.
    """
    if not any(row.slide_path for row in cohort.rows):
        return [f"no pictures: {NOT_GIVEN[0].lower()}{NOT_GIVEN[1:]}"]
    looks = _looks(query, cohort, opening)
    rows = query.rows(cohort)
    own = looks[query.slide_id]
    first = [query.slide_id, "asked about"]
    if query.tile is not None:
        x, y = cohort.files[query.slide_id].coords[query.tile].tolist()
        first.append(f"{x:,}, {y:,}")
    pictures = [TilePicture(_of(own, query.tile), first, framed=True)]
    for row in rows:
        words = [row["slide_id"], f"cosine {row['cosine']:.3f}"]
        if query.tile is not None:
            words.append(f"{row['x']:,}, {row['y']:,}")
        pictures.append(TilePicture(_of(looks[row["slide_id"]], row.get("tile")), words))
    what = f"tile {query.tile} of " if query.tile is not None else ""
    missing = sorted({look.missing for look in looks.values() if look.missing})
    note = (
        f"The nearest {'tiles' if what else 'slides'} in a cohort of "
        f"{count_of('slide', len(cohort.files))} by cosine similarity of features, the nearest "
        "first."
    )
    if what:
        note += " Numbers below a tile: its upper left corner in level-0 pixels."
    note += "".join(f" {words}" for words in missing)
    figure = rows_figure(
        [TileRow("", pictures)], title=f"Nearest to {what}{query.slide_id}", note=note
    )
    save_figure(figure, path, dpi=150)
    return missing


def _looks(query: Query, cohort: FeatureCohort, opening: OpeningSettings) -> dict[str, SlidePixels]:
    """Each slide of a query looked at once, with the tiles that are wanted of it."""
    wanted: dict[str, list[int]] = {query.slide_id: []}
    if query.tile is not None:
        wanted[query.slide_id].append(query.tile)
    for place, tile in zip(query.nearest.slide.tolist(), query.nearest.tile.tolist(), strict=True):
        tiles = wanted.setdefault(query.slide_ids[place], [])
        if query.tile is not None:
            tiles.append(tile)
    rows = {row.slide_id: row for row in cohort.rows}
    return {
        slide_id: look_at(rows[slide_id], cohort.files[slide_id], tiles, opening)
        for slide_id, tiles in wanted.items()
    }


def _of(look: SlidePixels, tile: Any) -> UInt8Array | None:
    return look.overview if tile is None else look.tiles.get(int(tile))
