"""Are the features sound: their norms, columns that say nothing, tiles that could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from slidenet.core.arrays import BoolArray, Float64Array
from slidenet.core.provenance import describe_difference
from slidenet.core.text import count_of, name_some
from slidenet.pipelines.reporting.cohort_files import UNREADABLE, CohortFound, line_of
from slidenet.stores import FeatureFile
from slidenet.visualisation.feature_health import norms_figure
from slidenet.visualisation.html import (
    Column,
    Html,
    Section,
    element,
    figure,
    listing,
    missing,
    note,
    paragraph,
    picture_of_figure,
    table,
)

MOST_SLIDES, MOST_ROWS = 200, 256
"""Sampled: reading all features of a large cohort would take hours."""

FAR_DEVIATIONS = 6.0
"""Slides whose median norm lies so many median absolute deviations from that of most."""

STILL = 1e-4
"""A column hardly varies whose deviation is below this share of the median column's."""


@dataclass(frozen=True, eq=False)
class FeatureHealth:
    """What a sample of the features of one encoder looks like.

    Attributes:
        slide_ids: Slides sampled, S.
        quantiles: float64 (S, 3), 5 %, 50 % and 95 % of the norms of readable tiles.
        num_rows: Tiles sampled.
        feature_dim: Length of a vector.
        dead: Columns with the same value in every tile sampled.
        still: Columns that hardly vary, dead ones included.
        num_zero: Tiles with the status ok and nothing but zeros.
        problems: Files that could not be read, a line each.
    """

    slide_ids: tuple[str, ...]
    quantiles: Float64Array
    num_rows: int
    feature_dim: int
    dead: int
    still: int
    num_zero: int
    problems: tuple[str, ...]

    @property
    def far(self) -> BoolArray:
        """Slides that lie far from the others, bool (S,)."""
        medians = self.quantiles[:, 1]
        if not len(medians):
            return np.zeros(0, np.bool_)
        apart = np.abs(medians - np.median(medians))
        spread = max(float(np.median(apart)), 1e-3 * float(np.median(np.abs(medians))))
        away: BoolArray = apart > FAR_DEVIATIONS * spread
        return away


def measure_features(files: Mapping[str, FeatureFile]) -> FeatureHealth:
    """Looks at a sample: slides spread over all, and two stretches of rows of each.

    Args:
        files: Of one encoder, by slide.
    """
    names = [name for name, file in files.items() if file.num_tiles]
    chosen = np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_SLIDES)).round())
    ids, quantiles, problems = list[str](), list[Float64Array](), list[str]()
    num_rows = num_zero = feature_dim = 0
    total = squares = shift = least = most = np.zeros(0)
    for place in tqdm(chosen, desc="features", unit=" slides", leave=False, disable=None):
        name = names[int(place)]
        try:
            rows = _sample(files[name])
        except UNREADABLE as error:
            problems.append(line_of(error))
            continue
        if not len(rows):
            continue
        if feature_dim and rows.shape[1] != feature_dim:
            problems.append(
                f"{files[name].path} has {rows.shape[1]} features per tile, others {feature_dim}"
            )
            continue
        if not feature_dim:
            feature_dim, shift = rows.shape[1], rows.mean(axis=0)
            total, squares = np.zeros(feature_dim), np.zeros(feature_dim)
            least, most = rows.min(axis=0), rows.max(axis=0)
        norms = np.linalg.norm(rows, axis=1)
        ids.append(name)
        quantiles.append(np.percentile(norms, (5, 50, 95)))
        num_rows += len(rows)
        num_zero += int(np.count_nonzero(norms == 0))
        total += (rows - shift).sum(axis=0)
        squares += np.square(rows - shift).sum(axis=0)
        least, most = np.minimum(least, rows.min(axis=0)), np.maximum(most, rows.max(axis=0))
    variance = squares / max(num_rows, 1) - np.square(total / max(num_rows, 1))
    deviation = np.sqrt(np.maximum(variance, 0))
    usual = float(np.median(deviation)) if feature_dim else 0.0
    return FeatureHealth(
        tuple(ids), np.asarray(quantiles).reshape(-1, 3), num_rows, feature_dim,
        int(np.count_nonzero(least == most)), int(np.count_nonzero(deviation <= STILL * usual)),
        num_zero, tuple(problems),
    )  # fmt: skip


