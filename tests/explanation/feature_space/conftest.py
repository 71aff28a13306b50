"""A cohort of three tight groups of tiles, on four slides of two patients."""

import numpy as np
import pytest

from slidenet.stores import open_features
from slidenet.testing.cohorts.feature_cohort import GeneratedSlide, write_slide_file

GROUPS = np.array([[9.0, 0, 0, 1], [0, 6.0, 0, 1], [0, 0, 3.0, 1]])
SIZES = {"a": (6, 3, 1), "b": (9, 0, 0), "c": (5, 4, 2), "d": (0, 0, 0)}


@pytest.fixture(scope="module")
def groups():
    """The middle of each group, (3, 4)."""
    return GROUPS


@pytest.fixture(scope="module")
def group_of():
    """Which group each of a slide's tiles is of, in order, by slide_id."""
    return {slide_id: np.repeat(np.arange(3), sizes) for slide_id, sizes in SIZES.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory, group_of):
    """Features of each slide; the last has no tile."""
    folder = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    identity = {"tiles": {"icc": True}, "tile_encoder": {"id": "generated"}}
    found = {}
    for slide_id, group in group_of.items():
        features = GROUPS[group] + rng.normal(0, 0.05, (len(group), 4))
        places = np.arange(len(group), dtype=np.int64)
        coords = np.stack([places % 4, places // 4], axis=1) * 256
        slide = GeneratedSlide(
            {"slide_id": slide_id}, coords, features.astype(np.float32), slide_id, identity, []
        )
        write_slide_file(folder / f"{slide_id}.h5", slide)
        found[slide_id] = open_features(folder / f"{slide_id}.h5")
    return found
