import numpy as np
import pytest

from slidenet.core import arrays
from slidenet.core.errors import EmptyTissueError, StoreError
from slidenet.explanation.feature_space.sample import rows_drawn, sample_cohort


def test_slides_count_alike_and_means_are_of_all_tiles(files, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 4)
    seen = []
    sample = sample_cohort(files, max_tiles=16, ended=lambda *told: seen.append(told))
    assert seen == [(slide_id, None) for slide_id in "abcd"]
    assert sample.slide_ids == ("a", "b", "c"), "d has no tiles"
    assert np.bincount(sample.slide).tolist() == [4, 4, 4]
    assert sample.num_tiles.tolist() == [10, 9, 11]
    for place, slide_id in enumerate("abc"):
        features, coords, _ = files[slide_id].read()
        own = sample.slide == place
        np.testing.assert_array_equal(sample.features[own], features[sample.tile[own]])
        np.testing.assert_array_equal(sample.coords[own], coords[sample.tile[own]])
        np.testing.assert_allclose(sample.means[place], features.astype(np.float64).mean(axis=0))
        assert (np.diff(sample.tile[own]) > 0).all()
    thin = sample.thinned(3)
    assert thin.slide.tolist() == [0, 1, 2]
    assert sample.thinned(12) is sample


def test_what_is_drawn_of_a_slide_depends_on_it_and_the_seed_alone():
    mask = np.arange(100) % 3 > 0
    rows = rows_drawn(mask, 10, "a", 0)
    assert mask[rows].all()
    assert len(rows) == len(set(rows.tolist())) == 10
    assert rows.tolist() == rows_drawn(mask, 10, "a", 0).tolist()
    assert rows.tolist() != rows_drawn(mask, 10, "b", 0).tolist()
    assert rows.tolist() != rows_drawn(mask, 10, "a", 1).tolist()


def test_a_cohort_without_tiles_is_refused(files):
    with pytest.raises(EmptyTissueError, match="none of 1 slide has a readable tile"):
        sample_cohort({"d": files["d"]}, max_tiles=5)


def test_a_broken_slide_is_left_out_and_told_of_or_refused(files):
    class Broken:
        feature_dim = 4

        def __enter__(self):
            raise StoreError("spoilt")

        def __exit__(self, *error):
            pass

    told, mixed = {}, {"x": Broken(), "a": files["a"]}
    sample = sample_cohort(mixed, max_tiles=8, ended=told.__setitem__)
    assert sample.slide_ids == ("a",)
    assert str(told["x"]) == "spoilt"
    assert told["a"] is None
    with pytest.raises(StoreError, match="slide 'x': spoilt"):
        sample_cohort(mixed, max_tiles=8)
