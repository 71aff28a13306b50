"""The feature map of one slide: its picture, its table and the record that both are done."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.arrays import BoolArray, Float64Array, IntArray, row_blocks
from slidenet.core.errors import SlidenetError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.core.records import SlideRow
from slidenet.explanation.exports.geojson import TileClasses, write_tile_geojson
from slidenet.pipelines.cohort.layout import FeatureMapsLayout, OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.explaining.slide_maps import digest_of_features
from slidenet.pipelines.feature_space.looking import NOT_GIVEN, look_at, places_of
from slidenet.pipelines.objects.staging import is_at_hand
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import FeatureFile
from slidenet.stores.atomic import write_json
from slidenet.stores.csv_writing import write_csv
from slidenet.stores.feature_space import FeatureSpace
from slidenet.stores.json_file import read_json
from slidenet.stores.objects import shown_uri
from slidenet.stores.tile_maps import TileMap
from slidenet.tissue.regions.frames import qupath_origin
from slidenet.visualisation import component_colors, save_figure
from slidenet.visualisation.feature_space.palette import palette
from slidenet.visualisation.feature_space.slide import slide_figure

NUM_SHOWN = 3
UNPLACED = "No picture: its tile images have no places."
MISSING_RGB = (120, 120, 120)
_REMEDY = "delete it, or pass --overwrite"


@dataclass(frozen=True, eq=False)
class FeatureMapWork(SlideWork):
    """Draws one slide.

    Attributes:
        layout: Paths of the output folder.
        space: What colours and clusters mean.
        files: The features of each slide.
        failed: Why a slide has none.
        opening: How slides are opened.
        overwrite: Whether what was made of another space is replaced.
    """

    layout: OutputLayout
    space: FeatureSpace
    files: Mapping[str, FeatureFile]
    failed: Mapping[str, SlidenetError]
    opening: OpeningSettings
    overwrite: bool = False

    def claimed(self, row: SlideRow) -> Path:
        """The record of the slide."""
        return self.layout.feature_maps.record(row.slide_id)

    @property
    def time_limit_s(self) -> float | None:
        """See `SlideWork`."""
        return self.opening.slide_timeout

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Draws one slide, unless it is done with the same space and features."""
        if row.slide_id in self.failed:
            raise self.failed[row.slide_id]
        file, paths = self.files[row.slide_id], self.layout.feature_maps
        output = (paths.figure if file.placed else paths.table)(row.slide_id)
        identity: Identity = {
            "space": self.space.identity_hash,
            "features": digest_of_features(file),
        }
        looked_at = shown_uri(row.slide_path) if is_at_hand(row.slide_path) else ""
        if not self.overwrite and is_done(paths, row.slide_id, identity, looked_at):
            return SlideResult(output, "", file.num_tiles, already_done=True)
        with file:
            mask, scores = file.mask, self._scores(file)
            clusters = self.space.clusters(scores)
            write_csv(
                paths.table(row.slide_id),
                ["tile", "x", "y", "cluster", "pc1", "pc2", "pc3"],
                _table(file.coords, clusters, scores, mask),
            )
            missing = self._draw(row, file, scores, clusters, mask) if file.placed else UNPLACED
        shown = missing in ("", UNPLACED)
        counts = np.bincount(clusters[mask], minlength=self.space.num_clusters)
        record: dict[str, Any] = {
            "slide_id": row.slide_id,
            "identity": identity,
            "shown": shown,
            "looked_at": looked_at,
            "num_tiles": int(mask.sum()),
            "num_unreadable": int((~mask).sum()),
            "tiles_in_cluster": counts.tolist(),
            "mean_scores": scores[mask].mean(axis=0).tolist(),
        }
        write_json(paths.record(row.slide_id), record)
        most = int(counts.argmax())
        detail = f"{counts[most] / counts.sum():.0%} in cluster {most + 1}"
        if missing and missing != NOT_GIVEN:
            detail += f"; {missing}"
        return SlideResult(output, detail, file.num_tiles, num_unreadable=int((~mask).sum()))

    def _scores(self, file: FeatureFile) -> Float64Array:
        return np.concatenate([self.space.scores(block) for _, block in row_blocks(file.features)])

    def _draw(
        self,
        row: SlideRow,
        file: FeatureFile,
        scores: Float64Array,
        clusters: IntArray,
        mask: BoolArray,
    ) -> str:
        """Writes the picture of the slide, and its tiles for QuPath.

        Returns:
            Why the slide itself is not on it; "" where it is.
        """
        look = look_at(row, file, (), self.opening)
        space = self.space
        figure = slide_figure(
            places_of(row, file),
            component_colors(scores[:, :NUM_SHOWN], space.low, space.high),
            clusters,
            look.overview,
            mask=mask,
            num_clusters=space.num_clusters,
            explained=space.explained[:NUM_SHOWN],
            missing=look.missing,
        )
        paths = self.layout.feature_maps
        save_figure(figure, paths.figure(row.slide_id), dpi=150)
        write_tile_geojson(
            paths.objects(row.slide_id),
            replace(places_of(row, file), maps=_component_maps(scores, mask)),
            origin=None if look.properties is None else qupath_origin(look.properties),
            names=[f"pc{number}" for number in range(1, 1 + min(NUM_SHOWN, scores.shape[1]))],
            classes=_cluster_classes(clusters, mask, space.num_clusters),
        )
        return look.missing


