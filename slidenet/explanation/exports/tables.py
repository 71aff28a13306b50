"""A row per tile as CSV, with the columns that WSInfer's tables have.

WSInfer (Kaczmarzyk et al. 2024, npj Precision Oncology) writes `minx`, `miny`, `width`, `height` in
level-0 pixels and `prob_CLASS` per class; what reads its tables reads these. A probability stands
here only where one was computed: of a bag that holds this tile alone (method "single_tile").
Everything else keeps its own name and its raw numbers, since no map of evidence is a probability.
"""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import Float64Array
from slidenet.core.escapes import in_terminal
from slidenet.explanation.exports.columns import map_names, without_repeats
from slidenet.stores.csv_writing import write_csv
from slidenet.stores.tile_maps import TileMap, TileMaps

SINGLE_TILE = "single_tile"
_CENTRED = 1e-4
"""By how much the logits of all classes may miss a sum of zero, as a share of the largest."""


def write_tile_table(
    path: str | os.PathLike[str], maps: TileMaps, *, exclusive: bool | None = None
) -> Path:
    """Writes one row per tile; whole or not at all.

    Columns: `minx`, `miny` (top-left corner) and `width`, `height`, level-0 pixels, empty where
    places are unknown; `tile`, its number from 0; `prob_TARGET`, see `tile_probabilities`; then one
    column per map with its raw numbers, empty where a tile is in no bag.

    Args:
        path: The CSV file.
        maps: The maps of one slide.
        exclusive: Whether exactly one of the targets is true of a slide (classes of a multi-class
            task); False: each by itself (binary, multi-label). None: targets are no classes, so
            that there are no probabilities.

    Returns:
        The path written.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = Path(path)
    chances = {} if exclusive is None else tile_probabilities(maps, exclusive=exclusive)
    side = maps.geometry.tile_size_level0
    header = ["minx", "miny", "width", "height", "tile"]
    header += without_repeats(f"prob_{in_terminal(target)}" for target in chances)
    header += map_names(maps.maps)
    places: list[list[int | None]] = [[None] * 4] * len(maps.coords)
    if maps.geometry.placed:
        places = [[x, y, side, side] for x, y in maps.coords.tolist()]
    columns = [_texts(values.astype(np.float32)) for values in chances.values()]
    columns += [_texts(each.values) for each in maps.maps]
    write_csv(
        path,
        header,
        ([*place, row, *(c[row] for c in columns)] for row, place in enumerate(places)),
    )
    return path


def tile_probabilities(maps: TileMaps, *, exclusive: bool) -> dict[str, Float64Array]:
    """The chance of each target in a bag that holds this tile alone, by its logit as it is.

    The temperature of a calibrated model was fitted to whole bags and is not applied.
    Targets that exclude each other are explained as the logit of one class minus the mean of the
    others, K / (K - 1) of its centred logit; from all K of them follows the softmax.

    Args:
        maps: The maps of a slide; those of the method "single_tile" are used.
        exclusive: Whether exactly one target is true; then all classes must be there.

    Returns:
        float64 (N,) per target, NaN where a tile is in no bag; empty where it does not follow from
        the maps.
    """
    found = [each for each in maps.maps if each.method == SINGLE_TILE and each.unit == "logit"]
    if not found:
        return {}
    logits = np.stack([each.values for each in found]).astype(np.float64)
    if not exclusive:
        return dict(zip(_targets(found), 1 / (1 + np.exp(-logits)), strict=True))
    largest = np.nanmax(np.abs(logits), initial=0.0)
    if len(found) < 2 or np.nanmax(np.abs(logits.sum(axis=0)), initial=0.0) > _CENTRED * largest:
        return {}  # some class has no map
    powers = np.exp((logits - logits.max(axis=0)) * (1 - 1 / len(found)))
    return dict(zip(_targets(found), powers / powers.sum(axis=0), strict=True))


def _targets(maps: list[TileMap]) -> list[str]:
    return [each.target for each in maps]


def _texts(values: npt.NDArray[np.float32]) -> list[str]:
    """The shortest decimals that give the same float32 back; nothing for NaN."""
    texts = values.astype(str).tolist()
    return ["" if text == "nan" else text for text in texts]
