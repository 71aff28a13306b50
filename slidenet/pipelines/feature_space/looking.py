"""Pictures of slides whose features are known."""

from collections.abc import Mapping, Sequence

from slidenet.core.records import SlideRow
from slidenet.pipelines.explaining.pixels import SlidePixels, read_pixels
from slidenet.pipelines.explaining.slide_maps import geometry_of
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import FeatureFile
from slidenet.stores.objects import shown_uri
from slidenet.stores.tile_maps import TileMaps

NOT_GIVEN = "No slides were given (--slides with a column slide_path)."


def look_at(
    row: SlideRow, file: FeatureFile, tiles: Sequence[int], opening: OpeningSettings
) -> SlidePixels:
    """The overview of a slide and some of its tiles, as far as they can be had.

    Args:
        row: The slide; without a path nothing is looked at.
        file: Its features.
        tiles: Rows of the features file.
        opening: How slides are opened.
    """
    if not row.slide_path:
        return SlidePixels(missing=NOT_GIVEN)
    made_of = file.identity.get("tiles")
    icc = isinstance(made_of, Mapping) and made_of.get("icc") is True
    return read_pixels(row, places_of(row, file), opening.how_to_open(), tiles=tiles, icc=icc)


def places_of(row: SlideRow, file: FeatureFile) -> TileMaps:
    """Where the tiles of a features file lie, as drawings take it: maps without a map."""
    return TileMaps(
        row.slide_id,
        shown_uri(row.slide_path),
        file.fingerprint or "",
        geometry_of(file),
        file.coords,
        (),
        {},
    )
