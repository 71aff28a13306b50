"""The cohort as a whole: tiles and slides laid out on a plane, and what the clusters look like."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from slidenet.core.arrays import BLOCK_ROWS, Float64Array, IntArray
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity, identity_hash
from slidenet.core.text import count_of
from slidenet.core.vocabulary import as_number, is_missing
from slidenet.explanation.feature_space.projection import WORDS, Projection, project, used
from slidenet.explanation.feature_space.sample import CohortSample
from slidenet.pipelines.cohort.layout import FeatureMapsLayout
from slidenet.pipelines.feature_space.cohort import FeatureCohort, labels_beside
from slidenet.pipelines.feature_space.looking import NOT_GIVEN, look_at
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores.csv_writing import write_csv
from slidenet.stores.feature_space import FeatureSpace
from slidenet.visualisation import component_colors, save_figure
from slidenet.visualisation.feature_space.palette import palette
from slidenet.visualisation.feature_space.scatter import (
    Colouring,
    coloured_by_group,
    coloured_by_number,
    layout_figure,
    middles,
)
from slidenet.visualisation.feature_space.tile_rows import TilePicture, TileRow, rows_figure
from slidenet.visualisation.style import short_name

TILES, SLIDES, CLUSTERS = "tiles", "slides", "clusters"
TILES_PER_CLUSTER = 6
MOST_NAMED = 40
"""So many slides bear their names in their picture."""
NOT_SAID = (
    "Points that lie together are alike; how far groups lie apart, and how large they are, says "
    "nothing."
)


@dataclass(frozen=True, eq=False)
class CohortDrawer:
    """Draws what is about the whole cohort.

    Attributes:
        paths: Of the output folder.
        cohort: The slides and their features.
        space: What colours and clusters mean.
        projection: How tiles and slides are laid out.
        seed: Of the layout.
        colour_by: Column of the table of slides by which slides are coloured.
    """

    paths: FeatureMapsLayout
    cohort: FeatureCohort
    space: FeatureSpace
    projection: Projection
    seed: int
    colour_by: str | None = None

    def draw_tiles(self, sample: CohortSample) -> None:
        """Writes tiles.csv and tiles.png."""
        scores = self._scores(sample)
        clusters = self.space.clusters(scores)
        points = project(scores, self.projection, seed=self.seed)
        header = ["slide_id", "tile", "x", "y", "cluster", *self._axes(len(points))]
        rows = [
            [sample.slide_ids[slide], tile, x, y, cluster + 1, f"{u:.6g}", f"{v:.6g}"]
            for slide, tile, (x, y), cluster, (u, v) in zip(
                *(a.tolist() for a in (sample.slide, sample.tile, sample.coords, clusters, points)),
                strict=True,
            )
        ]
        write_csv(self.paths.cohort(f"{TILES}.csv"), header, rows)
        names = [str(number + 1) for number in clusters.tolist()]
        order = [str(number + 1) for number in range(self.space.num_clusters)]
        grouped = coloured_by_group("by cluster", names, order=order)
        space = self.space
        shades = component_colors(scores[:, :3], space.low, space.high)
        colourings = [
            Colouring(grouped.title, grouped.rgb, grouped.key, middles(points, names)),
            Colouring("by components 1, 2, 3 as RGB, as on the slides", shades),
        ]
        drawn = f"{len(points):,} of {int(sample.num_tiles.sum()):,} tiles"
        note = self._note(len(points), f"{drawn} of {count_of('slide', len(sample.slide_ids))}")
        figure = layout_figure(points, colourings, title="Tiles of the cohort", note=note)
        save_figure(figure, self.paths.cohort(f"{TILES}.png"), dpi=150)

    def draw_slides(self, records: dict[str, dict[str, Any]]) -> None:
        """Writes slides.csv and slides.png; of three slides or fewer the table only.

        Args:
            records: What is known of each slide.
        """
        rows = [row for row in self.cohort.rows if row.slide_id in records]
        found = [records[row.slide_id] for row in rows]
        counts = np.array([one["tiles_in_cluster"] for one in found], np.float64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        means = np.array([one["mean_scores"] for one in found], np.float64)
        drawn = len(rows) > 3 and self.projection != "none"
        points = np.full((len(rows), 2), np.nan)
        if drawn:
            points = project(_principal(means), self.projection, seed=self.seed)
        clusters = [f"cluster_{number + 1}" for number in range(self.space.num_clusters)]
        header = ["slide_id", "patient_id", "num_tiles", *clusters]
        header += self._axes(len(rows)) if drawn else []
        labels = [labels_beside(row, header) for row in rows]
        names = list(dict.fromkeys(name for of_slide in labels for name in of_slide))
        table = [
            [row.slide_id, row.patient_id or "", one["num_tiles"], *(f"{s:.4f}" for s in share)]
            + ([f"{x:.6g}" for x in point] if drawn else [])
            + [of_slide.get(name, "") for name in names]
            for row, of_slide, one, share, point in zip(
                rows, labels, found, shares, points.tolist(), strict=True
            )
        ]
        write_csv(self.paths.cohort(f"{SLIDES}.csv"), [*header, *names], table)
        if not drawn:
            return
        main = [str(number + 1) for number in shares.argmax(axis=1).tolist()]
        order = [str(number + 1) for number in range(self.space.num_clusters)]
        grouped = coloured_by_group("by the cluster with most of its tiles", main, order=order)
        if len(rows) <= MOST_NAMED:
            placed = zip(points.tolist(), rows, strict=True)
            labels_at = [(*point, short_name(row.slide_id)) for point, row in placed]
            grouped = replace(grouped, labels=labels_at, names_points=True)
        colourings = [grouped]
        if self.colour_by is not None:
            cells = [row.labels.get(self.colour_by, "").strip() for row in rows]
            colourings.append(_coloured_by_column(self.colour_by, cells))
        note = self._note(len(rows), f"the mean features of {count_of('slide', len(rows))}")
        figure = layout_figure(points, colourings, title="Slides of the cohort", note=note)
        save_figure(figure, self.paths.cohort(f"{SLIDES}.png"), dpi=150)

    def draw_clusters(self, sample: CohortSample, opening: OpeningSettings) -> str:
        """Writes clusters.png: tiles near the middle of each cluster, of as many slides as can be.

        Returns:
            Why there is none; "" where there is.
        """
        scores = self._scores(sample)
        clusters = self.space.clusters(scores)
        chosen = {
            number: _typical(sample, scores, clusters, number, self.space.centres[number])
            for number in range(self.space.num_clusters)
        }
        looks: dict[int, Any] = {}
        for slide in np.unique(sample.slide[np.concatenate(list(chosen.values()))]).tolist():
            row = self.cohort.row(sample.slide_ids[slide])
            wanted = [
                int(sample.tile[i])
                for ours in chosen.values()
                for i in ours
                if sample.slide[i] == slide
            ]
            file = self.cohort.files[row.slide_id]
            looks[slide] = look_at(row, file, wanted, opening)
        if not any(look.tiles for look in looks.values()):
            return next((look.missing for look in looks.values() if look.missing), NOT_GIVEN)
        colours, rows = palette(self.space.num_clusters) / 255, []
        shares = np.bincount(clusters, minlength=self.space.num_clusters) / len(clusters)
        for number, ours in chosen.items():
            pictures = [
                TilePicture(
                    looks[int(sample.slide[i])].tiles.get(int(sample.tile[i])),
                    [
                        sample.slide_ids[sample.slide[i]],
                        "{:,}, {:,}".format(*sample.coords[i].tolist()),
                    ],
                )
                for i in ours.tolist()
            ]
            title = f"Cluster {number + 1}: {shares[number]:.1%} of the tiles drawn"
            rows.append(TileRow(title, pictures, tuple(colours[number].tolist())))
        note = (
            "Tiles nearest to the middle of each cluster, from different slides where there are "
            "enough; below each its slide and its upper left corner in level-0 pixels."
        )
        figure = rows_figure(rows, title="What the clusters look like", note=note)
        save_figure(figure, self.paths.cohort(f"{CLUSTERS}.png"), dpi=150)
        return ""

    def identity(self, **about: Any) -> Identity:
        """What decides a drawing of the cohort."""
        return {
            "space": self.space.identity_hash,
            "projection": self.projection,
            "seed": self.seed,
            **about,
        }

    def slides_identity(self, records: dict[str, dict[str, Any]]) -> Identity:
        """What decides the table and picture of slides."""
        rows = {row.slide_id: [row.patient_id, dict(row.labels)] for row in self.cohort.rows}
        known: Identity = {"records": records, "rows": rows}
        return self.identity(colour_by=self.colour_by, slides=identity_hash(known))

    def _scores(self, sample: CohortSample) -> Float64Array:
        return np.concatenate(
            [
                self.space.scores(sample.features[start : start + BLOCK_ROWS])
                for start in range(0, len(sample), BLOCK_ROWS)
            ]
        )

    def _axes(self, num_points: int) -> list[str]:
        name = used(self.projection, num_points)
        return [f"{name}_1", f"{name}_2"]

    def _note(self, num_points: int, what: str) -> str:
        method = used(self.projection, num_points)
        words = f"{WORDS[method][0].upper()}{WORDS[method][1:]} of {what}"
        if method != self.projection:
            words += f" (too few points for {WORDS[self.projection]})"
        return f"{words}." if method == "pca" else f"{words}. {NOT_SAID}"


def check_column(cohort: FeatureCohort, column: str | None) -> None:
    """Refuses a column that the table of slides has not.

    Raises:
        ConfigError: Naming those that it has.
    """
    names = list(dict.fromkeys(name for row in cohort.rows for name in row.labels))
    if column is not None and column not in names:
        raise ConfigError(
            f"colour_by is {column!r}",
            expected=f"one of {', '.join(map(repr, names))}"
            if names
            else "no column: none is known without a table of slides (--slides)",
        )


def _coloured_by_column(name: str, cells: Sequence[str]) -> Colouring:
    """By number where all cells that say something are numbers, and more than a few."""
    known = [cell for cell in cells if not is_missing(cell)]
    values = np.array([as_number(cell) for cell in cells], np.float64)
    if known and np.isfinite(values).sum() == len(known) and len(set(known)) > 6:
        return coloured_by_number(f"by {name}", values)
    return coloured_by_group(f"by {name}", [None if is_missing(c) else c for c in cells])


def _principal(means: Float64Array) -> Float64Array:
    """Means of slides by their own principal components: (S, P), the widest first."""
    centred = means - means.mean(axis=0)
    left, singular, axes = np.linalg.svd(centred, full_matrices=False)
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
    return np.asarray(left * singular * np.where(largest < 0, -1.0, 1.0))


def _typical(
    sample: CohortSample,
    scores: Float64Array,
    clusters: IntArray,
    number: int,
    centre: Float64Array,
) -> IntArray:
    """Tiles of the sample near the middle of a cluster: one of each slide, then further ones."""
    own = np.flatnonzero(clusters == number)
    own = own[np.argsort(((scores[own] - centre) ** 2).sum(axis=1), kind="stable")]
    _, first = np.unique(sample.slide[own], return_index=True)
    of_each = own[np.sort(first)][:TILES_PER_CLUSTER]
    rest = own[~np.isin(own, of_each)][: TILES_PER_CLUSTER - len(of_each)]
    return np.concatenate([of_each, rest])
