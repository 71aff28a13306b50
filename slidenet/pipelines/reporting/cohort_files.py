"""What an output folder holds of every slide, whole or half-finished, without a word too much.

Nothing here is believed: `run.json` and the files beside it may be of an older version, cut short
or put there by somebody. What cannot be read is told in one line and left out; the others go on.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slidenet.core.errors import FAULTS, SlidenetError, fault_of
from slidenet.core.provenance import Identity
from slidenet.core.records import TileGeometry
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.tissue.record import TissueRecord
from slidenet.stores import FeatureFile, open_features, read_tile_set
from slidenet.stores.json_file import read_json

UNREADABLE = (SlidenetError, *FAULTS)
"""What reading a file may raise: it is damaged, gone since it was listed, or not ours to read."""
REMEDY = "run the verb again, which writes it anew"


@dataclass(frozen=True, slots=True)
class TilesFound:
    """What is known of the tiles of a slide.

    Attributes:
        num_tiles: How many.
        geometry: How they lie.
        doubt: How unsure the segmenter was, from 0 to 1; None where it does not say.
        identity: What chose them.
        read_again: Whether places of the slide could not be read.
    """

    num_tiles: int
    geometry: TileGeometry
    doubt: float | None
    identity: Identity
    read_again: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `run.json` says of a slide in one verb; every text may be anything.

    Attributes:
        status: done, already done, failed, in progress elsewhere.
        detail: What was made, or why it failed.
        traceback: Of an error nobody foresaw; "" for none.
        seconds: Wall time; None where it is no number.
    """

    status: str
    detail: str
    traceback: str
    seconds: float | None


@dataclass(slots=True)
class SlideFound:
    """All that an output folder holds of one slide.

    Attributes:
        slide_id: The slide.
        tiles: Its tiles; None where there are none yet.
        record: What was found on it; None where nothing says so.
        features: Its features, by the folder of the encoder.
        outcomes: By verb.
        num_embeddings: Slide embeddings.
    """

    slide_id: str
    tiles: TilesFound | None = None
    record: TissueRecord | None = None
    features: dict[str, FeatureFile] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    num_embeddings: int = 0

    @property
    def failed_in(self) -> list[str]:
        """The verbs in which it failed."""
        return [verb for verb, found in self.outcomes.items() if found.status == "failed"]

    @property
    def doubt(self) -> float | None:
        """How unsure the tissue is."""
        if self.record is not None and self.record.doubt is not None:
            return self.record.doubt
        return None if self.tiles is None else self.tiles.doubt

    @property
    def num_unreadable(self) -> int:
        """Tiles of its features whose pixels could not be read."""
        return max((file.num_unreadable for file in self.features.values()), default=0)


@dataclass(frozen=True)
class CohortFound:
    """What an output folder holds.

    Attributes:
        layout: Its paths.
        slides: By slide_id, in that order.
        stages: What `run.json` says of each verb: settings, started, seconds.
        versions: Of software, as `run.json` says.
        problems: What could not be read, a line each.
    """

    layout: OutputLayout
    slides: Mapping[str, SlideFound]
    stages: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]
    problems: tuple[str, ...]

    @cached_property
    def encoders(self) -> tuple[str, ...]:
        """Folders of features, those with most slides first."""
        counts: dict[str, int] = {}
        for slide in self.slides.values():
            for name in slide.features:
                counts[name] = counts.get(name, 0) + 1
        return tuple(sorted(counts, key=lambda name: (-counts[name], name)))

    @cached_property
    def tiled(self) -> dict[str, TilesFound]:
        """The slides that have tiles."""
        return {n: s.tiles for n, s in self.slides.items() if s.tiles is not None}


def read_cohort(layout: OutputLayout) -> CohortFound:
    """Reads what there is; headers only, but for tiles, which are proved by their digests."""
    slides: dict[str, SlideFound] = {}
    problems: list[str] = []

    def slide(name: str) -> SlideFound:
        return slides.setdefault(name, SlideFound(name))

    files = _files(layout.tiles("x").parent, ".h5", problems)
    for path in tqdm(files, desc="report", unit=" slides", leave=False, disable=None):
        try:
            tile_set = read_tile_set(path)
        except UNREADABLE as error:
            problems.append(line_of(error))
            slide(path.stem)
            continue
        slide(path.stem).tiles = TilesFound(
            tile_set.num_tiles,
            tile_set.geometry,
            tile_set.tissue_doubt,
            tile_set.identity,
            tile_set.read_again,
        )
    for path in _files(layout.tissue_record("x").parent, ".json", problems):
        try:
            slide(path.stem).record = TissueRecord.read(path)
        except UNREADABLE as error:
            problems.append(line_of(error))
    for folder in _folders(layout.root / "tile_features", problems):
        for path in _files(folder, ".h5", problems):
            try:
                slide(path.stem).features[folder.name] = open_features(path)
            except UNREADABLE as error:
                problems.append(line_of(error))
    for encoder in _folders(layout.root / "slide_embeddings", problems):
        for folder in _folders(encoder, problems):
            for path in _files(folder, ".h5", problems):
                slide(path.stem).num_embeddings += 1
    stages, versions = _run_report(layout, problems)
    for verb, stage in stages.items():
        for name, outcome in _outcomes(stage):
            slide(name).outcomes[verb] = outcome
    ordered = {name: slides[name] for name in sorted(slides)}
    return CohortFound(layout, ordered, stages, versions, tuple(problems))


def _run_report(
    layout: OutputLayout, problems: list[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Stages and versions of `run.json`; what is no such thing in it is left out."""
    if not layout.run_report.is_file():
        return {}, {}
    try:
        found = read_json(layout.run_report, needs=("stages",), remedy=REMEDY)
    except UNREADABLE as error:
        problems.append(line_of(error))
        return {}, {}
    stages, versions = found["stages"], found.get("versions")
    if not isinstance(stages, dict):
        problems.append(f"{layout.run_report}: its stages are no object")
        stages = {}
    kept: dict[str, Mapping[str, Any]] = {
        str(verb): stage for verb, stage in stages.items() if isinstance(stage, dict)
    }
    listed = versions.items() if isinstance(versions, dict) else ()
    software = {str(name): str(version) for name, version in listed}
    if "python" in found:
        software = {"python": str(found["python"]), **software}
    return kept, software


def _outcomes(stage: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
    records = stage.get("slides")
    for record in records if isinstance(records, list) else ():
        if isinstance(record, dict) and "slide_id" in record:
            yield (
                str(record["slide_id"]),
                Outcome(
                    str(record.get("status", "not said")),
                    str(record.get("detail") or ""),
                    str(record.get("traceback") or ""),
                    number_of(record.get("seconds")),
                ),
            )


def number_of(value: object) -> float | None:
    """A value of somebody's file as a number; None where it is none, or beyond all reason."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e15 else None


def line_of(error: BaseException) -> str:
    """What is wrong with a file, in one line that says what to do."""
    fault = None if isinstance(error, SlidenetError) else fault_of(error)
    return str(error if fault is None else fault)


def _files(folder: Path, suffix: str, problems: list[str]) -> list[Path]:
    """Finished files of a folder; what begins with a dot belongs to a process."""
    return _listed(folder, lambda path: path.suffix == suffix and path.is_file(), problems)


def _folders(folder: Path, problems: list[str]) -> list[Path]:
    return _listed(folder, Path.is_dir, problems)


def _listed(folder: Path, fits: Callable[[Path], bool], problems: list[str]) -> list[Path]:
    try:
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.name[:1] != "." and fits(path))
    except OSError as error:
        problems.append(line_of(error))
        return []
