"""What a run did to each slide, and the status table people read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from slidenet.core.extras import data_frame
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, text_table

if TYPE_CHECKING:
    import pandas

Status = Literal["done", "already done", "failed", "in progress elsewhere"]

ELSEWHERE: Status = "in progress elsewhere"
EX_TEMPFAIL = 75
"""What schedulers know as "try again later"."""


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """What happened to one slide in one verb.

    Attributes:
        slide_id: The slide.
        status: done, already done (the file on disk has the same identity), failed, or in progress
            elsewhere (another process holds the slide, which is no failure).
        detail: What was made, or why it failed, on one line.
        num_tiles: Tiles handled, where the verb knows.
        num_unreadable: Tiles that could not be read, where the verb knows.
        seconds: Wall time.
        output: The file made, relative to the output folder.
        traceback: Only for errors nobody foresaw.
        value: What the verb needs beside the file (a prediction); not recorded.
        held_by: What was seen of the claim of another process (`stores.claims.Sighting`); not
            recorded.
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
    held_by: Any = field(default=None, compare=False, repr=False)

    @property
    def is_done(self) -> bool:
        """Whether what the verb makes of the slide is there."""
        return self.status in ("done", "already done")

    def record(self) -> dict[str, Any]:
        """What stands of it in `run.json`."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.compare}


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
    def elsewhere(self) -> set[str]:
        """The slides that other processes are working on."""
        return {o.slide_id for o in self.outcomes if o.status == ELSEWHERE}

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 75 when one is in progress elsewhere, else 0."""
        return 1 if self.failed else EX_TEMPFAIL if self.elsewhere else 0

    def rows_done(self, rows: Sequence[SlideRow]) -> list[SlideRow]:
        """The rows of slides that are done."""
        done = {outcome.slide_id for outcome in self.outcomes if outcome.is_done}
        return [row for row in rows if row.slide_id in done]

    def followed_by(self, later: "RunReport") -> "RunReport":
        """This report, with slides that were not done replaced by what came of them later."""
        found = {outcome.slide_id: outcome for outcome in later.outcomes}
        outcomes = [o if o.is_done else found.get(o.slide_id, o) for o in self.outcomes]
        known = {outcome.slide_id for outcome in self.outcomes}
        return replace(
            self,
            seconds=self.seconds + later.seconds,
            outcomes=[*outcomes, *(o for o in later.outcomes if o.slide_id not in known)],
            notes=tuple(dict.fromkeys((*self.notes, *later.notes))),
        )

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

    def record(self) -> dict[str, Any]:
        """The report as it stands in `run.json`."""
        return {
            "settings": {k: str(v) if isinstance(v, Path) else v for k, v in self.settings.items()},
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "num_failed": len(self.failed),
            "slides": [outcome.record() for outcome in self.outcomes],
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per slide: all that `run.json` says of it.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([outcome.record() for outcome in self.outcomes])


def exit_code_of(stages: Sequence[RunReport]) -> int:
    """1 when a slide failed in any step, else 75 when one is in progress elsewhere, else 0."""
    codes = {stage.exit_code for stage in stages}
    return next((code for code in (1, EX_TEMPFAIL) if code in codes), 0)


def utc_now() -> str:
    """The present moment as an ISO string, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
