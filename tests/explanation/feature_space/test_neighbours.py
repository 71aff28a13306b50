import numpy as np
import pytest

from slidenet.core import arrays
from slidenet.core.errors import StoreError
from slidenet.explanation.feature_space.neighbours import (
    _cosines,
    nearest_slides,
    nearest_tiles,
    unit_rows,
)


def everything(files):
    """Slide, tile and unit features of the whole cohort, in order."""
    places, tiles, rows = [], [], []
    for place, file in enumerate(files.values()):
        features = file.read().features.astype(np.float64)
        rows.append(features / np.linalg.norm(features, axis=1, keepdims=True))
        places += [place] * len(features)
        tiles += range(len(features))
    return np.array(places), np.array(tiles), np.concatenate(rows)


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("per_slide", [None, 2])
def test_as_sorting_all_of_them(files, block, per_slide, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_ROWS", block)
    place, tile, unit = everything(files)
    queries = files["c"].read().features[[0, 7]]
    found = nearest_tiles(
        queries, files, num=8, itself=("c", np.array([0, 7])), per_slide=per_slide
    )
    for query, own, nearest in zip(queries, (0, 7), found, strict=True):
        cosine = unit @ (query / np.linalg.norm(query))
        order = [i for i in np.argsort(-cosine, kind="stable") if (place[i], tile[i]) != (2, own)]
        if per_slide is not None:
            counted = [sum(place[j] == place[i] for j in order[: order.index(i)]) for i in order]
            order = [i for i, before in zip(order, counted, strict=True) if before < per_slide]
        np.testing.assert_allclose(nearest.cosine, cosine[order[:8]], atol=1e-6)
        pairs = set(zip(nearest.slide.tolist(), nearest.tile.tolist(), strict=True))
        assert pairs == {(place[i], tile[i]) for i in order[:8]}


def test_they_are_of_the_same_group_and_not_of_slides_left_out(files, group_of):
    (found,) = nearest_tiles(
        files["a"].read().features[7:8], files, num=4, left_out=lambda slide: slide == "a"
    )
    names = [list(files)[place] for place in found.slide]
    assert names == ["c"] * 4, "only c has other tiles of this group"
    assert (group_of["c"][found.tile] == 1).all()
    assert (np.diff(found.cosine) <= 0).all()
    (few,) = nearest_tiles(files["a"].read().features[:1], {"d": files["d"]}, num=4)
    assert len(few.slide) == 0


def test_equally_near_tiles_come_in_the_order_of_the_cohort(files):
    alike = np.ones((1, 4), np.float32)

    class Same:
        mask, features = np.ones(9, np.bool_), np.ones((9, 4), np.float16)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    (found,) = nearest_tiles(alike, {"x": Same(), "y": Same()}, num=11)
    assert found.slide.tolist() == [0] * 9 + [1] * 2
    assert found.tile.tolist() == [*range(9), 0, 1]


def test_tiles_that_could_not_be_read_are_never_near(files):
    class Hurt:
        features = np.array([[0, 0, 0, 0], [-1, 0, 0, 0]], np.float32)
        mask = np.array([False, True])
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *error: None  # noqa: E731

    (found,) = nearest_tiles(np.eye(1, 4), {"x": Hurt()}, num=2)
    assert found.tile.tolist() == [1]
    assert found.cosine.tolist() == [-1]


def test_nearest_slides():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [1, 0.01], [0, 0]])
    left_out = np.array([True, False, False, False, False])
    found = nearest_slides(embeddings[0], embeddings, num=3, left_out=left_out)
    assert found.slide.tolist() == [3, 1, 2]
    assert found.cosine[0] == pytest.approx(1 / np.hypot(1, 0.01))


def test_nothing_of_a_slide_that_turns_out_to_be_broken_is_near(files, monkeypatch):
    class Hurt:
        mask = np.ones(8, np.bool_)
        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda *error: None  # noqa: E731

        @property
        def features(self):
            class Rows:
                shape = (8, 4)

                def __getitem__(self, rows):
                    if rows.start:
                        raise StoreError("cut short")
                    return np.ones((4, 4), np.float32)

            return Rows()

    monkeypatch.setattr(arrays, "BLOCK_ROWS", 4)
    told = {}
    mixed = {"x": Hurt(), "a": files["a"]}
    (found,) = nearest_tiles(np.ones((1, 4)), mixed, num=3, ended=told.__setitem__)
    assert found.slide.tolist() == [1, 1, 1]
    assert str(told["x"]) == "cut short"
    with pytest.raises(StoreError, match="slide 'x': cut short"):
        nearest_tiles(np.ones((1, 4)), mixed, num=3)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_size_of_features_says_nothing(files, scale):
    def scaled(rows):
        return (rows * np.float32(scale)).astype(np.float32)

    rows = files["c"].read().features
    plain = _cosines(unit_rows(rows[:2]), rows)
    np.testing.assert_allclose(
        _cosines(unit_rows(scaled(rows[:2])), scaled(rows)), plain, atol=1e-6
    )
    assert not _cosines(unit_rows(rows[:2]), np.zeros_like(rows)).any()
