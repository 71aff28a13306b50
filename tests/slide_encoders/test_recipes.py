"""Five tools, five embeddings of one slide: the golden table."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import UnknownNameError
from slidenet.slide_encoders import RECIPES, LongNetConfig, load_slide_encoder

SLIDE_MPP = 0.25


@pytest.fixture(scope="module")
def config():
    """Twelve blocks, as TRIDENT's state 11 needs, but narrow."""
    return LongNetConfig(
        feature_dim=16,
        embed_dim=32,
        num_heads=4,
        ffn_dim=64,
        segment_lengths=(8, 16, 32),
        dilation_rates=(1, 2, 4),
    )


@pytest.fixture(scope="module")
def file(config, make_official, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "slide_encoder.pth"
    torch.save({"model": make_official(config, seed=21)}, path)
    return path


@pytest.fixture(scope="module")
def slide():
    """48 tiles of 256 px at 0.5 mpp on a slide of 0.25 mpp: level-0 steps of 512 px."""
    draw = np.random.default_rng(22)
    cells = np.sort(draw.choice(12 * 10, size=48, replace=False))
    coords = np.stack([cells % 12, cells // 12], axis=1).astype(np.int64) * 512 + 512
    return coords, torch.from_numpy(draw.standard_normal((1, 48, 16))).float()


def embed(file, config, slide, recipe):
    coords, features = slide
    grid_xy = RECIPES[recipe].grid_cells(coords, slide_mpp=SLIDE_MPP)
    encoder = load_slide_encoder("gigapath", weights=file, config=config, recipe=recipe)
    with torch.inference_mode():
        return encoder(features, torch.from_numpy(grid_xy)[None])[0]


# recipe: first tile's cell, last tile's cell, first four numbers of the embedding
TABLE = {
    "gigapath": ((2, 1), (7, 10), (-1.22012, 0.41812, -0.28111, -1.46238)),
    "gigapath-official": ((4, 2), (14, 20), (-1.2794, 0.2701, -0.2178, -1.1028)),
    "lazyslide": ((4, 2), (14, 20), (-1.16022, -0.64045, -0.20717, -0.84591)),
    "slide2vec": ((2, 1), (7, 10), (-1.4735, -0.2908, -0.9137, -0.9875)),
    "stamp": ((0, 0), (3, 4), (-1.6328, 0.3972, -0.0601, -0.9756)),
    "trident": ((2, 1), (7, 10), (-0.8929, 1.0485, -0.3221, -1.7775)),
}


@pytest.mark.parametrize("recipe", sorted(TABLE))
def test_table(file, config, slide, recipe):
    first, last, numbers = TABLE[recipe]
    cells = RECIPES[recipe].grid_cells(slide[0], slide_mpp=SLIDE_MPP)
    assert (tuple(cells[0]), tuple(cells[-1])) == (first, last)
    found = embed(file, config, slide, recipe)[:4]
    tolerance = 2e-5 if RECIPES[recipe].precision == "float32" else 4e-3
    torch.testing.assert_close(found, torch.tensor(numbers), rtol=0, atol=tolerance)


def test_every_recipe_is_in_the_table():
    assert set(TABLE) == set(RECIPES)


def test_all_recipes_differ(file, config, slide):
    found = {name: embed(file, config, slide, name) for name in RECIPES}
    for a in found:
        for b in found:
            if a < b:
                assert (found[a] - found[b]).abs().max() > 0.02, (a, b)


@pytest.mark.parametrize(
    ("name", "pooling", "state", "frame", "precision"),
    [
        ("gigapath", "mean", "last", "physical", "float32"),
        ("gigapath-official", "mean", "last", "level0", "autocast-float16"),
        ("trident", "mean", 11, "tile_side", "autocast-float16"),
        ("stamp", "mean", "final", "micron_fp16", "float16"),
        ("slide2vec", "class_token", "final", "physical_floor", "autocast-float16"),
        ("lazyslide", "class_token", "final", "level0", "float32"),
    ],
)
def test_recipes_are_pinned(name, pooling, state, frame, precision):
    recipe = RECIPES[name]
    assert recipe.identity() == {
        "name": name,
        "version": 1,
        "pooling": pooling,
        "state": state,
        "frame": frame,
        "precision": precision,
    }
    assert recipe.strict == (name == "gigapath")
    assert recipe.why


def test_at_half_a_micron_per_pixel_the_frames_agree(slide):
    at_half_micron = slide[0] // 2
    cells = [
        RECIPES[name].grid_cells(at_half_micron, slide_mpp=0.5).tolist()
        for name in ("gigapath", "gigapath-official", "trident", "slide2vec", "lazyslide")
    ]
    assert all(c == cells[0] for c in cells)


def test_unknown_recipe():
    with pytest.raises(UnknownNameError, match="did you mean trident"):
        RECIPES["tridant"]
