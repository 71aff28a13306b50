"""Where every file of an output folder lies. The one place that spells these paths."""

from dataclasses import dataclass
from pathlib import Path

RUN_REPORT_NAME = "run.json"


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Paths under one output folder.

    `tiles/`, `tissue/`, `overlays/` hold one file per slide; features lie in
    `tile_features/<encoder>/`, slide embeddings in `slide_embeddings/<encoder>/<recipe>/`.
    """

    root: Path

    def tiles(self, slide_id: str) -> Path:
        """The tile set of a slide."""
        return self.root / "tiles" / f"{slide_id}.h5"

    def tissue(self, slide_id: str) -> Path:
        """The tissue polygons of a slide, for QuPath."""
        return self.root / "tissue" / f"{slide_id}.geojson"

    def overlay(self, slide_id: str) -> Path:
        """The picture of a slide with its tissue contours and tiles."""
        return self.root / "overlays" / f"{slide_id}.jpg"

    def features(self, slide_id: str, encoder: str) -> Path:
        """The tile features of a slide."""
        return self.root / "tile_features" / _folder_name(encoder) / f"{slide_id}.h5"

    def engine(self, encoder: str) -> Path:
        """What ran the tile encoder, for all of its features."""
        return self.root / "tile_features" / _folder_name(encoder) / "engine.json"

    def slide_embedding(self, slide_id: str, encoder: str, recipe: str) -> Path:
        """The slide embedding of a slide."""
        folder = self.root / "slide_embeddings" / _folder_name(encoder) / _folder_name(recipe)
        return folder / f"{slide_id}.h5"

    @property
    def run_report(self) -> Path:
        """What the last run of each verb did, machine-readable."""
        return self.root / RUN_REPORT_NAME


def _folder_name(name: str) -> str:
    return name.replace("/", "--").replace(":", "--")
