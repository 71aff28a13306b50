"""A small tile set and the writing of its features, the same every time."""

from types import SimpleNamespace

import numpy as np
import pytest

from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.stores import FeatureWriter

GEOMETRY = TileGeometry(
    slide_mpp=SlideMpp(0.499, "vendor property aperio.MPP"),
    target_mpp=0.5,
    read_mpp=0.499,
    level=0,
    tile_size_px=256,
    stride_px=224,
    read_size_px=256,
    level0_width=20000,
    level0_height=30000,
)
TILES_RECIPE = {"segmenter": "otsu", "target_mpp": 0.5, "filters": ["blank"], "margin": None}
ENCODER = {"id": "toy", "weights": "sha256:0123", "precision": "float32"}
RECIPE = {"tiles": TILES_RECIPE, "encoder": ENCODER, "dtype": "float16"}
FEATURE_DIM = 12
BATCH_SIZE = 32


def choose_tiles(num_tiles: int = 600, *, slide_id: str = "slide_1") -> TileSet:
    step = GEOMETRY.stride_level0
    cells = [(x, y) for y in range(60) for x in range(40)][:num_tiles]
    coords = np.array([(round(x * step), round(y * step)) for x, y in cells], dtype=np.int64)
    return TileSet(
        slide_id=slide_id,
        slide_path="/data/slides/slide_1.svs",
        fingerprint="sha256:feed",
        geometry=GEOMETRY,
        coords=coords.reshape(-1, 2),
        tissue_fraction=np.linspace(0, 1, num_tiles, dtype=np.float32),
        identity=TILES_RECIPE,
    )


def features_of(start: int, stop: int) -> np.ndarray:
    """Rows that depend on the tile alone, as an encoder's would."""
    rows = [np.random.default_rng(i).normal(size=FEATURE_DIM) for i in range(start, stop)]
    return np.array(rows, dtype=np.float32).reshape(-1, FEATURE_DIM)


def open_writer(path, tile_set, *, dtype="float16", identity=RECIPE, batch_size=BATCH_SIZE):
    return FeatureWriter(path, tile_set, FEATURE_DIM, dtype, identity, ENCODER, batch_size)


def write_features(path, tile_set, *, unreadable=(), stop_at=None, **settings):
    """Encodes and writes like the pipeline does; stops before tile `stop_at` if given."""
    with open_writer(path, tile_set, **settings) as writer:
        while writer.num_done < (tile_set.num_tiles if stop_at is None else stop_at):
            start = writer.num_done
            stop = min(start + BATCH_SIZE, tile_set.num_tiles)
            status = np.isin(np.arange(start, stop), unreadable).astype(np.uint8)
            writer.append(features_of(start, stop), status)
        if stop_at is None:
            writer.finish()
    return path


@pytest.fixture
def toy() -> SimpleNamespace:
    """The constants and makers of this file, for tests that need more than one file."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})


@pytest.fixture
def tile_set() -> TileSet:
    return choose_tiles()[0]


@pytest.fixture
def features_file(tmp_path, tile_set):
    return write_features(tmp_path / "out" / "slide_1.h5", tile_set, unreadable=(5, 300))
