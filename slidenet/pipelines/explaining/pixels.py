"""What a slide shows beside its maps: the overview, and tiles. A slide may be gone by then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slidenet.core import status
from slidenet.core.arrays import UInt8Array
from slidenet.core.errors import (
    CoordinateError,
    ObjectAwayError,
    ObjectStoreError,
    SlideError,
)
from slidenet.core.records import SlideRow, TileGeometry
from slidenet.pipelines.objects.staging import is_at_hand, slide_file
from slidenet.slides import Slide, damage_note, mark_places, open_slide, read_tiles
from slidenet.slides.resolution import OVERRIDE
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.stores import TileMaps
from slidenet.stores.objects import name_of_slide
from slidenet.visualisation.overlay.damage import fill_unreadable

OVERVIEW_PX = 2000
"""Longer side; of it only the part that has tiles is shown."""
KNOWN_FINGERPRINT = 64
"""Letters of the fingerprint of a slide file; what stands for it otherwise is of another form."""


@dataclass(frozen=True, eq=False)
class SlidePixels:
    """What could be read of a slide.

    Attributes:
        overview: uint8 RGB (h, w, 3), as much of the slide as the geometry of its tiles says there
            is; None where it could not be read.
        tiles: uint8 RGB pictures of tiles by index; those that cannot be read are left out.
        missing: What is missing and why, as a sentence for pictures; empty where nothing is.
        properties: What the slide says about itself; None where it could not be opened, or is
            another one.
    """

    overview: UInt8Array | None = None
    tiles: Mapping[int, UInt8Array] = field(default_factory=dict)
    missing: str = ""
    properties: Mapping[str, str] | None = None


def read_pixels(
    row: SlideRow,
    maps: TileMaps,
    how_to_open: Mapping[str, Any],
    *,
    tiles: Sequence[int] = (),
    icc: bool = False,
) -> SlidePixels:
    """The overview of a slide and some of its tiles, or why there are none.

    Nothing that is wrong with the slide is an error here: maps are made of features, and are as
    good without it.

    Args:
        row: Where the slide lies now.
        maps: Its maps.
        how_to_open: Further keywords of `open_slide`.
        tiles: Indices of the tiles to read.
        icc: Whether colours are corrected by the scanner's profile, as when tiles were made.
    """
    if not row.slide_path:
        return SlidePixels(missing="No slide was named, so the map stands alone.")
    name = name_of_slide(row.slide_path)
    if not is_at_hand(row.slide_path):
        return SlidePixels(missing=f"There is no slide {name!r} any more.")
    planned, frame = maps.geometry.slide_mpp, maps.geometry.tile_frame
    try:
        with (
            slide_file(replace(row, sha256=None)) as file,
            open_slide(
                file.path,
                mpp=row.declared_mpp(planned.value if planned.source == OVERRIDE else None),
                icc=icc,
                tiles=None if frame is None else TileDeclaration(maps.geometry.target_mpp, frame),
                **how_to_open,
            ) as slide,
        ):
            why_not = _another_slide(slide, maps)
            if why_not:
                return SlidePixels(missing=f"{name!r} is not shown: {why_not}.")
            overview = _overview(slide, maps.geometry)
            damage = damage_note(slide.unreadable_places)
            return SlidePixels(
                overview,
                _tiles(slide, maps, tiles),
                f"{name!r}: {damage}, hatched here." if damage else "",
                dict(slide.properties),
            )
    except (SlideError, CoordinateError, ObjectStoreError, ObjectAwayError) as error:
        return SlidePixels(missing=f"The slide {name!r} cannot be shown: {error.found}.")


def _another_slide(slide: Slide, maps: TileMaps) -> str:
    """Why this cannot be the slide of the maps; empty where it may be."""
    if len(maps.fingerprint) == KNOWN_FINGERPRINT:
        if slide.fingerprint != maps.fingerprint:
            return "it is another file than the one its features were made from"
        return ""
    width, height = slide.level_dimensions[0]
    if width < maps.geometry.level0_width or height < maps.geometry.level0_height:
        return f"its {width} x {height} px have no room for the tiles"
    return ""


def _overview(slide: Slide, geometry: TileGeometry) -> UInt8Array:
    """The slide as far as the geometry reaches: features of other tools do not know its size."""
    width, height = slide.level_dimensions[0]
    share = max(width / geometry.level0_width, height / geometry.level0_height)
    picture = slide.thumbnail(round(OVERVIEW_PX * max(1.0, min(share, 4.0))))
    places, scale = slide.unreadable_places, picture.shape[1] / width
    if places:
        picture = fill_unreadable(
            picture, mark_places(places, (picture.shape[1], picture.shape[0]))
        )
    rows, columns = round(geometry.level0_height * scale), round(geometry.level0_width * scale)
    return np.ascontiguousarray(picture[:rows, :columns])


def _tiles(slide: Slide, maps: TileMaps, tiles: Sequence[int]) -> dict[int, UInt8Array]:
    if not tiles:
        return {}
    width, height = slide.level_dimensions[0]
    geometry = replace(maps.geometry, level0_width=width, level0_height=height)
    coords = maps.coords[np.asarray(tiles, np.int64)]
    found: dict[int, UInt8Array] = {}
    for batch in read_tiles(slide, geometry, coords, batch_size=len(tiles)):
        for number, code in enumerate(batch.status.tolist()):
            if code == status.OK:
                found[tiles[batch.start + number]] = batch.pixels[number].copy()
    return found
