"""`slidenet embed-slides`: one vector per slide from the features of its tiles."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from slidenet.core.errors import ConfigError, EmptyTissueError, EncoderError, StoreError
from slidenet.core.provenance import Identity
from slidenet.core.records import SlideRow
from slidenet.core.registry import Registry
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.ranks import SlideRanks, join_ranks
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import Made, Progress, run_cohort
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
from slidenet.weights.device import resolve_device

ALONE = SlideRanks()
"""One process, on which nothing is shared."""


@dataclass(frozen=True)
class RankReport:
    """What a rank other than the first ends with: that one writes and reports.

    Attributes:
        rank: This one.
        exit_code: 1 when a slide failed, else 0.
    """

    rank: int
    exit_code: int

    def table(self) -> str:
        """One line."""
        return f"rank {self.rank} has done its part; see the report of rank 0"


def embed_slides(
    slides: Path,
    out: Path,
    embed_slides: EmbedSlidesSettings = EmbedSlidesSettings(),
    *,
    encoder: str = "efficientnet_lite0",
    overwrite: bool = False,
    sequence_ranks: int = 1,
) -> RunReport | RankReport:
    """Turn the tile features of every slide into one slide embedding.

    Writes `slide_embeddings/<encoder>/<recipe>/` under `out`. Several GPUs share each slide under
    `torchrun --nproc-per-node N --no-python slidenet embed-slides ... --sequence-ranks N`.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder of `slidenet embed-tiles`.
        embed_slides: The recipe and its weights.
        encoder: The tile encoder whose features are used.
        overwrite: Replace outputs made with other settings.
        sequence_ranks: Processes started by torchrun that share each slide.
    """
    check_recipe(embed_slides)
    rows = read_manifest(slides)
    if sequence_ranks > 1 and embed_slides.recipe in POOLINGS:
        raise ConfigError(
            f"{sequence_ranks} ranks for the recipe {embed_slides.recipe!r}",
            expected="a recipe of the LongNet slide encoder",
            remedy="drop --sequence-ranks; a pooling reads its features in blocks and needs no GPU",
        )
    ranks = join_ranks(sequence_ranks, embed_slides.slide_device)
    try:
        report = embed_slides_rows(
            rows, out, embed_slides, encoder=encoder, overwrite=overwrite, ranks=ranks
        )
    finally:
        ranks.leave()
    return report if ranks.writes else RankReport(ranks.rank, report.exit_code)


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
    ranks: SlideRanks = ALONE,
) -> RunReport:
    """`embed_slides` for rows of a manifest already read.

    Args:
        rows: The slides.
        out: Output folder of `embed_tiles`.
        settings: The recipe and its weights.
        encoder: The tile encoder whose features are used.
        slide_encoder: What `load_recipe(settings)` gave, where it is loaded already.
        overwrite: Replace outputs made with other settings.
        ranks: The processes that share each slide; the same call on all of them.
    """
    layout = OutputLayout(check_output_folder(out))
    if slide_encoder is None:
        here = (
            settings if ranks.device is None else replace(settings, slide_device=str(ranks.device))
        )
        slide_encoder = load_recipe(here)
    ranks.share(slide_encoder)

    def work(row: SlideRow, progress: Progress) -> Made:
        path = layout.slide_embedding(row.slide_id, encoder, settings.recipe)
        features_path = layout.features(row.slide_id, encoder)
        with ranks.together(lambda: _open_features(features_path, encoder)) as file:
            return _embed_slide(file, path, slide_encoder, overwrite, ranks)

    return run_cohort(
        "embed-slides", rows, work, layout=layout, settings=[settings], record=ranks.writes
    )


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


def _open_features(path: Path, encoder: str) -> FeatureFile:
    if not path.is_file():
        raise StoreError(
            f"there is no {path}",
            expected="the tile features of this slide",
            remedy=f"run `slidenet embed-tiles --encoder {encoder}` with the same --slides and "
            "--out first",
        )
    return read_features(path)


def _embed_slide(
    file: FeatureFile,
    path: Path,
    encoder: SlideEncoder | PoolingEncoder,
    overwrite: bool,
    ranks: SlideRanks,
) -> Made:
    identity: Identity = {"features": file.identity, "slide_encoder": encoder.identity()}
    done = ranks.together(
        lambda: ranks.writes and not overwrite and existing_output(path, identity, file.fingerprint)
    )
    if ranks.told_by_first(done):
        dimension = len(read_slide_embedding(path).slide_embedding)
        return Made(path, f"{dimension}-d", file.num_tiles, already=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedding = _forward(file, encoder, ranks)
    if ranks.writes:
        write_slide_embedding(
            path,
            embedding,
            slide_id=file.slide_id,
            fingerprint=file.fingerprint,
            identity=identity,
            encoder_identity=encoder.identity(),
            num_tiles=file.num_tiles,
        )
    notes = [f"{len(embedding)}-d", *(f"warning: {w.message}" for w in caught)]
    return Made(path, "; ".join(notes), file.num_tiles)


def _forward(
    file: FeatureFile, encoder: SlideEncoder | PoolingEncoder, ranks: SlideRanks
) -> Tensor:
    if isinstance(encoder, PoolingEncoder):
        _check_any_tile(file)
        return encoder.pool_rows(file.features, file.mask)
    inputs = ranks.together(lambda: _inputs(file, encoder, ranks))
    with torch.inference_mode():
        embedding: Tensor = ranks.together(lambda: encoder(*inputs))
    return embedding[0].cpu()


def _inputs(
    file: FeatureFile, encoder: SlideEncoder, ranks: SlideRanks
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (1, L, D), cells (1, L, 2) and mask (1, L) of this rank's chunk of the slide."""
    _check_any_tile(file)
    check_feature_dim(
        encoder, file.feature_dim, str(file.encoder.get("encoder", "another encoder"))
    )
    grid_xy = checked_grid_xy(
        file.coords, file.geometry, recipe=encoder.recipe, slide=file.slide_id
    )
    # Ranks share the tiles that could be read, as a tile that could not is as good as absent.
    real = np.flatnonzero(file.mask)
    first, last = ranks.tile_span(len(real))
    start = real[first] if ranks.rank else 0
    end = real[last] if ranks.rank < ranks.size - 1 else file.num_tiles
    device = next(encoder.parameters()).device
    return (
        torch.from_numpy(file.features[start:end]).float().to(device)[None],
        torch.from_numpy(grid_xy[start:end]).to(device)[None],
        torch.from_numpy(file.mask[start:end]).to(device)[None],
    )


def _check_any_tile(file: FeatureFile) -> None:
    if not file.mask.any():
        raise EmptyTissueError(
            f"none of its {file.num_tiles} tiles could be read",
            remedy="check the slide file; it may be truncated",
        )
