"""`slidenet embed-slides`: one vector per slide from the features of its tiles."""

import warnings
from pathlib import Path

import torch

from slidenet.core.errors import EmptyTissueError, EncoderError, StoreError
from slidenet.core.provenance import Recipe
from slidenet.core.records import SlideRow
from slidenet.core.registry import Registry
from slidenet.pipelines.cohort import Made, Progress, run_cohort
from slidenet.pipelines.layout import OutputLayout
from slidenet.pipelines.report import RunReport
from slidenet.pipelines.settings import EmbedSlidesSettings
from slidenet.slide_encoders import (
    RECIPES,
    PoolingEncoder,
    SlideEncoder,
    checked_grid_xy,
    load_slide_encoder,
)
from slidenet.slide_encoders.pooling import POOLINGS
from slidenet.stores import (
    FeatureFile,
    check_output_folder,
    existing_output,
    read_features,
    read_manifest,
    read_slide_embedding,
    write_slide_embedding,
)
from slidenet.tile_encoders.encoder import resolve_device


def embed_slides(
    slides: Path,
    out: Path,
    embed_slides: EmbedSlidesSettings = EmbedSlidesSettings(),
    *,
    encoder: str = "efficientnet_lite0",
    overwrite: bool = False,
) -> RunReport:
    """Turn the tile features of every slide into one slide embedding.

    Writes `slide_embeddings/<encoder>/<recipe>/` under `out`.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder of `slidenet embed-tiles`.
        embed_slides: The recipe and its weights.
        encoder: The tile encoder whose features are used.
        overwrite: Replace outputs made with other settings.
    """
    check_recipe(embed_slides)
    rows = read_manifest(slides)
    return embed_slides_rows(rows, out, embed_slides, encoder=encoder, overwrite=overwrite)


def check_recipe(settings: EmbedSlidesSettings) -> None:
    """Refuses a recipe nobody knows, before any work.

    Raises:
        UnknownNameError: With the nearest names.
    """
    known: Registry[str] = Registry("slide embedding recipe")
    for name in (*POOLINGS, *RECIPES):
        known.add(name, name)
    known[settings.recipe]


def check_feature_dim(
    slide_encoder: SlideEncoder | PoolingEncoder, feature_dim: int, tile_encoder: str
) -> None:
    """Refuses features of another length than the slide encoder was trained on.

    Raises:
        EncoderError: Naming both lengths.
    """
    if isinstance(slide_encoder, PoolingEncoder):
        return
    expected = slide_encoder.net.config.feature_dim
    if feature_dim != expected:
        raise EncoderError(
            f"features of {tile_encoder} have length {feature_dim}",
            expected=f"{expected}, what this slide encoder was trained on",
            remedy="use the features of the matching tile encoder (gigapath), or --recipe mean",
        )


def embed_slides_rows(
    rows: list[SlideRow],
    out: Path,
    settings: EmbedSlidesSettings,
    *,
    encoder: str,
    slide_encoder: SlideEncoder | PoolingEncoder | None = None,
    overwrite: bool = False,
) -> RunReport:
    """`embed_slides` for rows of a manifest already read.

    Args:
        rows: The slides.
        out: Output folder of `embed_tiles`.
        settings: The recipe and its weights.
        encoder: The tile encoder whose features are used.
        slide_encoder: What `load_recipe(settings)` gave, where it is loaded already.
        overwrite: Replace outputs made with other settings.
    """
    layout = OutputLayout(check_output_folder(out))
    if slide_encoder is None:
        slide_encoder = load_recipe(settings)

    def work(row: SlideRow, progress: Progress) -> Made:
        features_path = layout.features(row.slide_id, encoder)
        path = layout.slide_embedding(row.slide_id, encoder, settings.recipe)
        if not features_path.is_file():
            raise StoreError(
                f"there is no {features_path}",
                expected="the tile features of this slide",
                remedy=f"run `slidenet embed-tiles --encoder {encoder}` with the same --slides "
                "and --out first",
            )
        with read_features(features_path) as file:
            return _embed_slide(file, path, slide_encoder, overwrite)

    return run_cohort("embed-slides", rows, work, layout=layout, settings=[settings])


def load_recipe(settings: EmbedSlidesSettings) -> SlideEncoder | PoolingEncoder:
    """The slide encoder or pooling that `settings` ask for.

    Raises:
        UnknownNameError: For a recipe nobody knows.
        MissingWeightsError: For a recipe with weights that are not there.
        WeightsMismatchError: For weights of something else.
    """
    check_recipe(settings)
    if settings.recipe in POOLINGS:
        return load_slide_encoder(settings.recipe, weights=settings.slide_weights)
    return load_slide_encoder(
        "gigapath",
        weights=settings.slide_weights,
        recipe=settings.recipe,
        device=resolve_device(settings.slide_device),
    )


def _embed_slide(
    file: FeatureFile, path: Path, encoder: SlideEncoder | PoolingEncoder, overwrite: bool
) -> Made:
    recipe: Recipe = {"features": file.recipe, "slide_encoder": encoder.identity()}
    if not overwrite and existing_output(path, recipe, file.fingerprint):
        dimension = len(read_slide_embedding(path).slide_embedding)
        return Made(path, f"{dimension}-d", file.num_tiles, already=True)
    if not file.mask.any():
        raise EmptyTissueError(
            f"none of its {file.num_tiles} tiles could be read",
            remedy="check the slide file; it may be truncated",
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedding = _forward(file, encoder)
    write_slide_embedding(
        path,
        embedding,
        slide_id=file.slide_id,
        fingerprint=file.fingerprint,
        recipe=recipe,
        encoder_identity=encoder.identity(),
        num_tiles=file.num_tiles,
    )
    notes = [f"{len(embedding)}-d", *(f"warning: {w.message}" for w in caught)]
    return Made(path, "; ".join(notes), file.num_tiles)


def _forward(file: FeatureFile, encoder: SlideEncoder | PoolingEncoder) -> torch.Tensor:
    if isinstance(encoder, PoolingEncoder):
        return encoder.pool_rows(file.features, file.mask)
    check_feature_dim(
        encoder, file.feature_dim, str(file.encoder.get("encoder", "another encoder"))
    )
    grid_xy = checked_grid_xy(
        file.coords, file.geometry, recipe=encoder.recipe, slide=file.slide_id
    )
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        embedding: torch.Tensor = encoder(
            torch.from_numpy(file.features[:]).float().to(device)[None],
            torch.from_numpy(grid_xy).to(device)[None],
            torch.from_numpy(file.mask).to(device)[None],
        )
    return embedding[0].cpu()
