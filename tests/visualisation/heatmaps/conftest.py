import numpy as np
import pytest

from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.stores.tile_maps import TileMap, TileMaps

GEOMETRY = TileGeometry(SlideMpp(0.5, "x"), 0.5, 0.5, 0, 100, 100, 100, 1000, 600)


@pytest.fixture
def tile_map():
    def make(values, method="evidence", *, signed=True, unit="logit", is_evidence=True, **details):
        numbers = np.asarray(values, np.float32)
        return TileMap(numbers, method, "tumour", signed, unit, is_evidence, details)

    return make


@pytest.fixture
def maps_of():
    """Maps of tiles at (300, 200), (400, 200), ... and the row below, three in a row."""

    def make(*maps, geometry=GEOMETRY, slide_id="S1"):
        number = np.arange(len(maps[0].values))
        coords = np.stack([300 + 100 * (number % 3), 200 + 100 * (number // 3)], axis=1)
        return TileMaps(slide_id, "S1.tif", "f", geometry, coords.astype(np.int64), maps, {})

    return make
