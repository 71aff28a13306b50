import sys
import types

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, MissingExtraError
from slidenet.explanation.feature_space.projection import check_projection, project, used

GROUP = np.repeat([0, 1, 2], 15)
POINTS = np.diag([9.0, 6.0, 3.0])[GROUP] + np.random.default_rng(0).normal(0, 0.3, (45, 3))


def test_components_are_taken_as_they_are():
    np.testing.assert_array_equal(project(POINTS, "pca"), POINTS[:, :2])
    assert project(POINTS[:, :1], "pca")[:, 1].tolist() == [0] * 45
    assert used("umap", 9) == "pca"
    assert used("umap", 10) == "umap"
    with pytest.raises(ConfigError, match="projection is 'none'"):
        project(POINTS, "none")
    with pytest.raises(ConfigError, match="projection is 'umapp'; expected one of umap, tsne"):
        check_projection("umapp")


def test_umap_that_is_not_installed_is_told_with_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"slidenet\[umap\]', or take --projection tsne or"):
        check_projection("umap")


def test_umap_gets_what_it_needs_for_the_same_layout_again(monkeypatch):
    asked = {}

    class Umap:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, points):
            return points[:, 1:].astype(np.float32)

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Umap))
    np.testing.assert_allclose(project(POINTS[:12], "umap", seed=5), POINTS[:12, 1:], rtol=1e-6)
    start = asked.pop("init")
    assert asked == {"n_neighbors": 11, "random_state": 5}
    assert abs(np.corrcoef(start[:, 0], POINTS[:12, 0])[0, 1]) == pytest.approx(1)


# UMAP itself is not run: it compiles for 15 s, and a process with threads of numba cannot be forked
# by the tests that follow it there.
@pytest.mark.slow
def test_groups_stay_together_and_the_layout_is_the_same_again():
    found = project(POINTS, "tsne")
    assert found.shape == (45, 2)
    np.testing.assert_array_equal(found, project(POINTS, "tsne"))
    distance = np.linalg.norm(found[:, None] - found, axis=2) + np.diag([np.inf] * 45)
    assert (GROUP[distance.argmin(axis=1)] == GROUP).mean() > 0.95
