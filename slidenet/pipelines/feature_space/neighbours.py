"""`slidenet neighbours`: what else in a cohort looks like a slide, or like a tile of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from slidenet.core.arrays import Float64Array, IntArray
from slidenet.core.checks import check_choice, check_whole
from slidenet.core.errors import ConfigError, EmptyTissueError, SlidenetError, StoreError
from slidenet.core.extras import data_frame
from slidenet.core.text import count_of, name_some, text_table
from slidenet.explanation.feature_space.neighbours import nearest_slides, nearest_tiles
from slidenet.explanation.feature_space.sample import sample_cohort
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.slides import Slides
from slidenet.pipelines.feature_space.cohort import FeatureCohort, GivenFeatures, open_cohort
from slidenet.pipelines.feature_space.neighbour_pictures import draw_neighbours
from slidenet.pipelines.feature_space.queries import Query, tiles_asked
from slidenet.pipelines.feature_space.reading import CohortReading
from slidenet.pipelines.progress.display import Mode, display_of
from slidenet.pipelines.settings import OpeningSettings, divide_keywords, settings_with
from slidenet.stores import check_output_folder, read_slide_embeddings
from slidenet.stores.csv_writing import write_csv

if TYPE_CHECKING:
    import pandas

Excluded = Literal["tile", "slide", "patient"]


@dataclass(frozen=True, kw_only=True)
class NeighboursSettings:
    """What is asked, and what counts as near.

    Args:
        tile: Rows of tiles in the features of the slide, from 0, as tables of slidenet name them;
            several are separated by commas.
        place: Places on the slide instead, x,y in level-0 pixels: the tiles around them.
        num: How many neighbours.
        exclude: What may not be near: tile (only the tile asked about), slide (anything of its
            slide), or patient (anything of its patient, as the table of slides says).
        per_slide: Most neighbours from one slide; default: any number.
        embeddings: Folder of slide embeddings, to compare slides by; default: the mean of their
            tile features.
        pictures: Draw what was found, where slides are given.
    """

    tile: list[int] | None = None
    place: list[int] | None = None
    num: int = 12
    exclude: Excluded = "slide"
    per_slide: int | None = None
    embeddings: Path | None = None
    pictures: bool = True


@dataclass(frozen=True, eq=False)
class NeighboursReport:
    """What is near, and where it is written.

    Attributes:
        queries: One per tile asked about, or that of the slide.
        found: Of each query the rows of its table.
        folder: Holds the tables and pictures.
        notes: What to know, a line each.
        failed: Slides that could not be looked at.
    """

    queries: Sequence[Query]
    found: Sequence[Sequence[Mapping[str, Any]]]
    folder: Path
    notes: Sequence[str]
    failed: Mapping[str, SlidenetError]

    @property
    def exit_code(self) -> int:
        """1 when a slide could not be looked at, else 0."""
        return 1 if self.failed else 0

    def table(self) -> str:
        """What is near, query by query."""
        parts = []
        for query, rows in zip(self.queries, self.found, strict=True):
            what = "" if query.tile is None else f"tile {query.tile} of "
            names = [n for n in ("rank", "slide_id", "patient_id", "tile", "x", "y", "cosine")
                     if rows and n in rows[0]]  # fmt: skip
            cells = [
                [f"{row[n]:.4f}" if n == "cosine" else str(row[n]) for n in names] for row in rows
            ]
            right = [names.index(n) for n in names if n not in ("slide_id", "patient_id")]
            text = text_table(names, cells, right=right) if rows else "nothing is near"
            parts.append(f"nearest to {what}{query.slide_id}\n{text}")
        return "\n\n".join([*parts, "\n".join([*self.notes, f"wrote {self.folder}"])])

    def to_pandas(self) -> "pandas.DataFrame":
        """The rows of all tables, one below the other.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([row for rows in self.found for row in rows])


def neighbours(
    features: str | Path,
    out: str | Path,
    slide: str,
    settings: NeighboursSettings | None = None,
    given: GivenFeatures | None = None,
    *,
    slides: Slides | None = None,
    patient_column: str | None = None,
    opening: OpeningSettings | None = None,
    progress: Mode = "auto",
    **keywords: Any,
) -> NeighboursReport:
    """Find the tiles of a cohort that are most like a tile, or the slides most like a slide.

    Alike is what has a large cosine similarity of features. Writes a table and a picture per query
    to `neighbours/SLIDE_ID/` under `out`. Features are read in blocks, so a cohort of any size will
    do.

    Args:
        features: Folder of features, one file per slide, or an output folder that holds one.
        out: Output folder.
        slide: The slide_id asked about; with tile or place a tile of it, else the slide as a whole.
        settings: What is asked, and what counts as near.
        given: What files of other tools do not say.
        slides: Manifest slides.csv, or a folder of slides: for pictures, patients and labels.
        patient_column: Column of the manifest that says whose slide it is.
        opening: Where slides are opened and what they may cost.
        progress: How it tells on stderr how far it is: bar, log, json, none; auto: bar in a
            terminal, else log.
        **keywords: Fields of `NeighboursSettings`, `GivenFeatures` and `OpeningSettings`.
    """
    kinds = (NeighboursSettings, GivenFeatures, OpeningSettings)
    names = ("settings", "given", "opening")
    parts = divide_keywords(
        keywords,
        {n: ({}, [f.name for f in fields(k)]) for n, k in zip(names, kinds, strict=True)},
    )
    settings = settings_with(NeighboursSettings, settings, parts["settings"])
    given = settings_with(GivenFeatures, given, parts["given"])
    opening = settings_with(OpeningSettings, opening, parts["opening"])
    opening.how_to_open()
    check_whole(num=settings.num)
    check_whole(per_slide=settings.per_slide, or_none=True)
    check_choice(get_args(Excluded), exclude=settings.exclude)
    display = display_of(progress)
    cohort = open_cohort(features, slides, given, patient_column=patient_column)
    cohort.row(slide)
    asked = tiles_asked(cohort.files[slide], settings.tile, settings.place)
    if settings.embeddings is not None and len(asked):
        raise ConfigError(
            "--embeddings with tiles", expected="--embeddings where slides are compared"
        )
    layout = OutputLayout(check_output_folder(out))
    left_out = _left_out(cohort, slide, settings.exclude)
    with CohortReading("neighbours", len(cohort.files), display) as reading:
        if len(asked):
            queries = _near_tiles(cohort, slide, asked, settings, left_out, reading)
        else:
            queries = [_near_slides(cohort, slide, settings, left_out, reading)]
    failed = {
        slide_id: error
        for slide_id, error in {**cohort.failed, **reading.failed}.items()
        if not isinstance(error, EmptyTissueError)
    }
    notes = _notes(cohort, failed, settings.exclude, slide)
    found = [query.rows(cohort) for query in queries]
    for query, rows in zip(queries, found, strict=True):
        path = layout.neighbours(slide, query.name, ".csv")
        header = list(dict.fromkeys(name for row in rows for name in row)) or ["query_slide_id"]
        write_csv(path, header, [[row.get(name, "") for name in header] for row in rows])
        if settings.pictures:
            picture = layout.neighbours(slide, query.name, ".png")
            notes += draw_neighbours(picture, query, cohort, opening)
    return NeighboursReport(queries, found, path.parent, list(dict.fromkeys(notes)), failed)


