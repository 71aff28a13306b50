from dataclasses import replace

import numpy as np
import pytest

from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.stores import TileMap, TileMaps

SIDE = 64
"""Of a tile, level-0 pixels; a pixel is 0.5 microns there."""
COORDS = ((128, 128), (192, 128), (128, 192), (256, 256))
LEVEL0 = (384, 512)


def make_map(values, method="evidence", target="tumour", **said):
    settings = {"signed": True, "unit": "logit", "is_evidence": True} | said
    return TileMap(np.asarray(values, np.float32), method, target, **settings)


def attention_map(values, **said):
    return make_map(
        values,
        "attention",
        signed=False,
        unit="share",
        is_evidence=False,
        details={"heads": 1},
        **said,
    )


def make_maps(*maps, coords=COORDS, slide_id="slide_1", tile_frame=None, size=LEVEL0):
    width, height = size
    geometry = TileGeometry(
        SlideMpp(0.5, "override"), 0.5, 0.5, 0, SIDE, SIDE, SIDE, width, height,
        tile_frame=tile_frame,
    )  # fmt: skip
    places = np.array(coords, np.int64).reshape(-1, 2)
    maps = maps or (
        make_map([1.5, -0.25, 0.0, np.nan]),
        make_map([2.0, -1.0, 0.5, np.nan], "single_tile"),
        attention_map([0.1, 0.7, 0.2, np.nan]),
    )
    return TileMaps(
        slide_id, "/data/slide_1.svs", "sha256:feed", geometry, places, maps,
        {"model": "0123"}, {"slide_1": {"words": "tumour 0.93"}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def making():
    """`make_map`, `attention_map` and `make_maps`, for tests that need others."""
    return make_map, attention_map, make_maps


@pytest.fixture(scope="module")
def maps():
    return make_maps()


@pytest.fixture(scope="module")
def no_tiles(maps):
    empty = [replace(each, values=each.values[:0]) for each in maps.maps]
    return make_maps(*empty, coords=())


@pytest.fixture(scope="module")
def unplaced():
    return make_maps(tile_frame="none")


@pytest.fixture(scope="module")
def odd_names():
    """Names that break what is not written with care; two maps that differ in no sign shown."""
    names = ("a:b*", "a\nb", "a\\nb", "<i>/x", "=1+1")
    return make_maps(
        *(make_map([1, -1, 0, np.nan], target=name) for name in names), slide_id="../<b>,\n=x"
    )
