"""Four slides of two patients with labels, whose tiles are of two kinds."""

import numpy as np
import pytest

from slidenet.testing.cohorts.feature_cohort import GeneratedSlide, write_slide_file

NUM_TILES = 12


@pytest.fixture(scope="session")
def feature_cohort(tmp_path_factory):
    """The folder; `labels.csv` and `features/` in it. The first tiles of a slide are of kind 0."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "features").mkdir()
    rng, lines = np.random.default_rng(0), ["slide_id,patient_id,grade,tile"]
    identity = {"tiles": {"icc": True}, "tile_encoder": {"id": "generated"}}
    for number in range(4):
        kind = np.arange(NUM_TILES) >= (3, 6, 9, 6)[number]
        features = np.stack([10 - 8.0 * kind, 1 + 9.0 * kind], axis=1)
        features = features + rng.normal(0, 0.1, (NUM_TILES, 2))
        places = np.arange(NUM_TILES, dtype=np.int64)
        coords = np.stack([places % 4, places // 4], axis=1) * 256
        name = f"s{number}"
        slide = GeneratedSlide({"slide_id": name}, coords, features.astype(np.float32), name,
                               identity, [])  # fmt: skip
        write_slide_file(folder / "features" / f"{name}.h5", slide)
        lines.append(f"{name},p{number // 2},{'high' if number else 'low'},=x")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder
