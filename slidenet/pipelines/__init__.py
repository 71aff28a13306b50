"""Floor 7: one verb per file, as plain resumable functions.

`from slidenet.pipelines.run import run`, and so on: a verb is imported from its own file, so that
those which need no torch (info, preprocess, validate) start without it.
"""

from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.settings import (
    EmbedSlidesSettings,
    EmbedTilesSettings,
    PreprocessSettings,
    RunSettings,
)

__all__ = [
    "EmbedSlidesSettings",
    "EmbedTilesSettings",
    "FleetSettings",
    "PreprocessSettings",
    "RunSettings",
]
