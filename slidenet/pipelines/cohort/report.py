"""What a run did to each slide: the status table people read and the `run.json` machines read."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from slidenet.core.extras import data_frame
from slidenet.core.provenance import software_version
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, text_table
from slidenet.stores.atomic import atomic_path

if TYPE_CHECKING:
    import pandas

Status = Literal["done", "already done", "failed"]

VERSIONED_PACKAGES = ("slidenet", "torch", "timm", "openslide-python", "h5py")


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """What happened to one slide in one verb.

    Attributes:
        slide_id: The slide.
        status: done, already done (the file on disk has the same identity), or failed.
        detail: What was made, or why it failed, on one line.
        num_tiles: Tiles handled, where the verb knows.
        num_unreadable: Tiles that could not be read, where the verb knows.
        seconds: Wall time.
        output: The file made, relative to the output folder.
        traceback: Only for errors nobody foresaw.
        value: What the verb needs beside the file (a prediction); not recorded.
    """

    slide_id: str
    status: Status
    detail: str
    num_tiles: int | None = None
    num_unreadable: int | None = None
    seconds: float = 0.0
    output: str | None = None
    traceback: str | None = None
    value: Any = field(default=None, compare=False, repr=False)

    def record(self) -> dict[str, Any]:
        """All but the value, as it stands in `run.json`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "value"}


@dataclass(frozen=True, slots=True)
class RunReport:
    """The outcomes of one verb over a cohort.

    Attributes:
        verb: preprocess, embed-tiles or embed-slides.
        settings: The settings used, as plain values.
        started: ISO time, UTC.
        seconds: Wall time of the verb.
        outcomes: One per slide, in manifest order.
        rank: Of several processes that share each slide; the first reports.
        notes: What to know about the cohort as a whole, a line each.
    """

    verb: str
    settings: Mapping[str, Any]
    started: str
    seconds: float
    outcomes: Sequence[SlideOutcome]
    rank: int = 0
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> list[SlideOutcome]:
        """The slides that failed."""
        return [o for o in self.outcomes if o.status == "failed"]

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 0."""
        return int(bool(self.failed))

    def without_failed(self, rows: Sequence[SlideRow]) -> list[SlideRow]:
        """The rows of slides that did not fail."""
        failed = {outcome.slide_id for outcome in self.failed}
        return [row for row in rows if row.slide_id not in failed]

    def table(self) -> str:
        """The status table printed at the end of a verb."""
        if self.rank:
            return f"rank {self.rank} has done its part; see the report of rank 0"
        hurt = [o for o in self.outcomes if o.num_unreadable]
        columns = ["slide", "status", "tiles", *(["unreadable"] * bool(hurt)), "seconds", "detail"]
        rows = []
        for o in self.outcomes:
            counts = ["" if o.num_tiles is None else str(o.num_tiles)]
            if hurt:
                counts.append("" if o.num_unreadable is None else str(o.num_unreadable))
            rows.append((o.slide_id, o.status, *counts, f"{o.seconds:.1f}", o.detail))
        text = text_table(columns, rows, ragged=True)
        ends = {s: sum(o.status == s for o in self.outcomes) for s in get_args(Status)}
        summary = ", ".join(f"{n} {status}" for status, n in ends.items() if n) or "no slides"
        lines = [text, f"{self.verb}: {summary} in {self.seconds:.1f} s"]
        if hurt:
            tiles = count_of("tile", sum(o.num_unreadable or 0 for o in hurt))
            lines.append(f"warning: {tiles} of {count_of('slide', len(hurt))} could not be read")
        return "\n".join([*lines, *self.notes])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per slide: all that `run.json` says of it.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([outcome.record() for outcome in self.outcomes])


def utc_now() -> str:
    """The present moment as an ISO string, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_run_report(path: Path, report: RunReport) -> None:
    """Puts the verb's report into `run.json`, keeping the reports of the other verbs."""
    try:
        known = json.loads(path.read_text())
        stages = dict(known["stages"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        stages = {}  # absent or not ours: a report is a log, and is written anew
    stages[report.verb] = {
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in report.settings.items()},
        "started": report.started,
        "seconds": round(report.seconds, 3),
        "num_failed": len(report.failed),
        "slides": [outcome.record() for outcome in report.outcomes],
    }
    document = {
        "python": platform.python_version(),
        "versions": {name: software_version(name) for name in VERSIONED_PACKAGES},
        "stages": stages,
    }
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")
