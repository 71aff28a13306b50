"""What a file was made from, and whether that is still what lies beside it.

Features keep the digest of their tiles, a slide embedding that of its features. Where the file they
were made from has been made again with another content, they are stale: their settings are the ones
asked for, their numbers are not.
"""

import os
from pathlib import Path
from typing import Any

from slidenet.core.errors import StaleInputError
from slidenet.stores.h5 import schema
from slidenet.stores.h5.attributes import attribute_value
from slidenet.stores.h5.digests import content_digest, digest_of, read_digests
from slidenet.stores.h5.file import open_h5
from slidenet.stores.h5.validate import check_format

_TILE_DATASETS = (
    schema.COORDS,
    schema.TISSUE_FRACTION,
    schema.REGION,
    schema.REGION_SHARE,
)


def tiles_digest(path: Path) -> str:
    """The digest of a file of tiles, computed where it was written before there were digests.

    Raises:
        StoreError: It is missing, broken or of another kind.
    """
    with open_h5(path) as h5:
        check_format(h5, path, expected=schema.TILES_FORMAT)
        return _digest_of_tiles(h5, path)


def made_from(h5: Any, path: Path) -> str | None:
    """The digest of what an open file was made from; None where it does not say.

    Features hold their tiles, so those written before there were digests say it, too.

    Raises:
        StoreError: Its digests are broken.
    """
    group = h5[schema.GROUP]
    kind = attribute_value(group, "format")
    name = schema.TILES_DIGEST if kind == schema.FEATURES_FORMAT else schema.FEATURES_DIGEST
    if name in group.attrs:
        return str(attribute_value(group, name))
    return _digest_of_tiles(h5, path) if kind == schema.FEATURES_FORMAT else None


def check_tiles_of(features: str | os.PathLike[str], tiles: Path | None = None) -> None:
    """Refuses features whose tiles have been made again since, with another content.

    Features that lie elsewhere than in an output folder, without their tiles, are as good as ever.

    Args:
        features: A features file of ours.
        tiles: Its tiles; looked for in the output folder around when None.

    Raises:
        StaleInputError: With what to run.
        StoreError: One of the two is broken.
    """
    features = Path(features)
    if tiles is None:
        encoder = features.absolute().parent
        if encoder.parent.name != "tile_features":
            return
        tiles = encoder.parent.parent / "tiles" / features.name
    if not tiles.is_file():
        return
    with open_h5(features) as h5:
        check_format(h5, features, expected=schema.FEATURES_FORMAT)
        known = made_from(h5, features)
    if known != tiles_digest(tiles):
        raise StaleInputError(
            f"{features} was made from other tiles than {tiles} holds now",
            expected="features of these tiles",
            remedy="run `slidenet embed-tiles` again with the same --slides and --out",
        )


def check_features_of(embedding: str | os.PathLike[str]) -> None:
    """Refuses a slide embedding whose features have been made again since, with another content.

    Args:
        embedding: A slide embedding; its features are looked for in the output folder around.

    Raises:
        StaleInputError: With what to run.
        StoreError: One of the two is broken.
    """
    embedding = Path(embedding)
    recipe = embedding.absolute().parent
    root = recipe.parent.parent.parent
    features = root / "tile_features" / recipe.parent.name / embedding.name
    if recipe.parent.parent.name != "slide_embeddings" or not features.is_file():
        return
    with open_h5(features) as h5:
        check_format(h5, features, expected=schema.FEATURES_FORMAT)
        digests = read_digests(h5, features)
    with open_h5(embedding) as h5:
        check_format(h5, embedding, expected=schema.SLIDE_EMBEDDING_FORMAT)
        known = made_from(h5, embedding)
    # Features without digests are as old as their embedding: then nothing is known.
    if digests is not None and known != content_digest(digests):
        raise StaleInputError(
            f"{embedding} was made from other features than {features} holds now",
            expected="the embedding of these features",
            remedy="run `slidenet embed-slides` again with the same --slides and --out",
        )


def _digest_of_tiles(h5: Any, path: Path) -> str:
    digests = read_digests(h5, path)
    names = [name for name in _TILE_DATASETS if name in h5]
    if digests is None or not set(names) <= set(digests):
        digests = {name: digest_of(h5[name]) for name in names}
    return content_digest({name: digests[name] for name in names})
