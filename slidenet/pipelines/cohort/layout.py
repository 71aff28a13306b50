"""Where every file of an output folder lies. The one place that spells these paths."""

import hashlib
import re
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

    def tissue_record(self, slide_id: str) -> Path:
        """What was found on a slide and what was dropped, machine-readable."""
        return self.root / "tissue" / f"{slide_id}.json"

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

    def explanations(self, *, compare: bool = False, number: int = 1) -> "ExplanationLayout":
        """What is made of a model's maps.

        Args:
            compare: Of all methods that apply, side by side.
            number: Of the feature set, counted from 1.
        """
        root = self.root / "explanations"
        root = root / "compare" if compare else root
        return ExplanationLayout(root if number == 1 else root / f"features_{number}")

    @property
    def feature_maps(self) -> "FeatureMapsLayout":
        """What features look like, without any model."""
        return FeatureMapsLayout(self.root / "feature_maps")

    def neighbours(self, slide_id: str, query: str, suffix: str) -> Path:
        """What is nearest to a slide or to one of its tiles.

        Args:
            slide_id: The slide asked about.
            query: What of it.
            suffix: Of the file.
        """
        return self.root / "neighbours" / slide_id / f"{query}{suffix}"

    @property
    def tissue_table(self) -> Path:
        """What was found on every slide, the most doubtful first."""
        return self.root / "tissue.csv"

    @property
    def contact_sheet(self) -> Path:
        """The overlays of all slides on one page, the most doubtful first."""
        return self.root / "overlays" / "index.html"

    @property
    def tile_images(self) -> Path:
        """Where tiles are exported to unless another folder is named."""
        return self.root / "tile_images"

    @property
    def run_report(self) -> Path:
        """What last happened to each slide in each verb, machine-readable."""
        return self.root / RUN_REPORT_NAME

    @property
    def runs(self) -> Path:
        """What each process did, one file per process and verb; `run.json` is made of them."""
        return self.root / "runs"


@dataclass(frozen=True, slots=True)
class ExplanationLayout:
    """Paths of the maps of slides, and of what is made of them: a folder per format.

    The first map of a slide is `FORMAT/SLIDE_ID.ext`, further ones lie in `FORMAT/more/SLIDE_ID/`.
    """

    root: Path

    def maps(self, slide_id: str) -> Path:
        """All maps of a slide."""
        return self.root / "h5" / f"{slide_id}.h5"

    def export(self, kind: str, slide_id: str, suffix: str) -> Path:
        """What is made of the maps of a slide in one format."""
        return self.root / kind / f"{slide_id}{suffix}"

    def further(self, kind: str, slide_id: str, name: str, suffix: str) -> Path:
        """The same of a map that is not the first.

        Args:
            kind: The format.
            slide_id: The slide.
            name: Of the map; other signs than letters, digits, - and _ become _, and a digest keeps
                names apart that were other ones ("ER+" and "ER-", or both in Greek).
            suffix: Of the file.
        """
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:80]
        if safe != name:
            safe += f"-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
        return self.root / kind / "more" / slide_id / f"{safe}{suffix}"

    def made(self, slide_id: str) -> Path:
        """Which files were made of which maps of a slide, and how."""
        return self.root / "made" / f"{slide_id}.json"

    @property
    def agreement_table(self) -> Path:
        """How alike the methods are, on every slide."""
        return self.root / "agreement.csv"


@dataclass(frozen=True, slots=True)
class FeatureMapsLayout:
    """Paths of what `slidenet feature-maps` writes."""

    root: Path

    @property
    def space(self) -> Path:
        """What colours and clusters mean on every slide."""
        return self.root / "feature_space.safetensors"

    def figure(self, slide_id: str) -> Path:
        """The slide in the colours of its features and in its clusters."""
        return self.root / "figures" / f"{slide_id}.png"

    def table(self, slide_id: str) -> Path:
        """Components and cluster of every tile."""
        return self.root / "csv" / f"{slide_id}.csv"

    def objects(self, slide_id: str) -> Path:
        """The same for QuPath."""
        return self.root / "geojson" / f"{slide_id}.geojson"

    def record(self, slide_id: str) -> Path:
        """What was made of a slide, machine-readable; written last."""
        return self.root / "slides" / f"{slide_id}.json"

    def cohort(self, name: str) -> Path:
        """A table or a picture of the whole cohort, by its file name."""
        return self.root / name


def _folder_name(name: str) -> str:
    return name.replace("/", "--").replace(":", "--")
