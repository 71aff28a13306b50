"""Floor 6: one verb per file, as plain resumable functions."""

from slidenet.pipelines.cohort import Made, Progress, run_cohort
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.run import CohortReport, run
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
)

__all__ = [
    "CohortReport",
    "EmbedSlidesSettings",
    "EmbedTilesSettings",
    "Made",
    "PreprocessSettings",
    "Progress",
    "embed_slides",
    "embed_tiles",
    "preprocess",
    "run",
    "run_cohort",
]
