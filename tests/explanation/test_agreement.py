"""Agreement of maps, against scipy and by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from slidenet.core.errors import ConfigError
from slidenet.explanation.agreement import agreement


def test_ranks_and_top_tiles_are_compared():
    draw = np.random.default_rng(0)
    maps = draw.normal(size=(3, 60)).round(1)
    maps[2] = -maps[0]
    maps[1, 5] = np.nan
    found = agreement(maps, top_share=0.1)
    kept = np.delete(maps, 5, axis=1)
    np.testing.assert_allclose(found.spearman, spearmanr(kept, axis=1).statistic, atol=1e-12)
    assert (found.num_tiles, found.num_top) == (59, 6)
    tops = [set(np.argsort(-values, kind="stable")[:6]) for values in kept]
    assert found.overlap[0, 1] == len(tops[0] & tops[1]) / 6
    assert found.overlap[0, 2] == 0
    assert (np.diag(found.overlap) == 1).all()


def test_a_flat_map_has_no_ranks():
    found = agreement([np.arange(4.0), np.zeros(4)])
    assert found.spearman[0, 0] == pytest.approx(1)
    assert np.isnan(found.spearman[0, 1])
    assert found.num_top == 1


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ([], "maps of shapes \\(none\\)"),
        ([np.zeros(3), np.zeros(4)], "expected one number for each tile"),
        ([[np.nan, 1.0], [1.0, np.nan]], "no tile in common"),
    ],
)
def test_maps_that_do_not_fit_are_refused(maps, message):
    with pytest.raises(ConfigError, match=message):
        agreement(maps)
