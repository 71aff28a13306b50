import numpy as np
import pytest

from slidenet.core.errors import ConfigError, StoreError
from slidenet.explanation.feature_space.fitting import fit_space
from slidenet.stores.feature_space import read_feature_space, write_feature_space


@pytest.fixture(scope="module")
def tiles(groups):
    group = np.repeat([0, 1, 2], [20, 50, 30])
    return group, groups[group] + np.random.default_rng(1).normal(0, 0.05, (100, 4))


@pytest.fixture(scope="module")
def space(tiles):
    return fit_space(tiles[1], {"features": "x"}, num_clusters=3, num_components=3)


def test_clusters_are_the_groups_the_largest_first(tiles, space, groups):
    group, features = tiles
    found = space.clusters(space.scores(features))
    assert found.tolist() == np.array([2, 0, 1])[group].tolist()
    middle = space.mean + space.centres @ space.components
    np.testing.assert_allclose(middle, groups[[1, 2, 0]], atol=0.05)


def test_components_are_those_of_the_svd(tiles, space):
    features = tiles[1]
    _, singular, axes = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(space.components), np.abs(axes[:3]), atol=1e-9)
    np.testing.assert_allclose(space.explained, (singular**2 / (singular**2).sum())[:3])
    scores = space.scores(features)
    np.testing.assert_allclose(space.low, np.percentile(scores, 2, axis=0))
    assert space.identity["num_clusters"] == 3
    assert space.identity["features"] == "x"


def test_a_written_space_is_the_same_to_the_byte(space, tmp_path):
    one = write_feature_space(tmp_path / "a.safetensors", space).read_bytes()
    again = read_feature_space(tmp_path / "a.safetensors")
    assert again.identity_hash == space.identity_hash
    for name in ("mean", "components", "explained", "low", "high", "centres"):
        np.testing.assert_array_equal(getattr(again, name), getattr(space, name))
    assert write_feature_space(tmp_path / "b.safetensors", again).read_bytes() == one
    (tmp_path / "b.safetensors").write_bytes(one[:-8] + b"\0" * 8)
    with pytest.raises(StoreError, match="is not what was written"):
        read_feature_space(tmp_path / "b.safetensors")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 100])
def test_what_is_no_feature_space_is_refused_by_name(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=r"odd\.safetensors .*\. To fix: run `slidenet feature"):
        read_feature_space(path)


def test_more_clusters_than_different_tiles_are_refused():
    with pytest.raises(ConfigError, match="num_clusters is 3; expected at most 2"):
        fit_space(np.repeat([[0.0, 1], [2, 3]], 50, axis=0), {}, num_clusters=3)


@pytest.mark.parametrize("dim", [1, 2])
def test_features_of_few_dimensions(dim):
    features = np.random.default_rng(0).normal(size=(40, dim))
    space = fit_space(features, {}, num_clusters=2)
    assert space.components.shape == (dim, dim)
    assert space.low.shape == (dim,)