def _component_maps(scores: Float64Array, mask: BoolArray) -> tuple[TileMap, ...]:
    """The first components as maps, which files for QuPath are made of."""
    values = np.where(mask[:, None], scores[:, :NUM_SHOWN], np.nan).astype(np.float32)
    return tuple(
        TileMap(of_one, f"component_{number}", "features", True, "distance", False)
        for number, of_one in enumerate(values.T, 1)
    )


def _cluster_classes(clusters: IntArray, mask: BoolArray, num_clusters: int) -> TileClasses:
    """Clusters as classes of QuPath; tiles that could not be read have one of their own."""
    colours = [(int(r), int(g), int(b)) for r, g, b in palette(num_clusters).tolist()]
    classes = [(f"cluster {number}", colour) for number, colour in enumerate(colours, 1)]
    return np.where(mask, clusters, num_clusters), [*classes, ("not readable", MISSING_RGB)]


def is_done(paths: FeatureMapsLayout, slide_id: str, identity: Identity, looked_at: str) -> bool:
    """Whether a slide has been drawn from this space and these features, as well as can be.

    Args:
        paths: Of the output folder.
        slide_id: The slide.
        identity: Of what is to be drawn.
        looked_at: Where the slide lies now; "" where there is none. One that could not be shown is
            tried again where another file is named.
    """
    path = paths.record(slide_id)
    if not path.is_file():
        return False
    record = read_json(path, remedy=_REMEDY, needs=("identity", "shown", "looked_at"))
    found = record["identity"]
    same = isinstance(found, dict) and identity_hash(found) == identity_hash(identity)
    as_well = bool(record["shown"]) or looked_at in ("", record["looked_at"])
    return same and as_well and paths.table(slide_id).is_file()


def read_records(paths: FeatureMapsLayout, space: FeatureSpace) -> dict[str, dict[str, Any]]:
    """What is known of the slides of a folder that were drawn from a space, by slide_id."""
    records = {}
    for path in sorted(paths.record("x").parent.glob("*.json")):
        if path.name.startswith("."):
            continue
        needs = ("slide_id", "identity", "num_tiles", "tiles_in_cluster", "mean_scores")
        record = read_json(path, remedy=_REMEDY, needs=needs)
        if record["identity"].get("space") == space.identity_hash:
            records[str(record["slide_id"])] = record
    return records


def _table(
    coords: IntArray, clusters: IntArray, scores: Float64Array, mask: BoolArray
) -> list[list[object]]:
    """Rows of the CSV; of tiles that could not be read only the place is known."""
    shown = np.full((len(scores), NUM_SHOWN), np.nan)
    shown[:, : min(NUM_SHOWN, scores.shape[1])] = scores[:, :NUM_SHOWN]
    rows: list[list[object]] = []
    for tile, ((x, y), cluster, values, real) in enumerate(
        zip(coords.tolist(), clusters.tolist(), shown.tolist(), mask.tolist(), strict=True)
    ):
        known = [cluster + 1, *(f"{v:.6g}" if v == v else "" for v in values)]
        rows.append([tile, x, y, *(known if real else ["", "", "", ""])])
    return rows
