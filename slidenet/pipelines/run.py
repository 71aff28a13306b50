"""`slidenet run`: slides to slide embeddings, the three steps one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidenet.core.extras import data_frame
from slidenet.core.records import BLENDED_READING, SlideRow
from slidenet.pipelines.begun.engine import settle_engine
from slidenet.pipelines.begun.reading import reading_of_folder
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport, exit_code_of
from slidenet.pipelines.cohort.run import LOCAL
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.embed_slides import check_feature_dim, embed_slides, load_recipe
from slidenet.pipelines.embed_tiles import embed_tiles, load_encoder
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
    RunSettings,
    settings_with,
)
from slidenet.pipelines.tissue.segmenter import settings_of_folder
from slidenet.pipelines.tissue.tiler import Tiler
from slidenet.slide_encoders import RECIPES
from slidenet.stores import check_output_folder

if TYPE_CHECKING:
    import pandas


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
        return exit_code_of(self.stages)

    def table(self) -> str:
        """The status tables of the steps, and where everything lies."""
        tables = "\n\n".join(stage.table() for stage in self.stages)
        failed = [outcome.slide_id for stage in self.stages for outcome in stage.failed]
        verdict = f"Failed ({len(failed)}): {', '.join(failed)}. " if failed else ""
        return f"{tables}\n\n{verdict}Everything is in {self.out}; run.json says it for machines."

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per step and slide.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([{"verb": s.verb, **o.record()} for s in self.stages for o in s.outcomes])


@to_buckets
def run(
    slides: Slides,
    out: str | Path,
    settings: RunSettings | None = None,
    *,
    overwrite: bool = False,
    recursive: bool = False,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
    **keywords: Any,
) -> CohortReport:
    """Slides to slide embeddings: preprocess, embed-tiles and embed-slides in one go.

    A slide that fails in one step is left out of the next; the others go on.

    Args:
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder.
        settings: Those of the three steps.
        overwrite: Replace outputs made with other settings.
        recursive: Of a folder of slides, take those of its subfolders, too.
        fleet: Which of the slides this call takes.
        runner: Who does the work.
        **keywords: Fields of `RunSettings`.
    """
    settings = settings_with(RunSettings, settings, keywords)
    rows = rows_of(slides, reader=settings.reader, recursive=recursive)
    tiling, encoding = settings.step(PreprocessSettings), settings.step(EmbedTilesSettings)
    embedding = settings.step(EmbedSlidesSettings)
    # All of it now: a misspelt name or missing weights must not surface after hours of work.
    chosen, layout = fleet.share(rows), OutputLayout(Path(out))
    Tiler.of(settings_of_folder(tiling, layout, rows, overwrite=overwrite, quiet=True))
    slide_encoder = load_recipe(embedding)
    tile_encoder = load_encoder(encoding)
    check_feature_dim(slide_encoder, tile_encoder.feature_dim, tile_encoder.spec.name)
    check_output_folder(out)
    tile_encoder = settle_engine(tile_encoder, encoding, layout, overwrite=overwrite)
    reading = _reading(layout, rows, settings, overwrite)
    tiling = replace(tiling, reading=reading)
    name = tile_encoder.spec.name
    shared: dict[str, Any] = {"overwrite": overwrite, "runner": runner}

    def steps(rows: Sequence[SlideRow], fleet: FleetSettings) -> list[RunReport]:
        tiles = preprocess(rows, out, tiling, fleet=fleet, **shared)
        rows, all_of_them = tiles.rows_done(chosen), replace(fleet, shard=None)
        again = {**shared, "fleet": all_of_them}
        features = embed_tiles(rows, out, encoding, tile_encoder=tile_encoder, **again)
        rows = features.rows_done(rows)
        vectors = embed_slides(
            rows, out, embedding, encoder=name, slide_encoder=slide_encoder, **again
        )
        return [tiles, features, vectors]

    stages, left = steps(rows, fleet), len(rows) + 1
    # Who held a slide in one step may have died in the next one.
    while 0 < len(elsewhere := set[str]().union(*(s.elsewhere for s in stages))) < left:
        left = len(elsewhere)
        once_more = [row for row in chosen if row.slide_id in elsewhere]
        later = steps(once_more, replace(fleet, shard=None))
        stages = [one.followed_by(two) for one, two in zip(stages, later, strict=True)]
    return CohortReport(stages, Path(out))


def _reading(
    layout: OutputLayout, rows: Sequence[SlideRow], settings: RunSettings, overwrite: bool
) -> int:
    """How tiles are read: as asked, else as the tool does that the recipe copies."""
    asked, because = settings.reading, ""
    if asked is None and settings.recipe in RECIPES:
        copied = RECIPES[settings.recipe].reading
        if copied == BLENDED_READING:
            asked, because = copied, f", as the tool reads that the recipe {settings.recipe} copies"
    return reading_of_folder(layout, rows, asked, overwrite=overwrite, because=because)
