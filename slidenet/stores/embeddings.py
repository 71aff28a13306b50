"""Slide embeddings on disk: one file per slide, and a whole folder as one matrix."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from slidenet.core.errors import EncoderError, IdentityMismatchError, StoreError
from slidenet.core.provenance import (
    Identity,
    JsonValue,
    canonical_json,
    cohort_identity,
    describe_difference,
)
from slidenet.core.window_rule import without_idle_rule
from slidenet.stores.h5 import schema
from slidenet.stores.h5.ancestors import check_features_of
from slidenet.stores.h5.attributes import (
    identity_attributes,
    read_attribute,
    read_identity,
    write_attributes,
)
from slidenet.stores.h5.digests import digest_of_array, refuse_changed, write_digests
from slidenet.stores.h5.file import create_h5, open_h5
from slidenet.stores.h5.validate import check_format


@dataclass(frozen=True, eq=False)
class SlideEmbedding:
    """The embedding of one slide.

    Attributes:
        slide_id: Id of the slide.
        slide_embedding: float32 (D,).
        fingerprint: Content fingerprint of the slide file.
        num_tiles: Tiles it was made from.
        identity: Every setting that made it, tiles and tile encoder included.
        encoder: Identity of the slide encoder.
    """

    slide_id: str
    slide_embedding: npt.NDArray[np.float32]
    fingerprint: str
    num_tiles: int
    identity: dict[str, JsonValue]
    encoder: dict[str, JsonValue]


def write_slide_embedding(
    path: str | os.PathLike[str],
    slide_embedding: npt.ArrayLike,
    *,
    slide_id: str,
    fingerprint: str,
    identity: Identity,
    encoder_identity: Identity,
    num_tiles: int,
    version: int = schema.FORMAT_VERSION,
    features_digest: str | None = None,
) -> Path:
    """Writes one slide's embedding (format `slidenet.slide_embedding`), atomically.

    Args:
        path: The file; one that is there is replaced.
        slide_embedding: (D,) finite floats (a CPU tensor will do), stored as float32.
        slide_id: Id of the slide.
        fingerprint: Content fingerprint of the slide file.
        identity: Every setting that made it; what belongs to this slide alone under `inputs`.
        encoder_identity: Identity of the slide encoder.
        num_tiles: Tiles it was made from.
        version: Format version: that of the features it was made from.
        features_digest: Digest of those features; None where their file carries none.

    Returns:
        The path written.

    Raises:
        EncoderError: Wrong shape, or NaN or infinite values.
        OutputError: The folder cannot be written.
    """
    path, vector = Path(path), np.asarray(slide_embedding, dtype=np.float32)
    if vector.ndim != 1 or not len(vector):
        raise EncoderError(
            f"a slide embedding of shape {vector.shape}", expected="(D,)", slide=slide_id
        )
    if not np.isfinite(vector).all():
        raise EncoderError(
            "the slide embedding has NaN or infinite values",
            remedy="check the features with `slidenet validate` and the encoder's precision",
            slide=slide_id,
        )
    attributes = identity_attributes(
        schema.SLIDE_EMBEDDING_FORMAT,
        version=version,
        slide_id=slide_id,
        fingerprint=fingerprint,
        identity=identity,
    )
    with create_h5(path, slide=slide_id) as new:
        stored = schema.short_rows(version, vector.shape)
        new.h5.create_dataset(schema.SLIDE_EMBEDDING, data=vector, **stored)
        group = new.h5.create_group(schema.GROUP)
        write_attributes(group, attributes)
        write_attributes(group, {"num_tiles": num_tiles, "feature_dim": len(vector)})
        write_attributes(group, {"encoder": canonical_json(encoder_identity)})
        if version > 1:
            if features_digest is not None:
                write_attributes(group, {schema.FEATURES_DIGEST: features_digest})
            write_digests(new.h5, {schema.SLIDE_EMBEDDING: digest_of_array(vector)})
    return path


def read_slide_embedding(path: str | os.PathLike[str]) -> SlideEmbedding:
    """Reads what `write_slide_embedding` wrote.

    Raises:
        StoreError: The file is missing, broken or not a `slidenet.slide_embedding` file.
    """
    path = Path(path)
    with open_h5(path) as h5:
        check_format(h5, path, expected=schema.SLIDE_EMBEDDING_FORMAT)
        group = h5[schema.GROUP]
        embedding = SlideEmbedding(
            slide_id=read_attribute(group, "slide_id", str, path),
            slide_embedding=h5[schema.SLIDE_EMBEDDING][:],
            fingerprint=read_attribute(group, "slide_fingerprint", str, path),
            num_tiles=read_attribute(group, "num_tiles", int, path),
            identity=read_identity(group, path),
            encoder=read_identity(group, path, "encoder"),
        )
        refuse_changed(h5, path)
        return embedding


def read_slide_embeddings(
    folder: str | os.PathLike[str],
) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Reads every slide embedding of a folder as one matrix.

    Args:
        folder: Holds one `*.h5` per slide, all made with the same settings.

    Returns:
        The slide_ids in order of file name, and float32 (number of slides, D).

    Raises:
        StoreError: The folder holds none, a file is broken, or a slide comes twice.
        IdentityMismatchError: Two files were made with different settings; both are named.
        StaleInputError: One in an output folder whose features have been replaced since.
    """
    folder = Path(folder)
    paths = sorted(p for p in folder.glob("*.h5") if not p.name.startswith("."))
    if not paths:
        raise StoreError(
            f"{folder} holds no slide embeddings", expected="one .h5 file per slide there"
        )
    found = [read_slide_embedding(path) for path in paths]
    for path in paths:
        check_features_of(path)
    seen: dict[str, Path] = {}
    for path, one in zip(paths, found, strict=True):
        difference = describe_difference(
            *(without_idle_rule(cohort_identity(x.identity)) for x in (found[0], one))
        )
        if difference:
            raise IdentityMismatchError(
                f"{paths[0]} and {path} were made with different settings ({difference})",
                remedy="keep one folder per set of settings, or make the slide embeddings again",
            )
        lengths = len(found[0].slide_embedding), len(one.slide_embedding)
        if lengths[0] != lengths[1]:
            raise StoreError(
                f"the slide embedding of {paths[0]} has length {lengths[0]}, "
                f"that of {path} has length {lengths[1]}",
                remedy="make the slide embeddings again",
            )
        if one.slide_id in seen:
            raise StoreError(
                f"{seen[one.slide_id]} and {path} are both about this slide", slide=one.slide_id
            )
        seen[one.slide_id] = path
    return list(seen), np.stack([one.slide_embedding for one in found])
