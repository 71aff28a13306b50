import h5py
import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.visualisation import feature_map, principal_colors
from slidenet.visualisation.maps import BRIGHTEST, DARKEST, PAPER_RGB, _principal_axes

GEOMETRY = TileGeometry(SlideMpp(1.0, "override"), 1.0, 1.0, 0, 40, 40, 40, 160, 120)


def features_along(*columns):
    return np.stack([np.asarray(c, np.float64) for c in columns], axis=1)


def test_each_component_is_a_channel_in_order_of_variance():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (500, 3)) * (1, 10, 100)
    colors = principal_colors(scores).astype(float)
    correlation = np.corrcoef(colors.T, scores.T)[:3, 3:]
    np.testing.assert_allclose(np.abs(correlation), np.eye(3)[:, ::-1], atol=0.15)
    assert (np.diag(correlation[:, ::-1]) > 0.95).all(), "the largest loading is positive"


def test_colors_span_the_percentiles():
    values = np.arange(101.0)
    red = principal_colors(features_along(values))[:, 0]
    assert (red[:3] == DARKEST).all()
    assert (red[98:] == BRIGHTEST).all()
    assert red[50] == round((DARKEST + BRIGHTEST) / 2)
    assert (np.diff(red.astype(int)) >= 0).all()


def test_axes_are_those_of_the_svd():
    features = np.random.default_rng(3).normal(size=(40, 7)) * np.arange(1, 8)
    mean, axes = _principal_axes(features, np.ones(40, np.bool_))
    np.testing.assert_allclose(mean, features.mean(axis=0))
    expected = np.linalg.svd(features - mean, full_matrices=False)[2][:3].T
    np.testing.assert_allclose(np.abs(axes), np.abs(expected), atol=1e-9)


def test_the_sign_does_not_depend_on_the_order_of_tiles():
    features = np.random.default_rng(1).normal(size=(60, 5))
    order = np.random.default_rng(2).permutation(60)
    np.testing.assert_array_equal(
        principal_colors(features)[order], principal_colors(features[order])
    )


@pytest.mark.parametrize("dim", [1, 2])
def test_fewer_than_three_dimensions_leave_channels_grey(dim):
    features = np.random.default_rng(0).normal(size=(20, dim))
    colors = principal_colors(features)
    assert (colors[:, dim:] == round((DARKEST + BRIGHTEST) / 2)).all()
    assert np.ptp(colors[:, dim - 1]) > 100


@pytest.mark.parametrize("num_tiles", [0, 1, 2])
def test_hardly_any_tiles(num_tiles):
    colors = principal_colors(np.ones((num_tiles, 4)))
    assert colors.shape == (num_tiles, 3)
    assert (colors == round((DARKEST + BRIGHTEST) / 2)).all()


def test_unreadable_tiles_neither_count_nor_show():
    features = np.random.default_rng(0).normal(size=(12, 6))
    coords = np.array([[40 * (i % 4), 40 * (i // 4)] for i in range(12)], np.int64)
    broken = features.copy()
    broken[5] = np.nan
    mask = np.arange(12) != 5
    picture = feature_map(broken, coords, GEOMETRY, mask=mask)
    np.testing.assert_array_equal(
        principal_colors(broken, mask=mask)[mask], principal_colors(features[mask])
    )
    assert picture[60, 60].tolist() == list(PAPER_RGB)
    assert picture[20, 20].tolist() == principal_colors(features[mask])[0].tolist()


def test_the_picture_has_the_extent_of_the_slide_and_tiles_in_place():
    features = np.random.default_rng(0).normal(size=(3, 8))
    coords = np.array([[0, 0], [40, 0], [120, 80]], np.int64)
    picture = feature_map(features, coords, GEOMETRY, max_side_px=80)
    colors = principal_colors(features)
    assert picture.shape == (60, 80, 3)
    np.testing.assert_array_equal(picture[:20, :20], np.broadcast_to(colors[0], (20, 20, 3)))
    np.testing.assert_array_equal(picture[:20, 20:40], np.broadcast_to(colors[1], (20, 20, 3)))
    np.testing.assert_array_equal(picture[40:, 60:], np.broadcast_to(colors[2], (20, 20, 3)))
    assert (picture[20:40] == PAPER_RGB).all()


def test_an_h5_dataset_gives_the_same_colors_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("slidenet.core.arrays.BLOCK_ROWS", 7)
    features = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float16)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        dataset = file.create_dataset("features", data=features)
        in_blocks = principal_colors(dataset)
    monkeypatch.undo()
    np.testing.assert_array_equal(in_blocks, principal_colors(features))


def test_features_and_coordinates_must_belong_together():
    with pytest.raises(CoordinateError, match="4 features and 3 coordinates"):
        feature_map(np.ones((4, 2)), np.zeros((3, 2), np.int64), GEOMETRY)
