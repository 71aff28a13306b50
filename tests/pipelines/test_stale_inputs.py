"""What was made from a file that has been replaced since: found, and made again without a flag."""

import dataclasses

import numpy as np
import pytest

from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.inspection.validate import validate
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.stores import open_features, read_slide_embedding, read_tile_set, write_tile_set
from slidenet.testing.cohorts.edited import edited


@pytest.mark.slow
def test_a_chain_is_mended_from_where_it_was_broken(row, layout, colour_encoder):
    def tiles_again():
        report = embed_tiles([row], layout.root, EmbedTilesSettings(), tile_encoder=colour_encoder)
        return report.outcomes[0]

    def embedded():
        return embed_slides([row], layout.root, recipe="mean", encoder="colour").outcomes[0]

    preprocess(
        [row],
        layout.root,
        PreprocessSettings(tile_size_px=256, segmenter="all", drop_blank=False),
    )
    assert (tiles_again().status, embedded().status) == ("done", "done")
    assert (tiles_again().status, embedded().status) == ("already done", "already done")
    features = layout.features("healthy", "colour")
    embedding = layout.slide_embedding("healthy", "colour", "mean")
    assert validate([layout.root]).exit_code == 0

    with edited(features) as h5:  # as a repair of unreadable tiles would
        h5["features"][0] = 100
    told = validate([layout.root]).table()
    assert "was made from other features than" in told
    assert "run `slidenet embed-slides` again" in told
    assert embedded().status == "done"
    mean = open_features(features).features[:].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(read_slide_embedding(embedding).slide_embedding, mean, rtol=1e-6)

    tiles = read_tile_set(layout.tiles("healthy"))
    fewer = dataclasses.replace(
        tiles, coords=tiles.coords[1:], tissue_fraction=tiles.tissue_fraction[1:]
    )
    write_tile_set(layout.tiles("healthy"), fewer)
    refused = embedded()
    assert refused.status == "failed"
    assert "was made from other tiles than" in refused.detail
    assert "run `slidenet embed-tiles` again" in refused.detail
    assert tiles_again().status == "done"
    assert embedded().status == "done"
    assert read_slide_embedding(embedding).num_tiles == tiles.num_tiles - 1
    assert validate([layout.root], deep=True).exit_code == 0


def test_validate_says_what_it_did_not_read_and_what_it_cannot_know(row, layout, colour_encoder):
    preprocess([row], layout.root, PreprocessSettings(segmenter="all", drop_blank=False))
    embed_tiles([row], layout.root, EmbedTilesSettings(), tile_encoder=colour_encoder)
    path = layout.features("healthy", "colour")
    assert "MiB of features not read (--deep does)" in validate([path]).table()
    assert validate([path], deep=True).checks[0].found == "sound"
    with edited(path) as h5:
        del h5["slidenet"].attrs["digests"]
    (check,) = validate([path], deep=True).checks
    assert check.verdict == "ok"
    assert "no digests: written by a version of slidenet that had none" in check.found
