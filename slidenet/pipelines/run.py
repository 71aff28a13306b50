"""`slidenet run`: slides to slide embeddings, the three steps one after another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.embed_slides import check_feature_dim, embed_slides_rows, load_recipe
from slidenet.pipelines.embed_tiles import embed_tiles_rows, load_encoder
from slidenet.pipelines.preprocess import TilingPlan, preprocess_rows
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
)
from slidenet.stores import read_manifest


@dataclass(frozen=True, slots=True)
class CohortReport:
    """The reports of the three steps.

    Attributes:
        stages: One report per step, in order.
        out: The output folder.
    """

    stages: Sequence[RunReport]
    out: Path

    @property
    def exit_code(self) -> int:
        """1 when a slide failed in any step, else 0."""
        return max(stage.exit_code for stage in self.stages)

    def table(self) -> str:
        """The status tables of the steps, and where everything lies."""
        tables = "\n\n".join(stage.table() for stage in self.stages)
        failed = [outcome.slide_id for stage in self.stages for outcome in stage.failed]
        verdict = f"Failed ({len(failed)}): {', '.join(failed)}. " if failed else ""
        return f"{tables}\n\n{verdict}Everything is in {self.out}; run.json says it for machines."


def run(
    slides: Path,
    out: Path,
    preprocess: PreprocessSettings = PreprocessSettings(),
    embed_tiles: EmbedTilesSettings = EmbedTilesSettings(),
    embed_slides: EmbedSlidesSettings = EmbedSlidesSettings(),
    *,
    overwrite: bool = False,
) -> CohortReport:
    """Slides to slide embeddings: preprocess, embed-tiles and embed-slides in one go.

    A slide that fails in one step is left out of the next; the others go on.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder.
        preprocess: How tissue is found and cut into tiles.
        embed_tiles: The tile encoder and how it runs.
        embed_slides: The slide encoder or pooling.
        overwrite: Replace outputs made with other settings.
    """
    rows = read_manifest(slides)
    # All of it now: a misspelt name or missing weights must not surface after hours of work.
    TilingPlan.of(preprocess)
    slide_encoder = load_recipe(embed_slides)
    encoder = load_encoder(embed_tiles)
    check_feature_dim(slide_encoder, encoder.feature_dim, encoder.spec.name)
    stages = [preprocess_rows(rows, out, preprocess, overwrite=overwrite)]
    rows = stages[-1].without_failed(rows)
    stages.append(embed_tiles_rows(rows, out, embed_tiles, encoder=encoder, overwrite=overwrite))
    rows = stages[-1].without_failed(rows)
    stages.append(
        embed_slides_rows(
            rows,
            out,
            embed_slides,
            encoder=encoder.spec.name,
            slide_encoder=slide_encoder,
            overwrite=overwrite,
        )
    )
    return CohortReport(stages, out)