def features_section(found: CohortFound) -> Section:
    """The features of every encoder that the folder holds."""
    title = "Features"
    if not found.encoders:
        gone = missing("features: `slidenet embed-tiles` makes them.")
        return Section("features", title, [gone], "no features")
    parts: list[Html] = []
    for encoder in found.encoders:
        files = {n: s.features[encoder] for n, s in found.slides.items() if encoder in s.features}
        parts += [element("h3", encoder), *_of_encoder(files)]
    return Section("features", title, parts)


def _of_encoder(files: Mapping[str, FeatureFile]) -> list[Html]:
    health = measure_features(files)
    if not health.num_rows:
        return [note("bad", "None of the features could be read."), listing(health.problems[:20])]
    sampled = (
        f"Looked at: {health.num_rows:,} tiles of {len(health.slide_ids):,} of "
        f"{count_of('slide', len(files))}, at most {MOST_ROWS} of each."
    )
    parts = [paragraph(f"{health.feature_dim:,} numbers per tile. {sampled}")]
    far = [n for n, away in zip(health.slide_ids, health.far, strict=True) if away]
    findings = [
        (bool(health.dead), f"{health.dead:,} of {health.feature_dim:,} columns have one value "
         "in all tiles looked at, and say nothing"),
        (health.still > health.dead, f"{health.still - health.dead:,} further columns hardly vary"),
        (bool(health.num_zero), f"{count_of('tile', health.num_zero)} with nothing but zeros, and "
         "not marked as unreadable"),
        (bool(far), f"{count_of('slide', len(far))} with norms far from those of the others: "
         f"{name_some(far)}; look at stain, focus and scanner"),
    ]  # fmt: skip
    told = [text for is_so, text in findings if is_so]
    told += _mixed(files)
    parts += [note("look", text) for text in told]
    if health.problems:
        parts += [note("bad", "Some files could not be read."), listing(health.problems[:20])]
    if not told and not health.problems:
        parts.append(note("good", "No dead columns, no zero vectors, no slide far from the rest."))
    drawn = norms_figure(health.quantiles, health.far)
    parts.append(
        figure(
            picture_of_figure(drawn),
            f"Norms of features of {len(health.slide_ids)} slides, medians from "
            f"{health.quantiles[:, 1].min():.3g} to {health.quantiles[:, 1].max():.3g}",
            "Norm of the features of a tile: median of each slide, and 5 % to 95 % of its tiles; "
            "dashed: the median of all.",
        )
    )
    return [*parts, *_unreadable(files)]


def _unreadable(files: Mapping[str, FeatureFile]) -> list[Html]:
    """Which slides lack tiles that could not be read, or that hold no bytes."""
    hurt = [(n, f) for n, f in files.items() if f.num_unreadable or f.num_empty]
    if not hurt:
        return [paragraph("Every tile of every slide could be read.")]
    hurt.sort(key=lambda item: -item[1].num_unreadable / max(item[1].num_tiles, 1))
    rows = [
        (n, f.num_tiles, f.num_unreadable, f.num_empty, f"{f.num_unreadable / f.num_tiles:.1%}")
        for n, f in hurt[:100]
    ]
    columns = [
        Column("slide"), Column("tiles", True), Column("unreadable", True),
        Column("stored empty", True), Column("share unreadable", True),
    ]  # fmt: skip
    caption = f"{count_of('slide', len(hurt))} with tiles that could not be read, the worst first"
    return [table(columns, rows, caption=caption)]


def _mixed(files: Mapping[str, FeatureFile]) -> list[str]:
    """Says so where the features of one folder were not all made alike."""
    first, *others = files.values()
    for file in others:
        difference = describe_difference(first.cohort_identity, file.cohort_identity)
        if difference:
            return [
                f"Features were not all made with the same settings: {file.slide_id} differs from "
                f"{first.slide_id} ({difference})"
            ]
    return []


def _sample(file: FeatureFile) -> Float64Array:
    """Features of readable tiles, two stretches of the file: rows are stored in blocks."""
    half = MOST_ROWS // 2
    middle = max(file.num_tiles // 2, half)
    with file:
        mask = file.mask
        parts = [file.features[:half], file.features[middle : middle + half]]
    kept = np.concatenate([mask[:half], mask[middle : middle + half]])
    rows: Float64Array = np.concatenate(parts)[kept].astype(np.float64)
    return rows