def _left_out(cohort: FeatureCohort, slide: str, exclude: Excluded) -> set[str]:
    """The slides of which nothing may be near."""
    if exclude == "tile":
        return set()
    if exclude == "slide":
        return {slide}
    patient = cohort.row(slide).patient_id
    if patient is None:
        raise ConfigError(
            f"exclude is 'patient', and the patient of slide {slide!r} is not known",
            expected="a table of slides that says it",
            remedy="give --slides with a column patient_id, or name the column with "
            "--patient-column",
        )
    return {row.slide_id for row in cohort.rows if row.patient_id == patient} | {slide}


def _near_tiles(
    cohort: FeatureCohort,
    slide: str,
    asked: IntArray,
    settings: NeighboursSettings,
    left_out: set[str],
    reading: CohortReading,
) -> list[Query]:
    file = cohort.files[slide]
    order = np.argsort(asked)  # files are read by increasing rows
    wanted = np.empty((len(asked), file.feature_dim), np.float32)
    wanted[order] = file.features[asked[order].tolist()]
    zero = asked[~wanted.any(axis=1)]
    if len(zero):
        raise ConfigError(
            f"all features of tile {zero[0]} of {slide!r} are zero, so that it is like nothing",
            expected="a tile with features",
        )
    found = nearest_tiles(
        wanted,
        cohort.files,
        num=settings.num,
        left_out=left_out.__contains__,
        itself=(slide, asked),
        per_slide=settings.per_slide,
        ended=reading,
    )
    slide_ids = list(cohort.files)
    places: dict[int, Any] = {}
    queries = []
    for tile, nearest in zip(asked.tolist(), found, strict=True):
        for place in nearest.slide.tolist():
            places.setdefault(place, cohort.files[slide_ids[place]].coords)
        pairs = zip(nearest.slide.tolist(), nearest.tile.tolist(), strict=True)
        coords = np.array([places[s][t] for s, t in pairs], np.int64).reshape(-1, 2)
        queries.append(Query(f"tile_{tile}", slide, tile, nearest, slide_ids, coords))
    return queries


def _near_slides(
    cohort: FeatureCohort,
    slide: str,
    settings: NeighboursSettings,
    left_out: set[str],
    reading: CohortReading,
) -> Query:
    slide_ids, vectors = _slide_vectors(cohort, settings.embeddings, reading)
    if slide not in slide_ids:
        if slide in reading.failed:
            raise reading.failed[slide].with_slide(slide)
        raise StoreError(
            f"{settings.embeddings} holds no embedding of this slide",
            expected=f"one of {name_some(slide_ids)}",
            slide=slide,
        )
    query = vectors[slide_ids.index(slide)]
    hidden = np.array([name in left_out or name == slide for name in slide_ids])
    nearest = nearest_slides(query, vectors, num=settings.num, left_out=hidden)
    return Query("slide", slide, None, nearest, slide_ids, None)


def _slide_vectors(
    cohort: FeatureCohort, embeddings: Path | None, reading: CohortReading
) -> tuple[list[str], Float64Array]:
    """A vector per slide of the cohort: its embedding, or the mean of its tile features."""
    if embeddings is None:
        sample = sample_cohort(cohort.files, max_tiles=1, ended=reading)
        return list(sample.slide_ids), sample.means
    names, matrix = read_slide_embeddings(embeddings)
    kept = [i for i, name in enumerate(names) if name in cohort.files]
    return [names[i] for i in kept], matrix[kept].astype(np.float64)


def _notes(
    cohort: FeatureCohort, failed: Mapping[str, SlidenetError], exclude: Excluded, slide: str
) -> list[str]:
    notes = []
    if failed:
        name, error = next(iter(failed.items()))
        notes.append(
            f"warning: {count_of('slide', len(failed))} left out: {name_some(failed)} "
            f"({name}: {error.found})"
        )
    unknown = sum(row.patient_id is None for row in cohort.rows if row.slide_id != slide)
    if exclude == "patient" and unknown:
        notes.append(f"{count_of('slide', unknown)} of unknown patients count as of other patients")
    return notes
