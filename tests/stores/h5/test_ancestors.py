import dataclasses

import numpy as np
import pytest

from slidenet.core.errors import StaleInputError
from slidenet.stores import (
    existing_output,
    open_features,
    read_slide_embeddings,
    write_slide_embedding,
    write_tile_set,
)
from slidenet.stores.h5.ancestors import check_tiles_of, tiles_digest
from slidenet.stores.h5.digests import content_digest
from slidenet.stores.tiles import tile_digests
from slidenet.testing.cohorts.edited import edited


@pytest.fixture
def out(tmp_path, toy):
    """An output folder of one slide: its tiles, features and embedding."""
    tile_set = toy.make_tile_set(40)
    write_tile_set(tmp_path / "tiles" / "slide_1.h5", tile_set)
    features = toy.write_features(tmp_path / "tile_features" / "toy" / "slide_1.h5", tile_set)
    embed(tmp_path, open_features(features))
    return tmp_path


def embed(root, file):
    return write_slide_embedding(
        root / "slide_embeddings" / "toy" / "mean" / "slide_1.h5", file.features[:].mean(axis=0),
        slide_id="slide_1", fingerprint="sha256:feed", identity={"features": file.identity},
        encoder_identity={}, num_tiles=file.num_tiles, features_digest=file.digest,
    )  # fmt: skip


def without_digests(path):
    with edited(path) as h5:
        for name in ("digests", "tiles_digest", "features_digest"):
            h5["slidenet"].attrs.pop(name, None)


@pytest.mark.parametrize("old", [(), ("tiles",), ("features",), ("tiles", "features")])
def test_features_are_stale_when_their_tiles_are_others(out, toy, old):
    tiles = out / "tiles" / "slide_1.h5"
    features = out / "tile_features" / "toy" / "slide_1.h5"
    if "features" in old:
        without_digests(features)
    if "tiles" in old:
        without_digests(tiles)
    check_tiles_of(features)
    tile_set = toy.make_tile_set(40)
    same = content_digest(tile_digests(tile_set))
    assert tiles_digest(tiles) == same
    assert existing_output(features, toy.RECIPE, "sha256:feed", input_digest=same)
    moved = dataclasses.replace(tile_set, coords=tile_set.coords + np.array([0, 1]))
    write_tile_set(tiles, moved)
    with pytest.raises(StaleInputError, match=r"other tiles than .* holds now.*embed-tiles. again"):
        check_tiles_of(features)
    now = content_digest(tile_digests(moved))
    assert existing_output(features, toy.RECIPE, "sha256:feed", input_digest=now) is False
    tiles.unlink()
    check_tiles_of(features)  # handed around without them they are as good as ever


def test_an_embedding_is_stale_when_its_features_are_others(out):
    features = out / "tile_features" / "toy" / "slide_1.h5"
    embedding = out / "slide_embeddings" / "toy" / "mean" / "slide_1.h5"
    before = open_features(features)
    identity = {"features": before.identity}
    with edited(features) as h5:
        h5["features"][7] = np.float16(0.5)
    with pytest.raises(StaleInputError, match=r"other features than .*embed-slides. again"):
        read_slide_embeddings(embedding.parent)
    digest = open_features(features).digest
    assert existing_output(embedding, identity, "sha256:feed", input_digest=before.digest)
    assert not existing_output(embedding, identity, "sha256:feed", input_digest=digest)
    embed(out, open_features(features))
    assert read_slide_embeddings(embedding.parent)[0] == ["slide_1"]


def test_an_embedding_of_an_older_version_stays_until_its_features_are_made_again(out):
    features = out / "tile_features" / "toy" / "slide_1.h5"
    embedding = out / "slide_embeddings" / "toy" / "mean" / "slide_1.h5"
    identity = {"features": open_features(features).identity}
    digest = open_features(features).digest
    without_digests(embedding)
    without_digests(features)
    assert open_features(features).digest is None
    assert existing_output(embedding, identity, "sha256:feed", input_digest=None)
    assert read_slide_embeddings(embedding.parent)[0] == ["slide_1"]
    assert not existing_output(embedding, identity, "sha256:feed", input_digest=digest)
