"""The LongNet slide encoder in the pipeline, with small random weights."""

import numpy as np
import pytest
import torch

from slidenet.core.errors import EncoderError, MissingWeightsError
from slidenet.pipelines.embed_slides import check_feature_dim, embed_slides, load_recipe
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
)
from slidenet.slide_encoders import LongNetEncoder, LongNetViT
from slidenet.slide_encoders.recipes import RECIPES
from slidenet.stores import read_slide_embedding

WHOLE = PreprocessSettings(tile_size_px=256, segmenter="all", drop_blank=False)


def small_slide_encoder(feature_dim):
    torch.manual_seed(0)
    net = LongNetViT(feature_dim=feature_dim, embed_dim=32, depth=2, num_heads=4, ffn_dim=64)
    return LongNetEncoder("small", net, RECIPES["gigapath"])


def test_a_slide_embedding_by_the_gigapath_recipe(row, layout, colour_encoder):
    preprocess([row], layout.root, WHOLE)
    embed_tiles([row], layout.root, EmbedTilesSettings(), tile_encoder=colour_encoder)
    settings = EmbedSlidesSettings(recipe="gigapath")
    report = embed_slides(
        [row], layout.root, settings, encoder="colour", slide_encoder=small_slide_encoder(6)
    )
    assert [o.status for o in report.outcomes] == ["done"], report.table()
    found = read_slide_embedding(layout.slide_embedding("healthy", "colour", "gigapath"))
    assert found.slide_embedding.shape == (32,)
    assert np.isfinite(found.slide_embedding).all()
    assert found.encoder["recipe"]["name"] == "gigapath"
    again = embed_slides(
        [row], layout.root, settings, encoder="colour", slide_encoder=small_slide_encoder(6)
    )
    assert [o.status for o in again.outcomes] == ["already done"]


def test_tiles_off_the_lattice_are_one_slides_failure(row, layout, colour_encoder):
    overlapping = PreprocessSettings(stride_px=128, segmenter="all", drop_blank=False)
    preprocess([row], layout.root, overlapping)
    embed_tiles([row], layout.root, EmbedTilesSettings(), tile_encoder=colour_encoder)
    report = embed_slides(
        [row],
        layout.root,
        EmbedSlidesSettings(recipe="gigapath"),
        encoder="colour",
        slide_encoder=small_slide_encoder(6),
    )
    assert [o.status for o in report.outcomes] == ["failed"]
    assert "share" in report.outcomes[0].detail
    assert report.outcomes[0].traceback is None


def test_features_of_another_length_are_refused_with_both_lengths():
    with pytest.raises(EncoderError, match="colour have length 5; expected 6"):
        check_feature_dim(small_slide_encoder(6), 5, "colour")


def test_without_weights_there_is_no_slide_encoder(tmp_path):
    missing = tmp_path / "slide_encoder.pth"
    with pytest.raises((EncoderError, MissingWeightsError), match=r"slide_encoder\.pth"):
        load_recipe(EmbedSlidesSettings(recipe="gigapath", slide_weights=missing))
