"""What a map is called where every map is a column, and what is said of it beside the numbers."""

import math
from collections.abc import Iterable, Sequence

from slidenet.core.errors import ConfigError, CoordinateError
from slidenet.core.escapes import in_terminal
from slidenet.core.provenance import JsonValue
from slidenet.stores.tile_maps import TileMap, TileMaps

NOT_EVIDENCE = "not evidence"
_UNITS = {"logit": "logits", "share": "shares of attention", "distance": "distances"}


def map_names(maps: Sequence[TileMap]) -> list[str]:
    """One name per map, none of them twice: "evidence tumor", "attention tumor (not evidence)".

    They are the columns of tables and of AnnData, the measurements of QuPath and the channels of a
    picture, so that the label of what is no evidence goes wherever the numbers go.
    """
    return without_repeats(in_terminal(map_words(each)) for each in maps)


def map_words(tile_map: TileMap) -> str:
    """Method, target, and whether it is no evidence; names as they were given."""
    words = f"{tile_map.method} {tile_map.target}"
    return words if tile_map.is_evidence else f"{words} ({NOT_EVIDENCE})"


def without_repeats(names: Iterable[str], mark: str = " ({})") -> list[str]:
    """The names, in their order, with a number, as `mark`, behind each that was there before."""
    found: dict[str, None] = {}
    for name in names:
        unique, number = name, 2
        while unique in found:
            unique, number = name + mark.format(number), number + 1
        found[unique] = None
    return list(found)


def map_facts(tile_map: TileMap) -> dict[str, JsonValue]:
    """What the numbers of a map mean: unit, sign, raw range, details of the method."""
    low, high = tile_map.value_range()
    known = not math.isnan(low)
    return {
        "method": tile_map.method,
        "target": tile_map.target,
        "unit": tile_map.unit,
        "signed": tile_map.signed,
        "is_evidence": tile_map.is_evidence,
        "lowest": low if known else None,
        "highest": high if known else None,
        "details": dict(tile_map.details),
    }


def unit_words(tile_map: TileMap) -> str:
    """What the numbers of a map are, for descriptions."""
    if tile_map.details.get("relative") and tile_map.unit == "logit":
        return "in the unit of the model's output, counted from the median of the bag"
    return _UNITS[tile_map.unit]


def chosen_map(maps: TileMaps, place: int | None) -> int:
    """The place of the one map to show; None: the first of what the model calls the slide.

    Raises:
        ConfigError: There is no such map.
    """
    chosen = next(iter(maps.called_first), 0) if place is None else place
    if not 0 <= chosen < len(maps.maps):
        raise ConfigError(
            f"map {chosen} of {len(maps.maps)}",
            expected="the place of a map, from 0",
            slide=maps.slide_id,
        )
    return chosen


def require_places(maps: TileMaps, what: str) -> None:
    """Refuses tiles of which nobody knows where on their slide they lie.

    Raises:
        CoordinateError: Their coordinates only number them.
    """
    if not maps.geometry.placed:
        raise CoordinateError(
            "it is not known where the tiles of this slide lie",
            expected=f"tiles with places, for {what}",
            remedy="leave that format out (--formats), or give the places of the tile images",
            slide=maps.slide_id,
        )
