"""Whether maps of the same tiles say the same: rank correlation and shared top tiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from slidenet.core.arrays import Float64Array
from slidenet.core.checks import check_share
from slidenet.core.errors import ConfigError

TOP_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Agreement:
    """Every map with every other one.

    Attributes:
        spearman: (M, M), rank correlation over the tiles that all maps have; NaN where a map does
            not vary.
        overlap: (M, M), share of the top tiles of one that are top tiles of the other.
        num_top: Tiles that count as top.
        num_tiles: Tiles that all maps have.
    """

    spearman: Float64Array
    overlap: Float64Array
    num_top: int
    num_tiles: int


def agreement(maps: Sequence[npt.ArrayLike], *, top_share: float = TOP_SHARE) -> Agreement:
    """How alike maps order the tiles of a bag.

    Numbers are compared as they are: top tiles of a signed map speak for the target.

    Args:
        maps: M maps (N,) of the same tiles; NaN where a tile is in no bag.
        top_share: Of the tiles that count as top, at least one tile.

    Raises:
        ConfigError: For no map, maps of different length or without a tile in common, or a share
            out of range.
    """
    check_share(above_zero=True, top_share=top_share)
    arrays = [np.asarray(values, dtype=np.float64) for values in maps]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise ConfigError(
            f"maps of shapes {', '.join(str(array.shape) for array in arrays) or '(none)'}",
            expected="one number for each tile, of the same tiles",
        )
    stacked = np.stack(arrays)
    stacked = stacked[:, np.isfinite(stacked).all(axis=0)]
    num_maps, num_tiles = stacked.shape
    if not num_tiles:
        raise ConfigError(
            f"{num_maps} maps that have no tile in common", expected="maps of the same bag"
        )
    ranks = np.stack([rankdata(values) for values in stacked])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    varied = np.where(lengths > 0, lengths, np.nan)
    num_top = max(1, round(top_share * num_tiles))
    top = np.zeros((num_maps, num_tiles))
    for row, values in zip(top, stacked, strict=True):
        row[np.argsort(-values, kind="stable")[:num_top]] = 1
    return Agreement(
        spearman=(centred @ centred.T) / np.outer(varied, varied),
        overlap=top @ top.T / num_top,
        num_top=num_top,
        num_tiles=num_tiles,
    )
