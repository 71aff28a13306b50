"""Maps of the members of an ensemble as one: their mean, and where they disagree."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.stats import rankdata

from slidenet.core.errors import ConfigError
from slidenet.explanation.methods import Details, TileValues


def over_members(maps: Sequence[TileValues]) -> tuple[TileValues, TileValues, Details]:
    """The mean of the maps of the members of an ensemble, and how much they differ.

    Args:
        maps: float32 (N,) of each member, all by one method and about one target.

    Returns:
        The mean (N,); the standard deviation over the members (N,), zeros for one member; and
        details: `members`, `spread` (the median of the deviations) and `rank_agreement` (mean
        Spearman correlation of pairs; absent for one member, or for maps that do not vary).

    Raises:
        ConfigError: No map, or maps of different length.
    """
    lengths = {len(values) for values in maps}
    if len(lengths) != 1:
        found = ", ".join(map(str, sorted(lengths))) or "no"
        raise ConfigError(
            f"maps of {len(maps)} members with {found} tiles",
            expected="one map of each member, of the same tiles",
        )
    stacked = np.stack(maps).astype(np.float64)
    spread = stacked.std(axis=0)
    details: Details = {"members": len(maps), "spread": float(np.median(spread))}
    ranks = np.stack([rankdata(values) for values in stacked])
    pairs = [
        float(np.corrcoef(ranks[i], ranks[j])[0, 1])
        for i, j in combinations(range(len(maps)), 2)
        if np.ptp(ranks[i]) and np.ptp(ranks[j])
    ]
    if pairs:
        details["rank_agreement"] = float(np.mean(pairs))
    return stacked.mean(axis=0).astype(np.float32), spread.astype(np.float32), details
