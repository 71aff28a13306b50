"""Tiles that could not be read, or that nothing is stored for: from the slide to the features."""

import numpy as np
import pytest

import slidenet
from slidenet.stores import open_features, validate_file
from slidenet.testing import corrupt_tile
from slidenet.testing.layouts import halved_levels, write_layout

TILING = {"segmenter": "all", "tile_size_px": 64, "target_mpp": 0.5, "mpp": 0.5, "isolate": False}


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """Slides of 4 x 4 tiles: two not stored and one damaged; none stored but a damaged one."""
    picture = np.random.default_rng(5).integers(60, 190, (256, 256, 3), dtype=np.uint8)
    levels = halved_levels(picture, 2)
    hurt = write_layout(tmp_path / "hurt.tif", levels, missing={0: [1, 6]})
    corrupt_tile(hurt, (200, 200))
    bare = write_layout(tmp_path / "bare.tif", levels, missing={0: range(15)})
    corrupt_tile(bare, (200, 200))
    # As on large slides: the overview is of a coarser level, which is whole, so that the damage of
    # level 0 shows only where tiles are read.
    monkeypatch.setattr("slidenet.tissue.tissue.OVERVIEW_PX", 128)
    return tmp_path


def test_every_tile_says_what_became_of_it(cohort, colour_encoder):
    paths, out = [cohort / "hurt.tif", cohort / "bare.tif"], cohort / "out"
    _, bare = slidenet.preprocess(paths, out, drop_blank=False, **TILING).outcomes
    (hurt,) = slidenet.embed_tiles(
        paths[:1], out, tile_encoder=colour_encoder, isolate=False
    ).outcomes
    assert hurt.status == "done"
    assert "1 tiles unreadable, 2 tiles without stored bytes" in hurt.detail
    file = open_features(out / "tile_features" / "colour" / "hurt.h5")
    wanted = np.zeros(16, np.uint8)
    wanted[[1, 6]], wanted[15] = 2, 1
    assert file.status.tolist() == wanted.tolist()
    assert (file.num_unreadable, file.num_empty) == (1, 2)
    assert ((file.features[:] == 0).all(axis=1) == (wanted != 0)).all()
    assert validate_file(file.path) == []
    assert bare.status == "failed"
    assert "none of its 16 tiles could be read (64x64 px at (192, 192)" in bare.detail
    assert not (out / "tiles" / "bare.h5").exists()


def test_a_slide_none_of_whose_tiles_can_be_read_fails_when_they_are_chosen(cohort):
    paths = [cohort / "hurt.tif", cohort / "bare.tif"]
    filters = {"drop_blank": False, "drop_blurred": True}  # one that looks at level 0
    hurt, bare = slidenet.preprocess(paths, cohort / "out", **filters, **TILING).outcomes
    assert hurt.status == "done"
    assert hurt.detail.endswith(
        "kept (3 of them not readable); 2 of 16 tiles of level 0 have no stored bytes; "
        "up to 25.0% of its overview cannot be decoded"
    )
    assert bare.status == "failed"
    assert "none of its 16 tiles could be read (64x64 px at (192, 192)" in bare.detail
    assert not (cohort / "out" / "tiles" / "bare.h5").exists()
