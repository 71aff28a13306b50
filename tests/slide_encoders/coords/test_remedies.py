"""Every problem of coordinates with every recipe: what the message says to do helps, and is new."""

import itertools

import numpy as np
import pytest

from slidenet.core.errors import CoordinateError
from slidenet.core.records import SlideMpp, TileGeometry
from slidenet.slide_encoders import RECIPES, CoordinateWarning, checked_grid_xy
from slidenet.slide_encoders.coords.contract import coordinate_problems


def geometry(slide_mpp=0.25, tile=256, stride=256, target=0.5, side=40_000):
    return TileGeometry(
        slide_mpp=SlideMpp(slide_mpp, "override"),
        target_mpp=target,
        read_mpp=slide_mpp,
        level=0,
        tile_size_px=tile,
        stride_px=stride,
        read_size_px=tile,
        level0_width=side,
        level0_height=side,
    )


def corners(g, columns=8, rows=5, start=0):
    step = g.stride_level0
    pairs = [(round(i * step), round(j * step)) for j in range(rows) for i in range(columns)]
    return np.array(pairs, dtype=np.int64) + np.array([start, 0])


def problems(coords, g, recipe):
    cells = recipe.grid_cells(
        coords,
        slide_mpp=g.slide_mpp.value,
        tile_size_px=g.tile_size_px,
        target_mpp=g.target_mpp,
    )
    return coordinate_problems(coords, cells, g, recipe=recipe)


def kind(problem):
    """Which clause it is, by words of the message."""
    words = ("repeat", "share a cell", "cells apart", "counts cells", "beyond", "px apart", "reach")
    return next(word for word in words if word in problem.found)


LAYOUTS = {
    "sound": lambda g: corners(g),
    "a row twice": lambda g: np.concatenate([corners(g), corners(g)[3:5]]),
    "at the tile resolution": lambda g: (corners(g) / g.scale).astype(np.int64),
    "closer than stated": lambda g: (corners(g, 110) * 0.985).astype(np.int64),
    "far out": lambda g: corners(g, start=round(1100 * g.stride_level0)),
}
GEOMETRIES = [
    geometry(mpp, tile, stride, target, side=10**7)
    for mpp, (tile, stride, target) in itertools.product(
        (0.25, 0.2457, 0.5, 0.69),
        ((256, 256, 0.5), (256, 128, 0.5), (512, 512, 0.5), (512, 512, 0.25), (224, 224, 8 / 7)),
    )
    if target >= mpp - 0.2
]


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("name", list(RECIPES))
def test_no_remedy_says_what_is_done_already(name, layout):
    recipe, ours = RECIPES[name], RECIPES["gigapath"]
    found = 0
    for g in GEOMETRIES:
        coords = LAYOUTS[layout](g)
        if name == "stamp" and coords[:, 0].max() * g.slide_mpp.value > 19_300:
            with pytest.raises(CoordinateError, match=r"overflows.*use --recipe gigapath"):
                problems(coords, g, recipe)
            found += 1
            continue
        for problem in problems(coords, g, recipe):
            found += 1
            remedy, what = problem.remedy, kind(problem)
            assert remedy, problem
            if recipe.frame == "physical":
                assert "--recipe" not in remedy
            if (g.tile_size_px, g.stride_px, g.target_mpp) == (256, 256, 0.5):
                assert "tile with" not in remedy
                assert "tile without" not in remedy
            if g.stride_px >= g.tile_size_px:
                assert "overlap" not in remedy
            if abs(g.scale - 1) < 0.01:
                assert "multiplied" not in remedy
            assert ("repeated rows" in remedy) == (what == "repeat")
            # Where another recipe alone is the answer, it is one.
            if remedy.startswith("use --recipe gigapath"):
                assert what not in {kind(p) for p in problems(coords, g, ours)}, problem
    assert found or (name, layout) == ("gigapath", "sound")


def test_tiling_as_told_solves_what_it_is_told_for():
    for g, name in itertools.product(GEOMETRIES, RECIPES):
        for problem in problems(corners(g), g, RECIPES[name]):
            if kind(problem) in ("cells apart", "counts cells") and "tile" in problem.remedy:
                anew = geometry(g.slide_mpp.value)
                recipe = RECIPES["gigapath" if "--recipe" in problem.remedy else name]
                left = {kind(p) for p in problems(corners(anew), anew, recipe)}
                assert kind(problem) not in left, (g, name, problem)


@pytest.mark.parametrize("name", list(RECIPES))
def test_repeated_rows_are_named_as_such(name):
    g = geometry()
    coords = np.concatenate([corners(g), corners(g)[[9, 9]]])
    texts = "" if RECIPES[name].strict else None
    if texts is None:
        with pytest.warns(CoordinateWarning) as caught:
            checked_grid_xy(coords, g, recipe=RECIPES[name])
        texts = " | ".join(str(w.message) for w in caught)
    else:
        with pytest.raises(CoordinateError) as error:
            checked_grid_xy(coords, g, recipe=RECIPES[name])
        texts = str(error.value)
    assert (
        "2 of 42 rows of coords repeat another row (x=512, y=512 is there 3 times, first in row 9)"
        "; expected every tile once. To fix: remove the repeated rows of coords, and the rows of "
        "features that belong to them"
    ) in texts


def test_beyond_the_lattice_in_the_words_of_the_recipe():
    g = geometry(0.25, side=700_000)
    coords = np.array([[0, 0], [512 * 600, 512]])
    (beyond,) = (p for p in problems(coords, g, RECIPES["lazyslide"]) if p.fatal)
    assert "64 mm at 256 px of 0.25 mpp, as recipe 'lazyslide' counts" in beyond.expected
    assert "use --recipe gigapath, in whose cells this slide fits" in beyond.remedy
    assert "mpp" not in beyond.remedy.split("use --recipe")[0], "its cells do not go by the mpp"
    assert not [p for p in problems(coords, g, RECIPES["gigapath"]) if p.fatal]
    far = np.array([[0, 0], [512 * 1000, 512]])
    for name in ("gigapath", "lazyslide", "slide2vec"):
        (beyond,) = (p for p in problems(far, g, RECIPES[name]) if p.fatal)
        assert "--recipe" not in beyond.remedy
        assert "encode a larger slide in parts" in beyond.remedy
