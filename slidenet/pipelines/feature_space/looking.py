"""Pictures of slides whose features are known."""

from collections.abc import Sequence

from slidenet.core.records import SlideRow
from slidenet.pipelines.explaining.pictures import SlideLook, look_at
from slidenet.pipelines.explaining.slide_maps import geometry_of
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import FeatureFile
from slidenet.stores.tile_maps import TileMaps

NOT_GIVEN = "no slides were given (--slides)"


def look_at_features(
    row: SlideRow, file: FeatureFile, tiles: Sequence[int], opening: OpeningSettings
) -> SlideLook:
    """The overview of a slide and some of its tiles, as far as they can be had.

    Args:
        row: The slide; without a path nothing is looked at.
        file: Its features.
        tiles: Rows of the features file.
        opening: How slides are opened.
    """
    if not row.slide_path:
        return SlideLook(None, {}, None, NOT_GIVEN)
    return look_at(row, places_of(row, file), tiles, opening)


def places_of(row: SlideRow, file: FeatureFile) -> TileMaps:
    """Where the tiles of a features file lie, as drawings take it: maps without a map."""
    return TileMaps(
        row.slide_id,
        row.slide_path,
        file.fingerprint or "",
        geometry_of(file),
        file.coords,
        (),
        {"features": file.identity},
    )
