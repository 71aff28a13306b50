"""Who shows how far a run is: nobody, a terminal, a log, or lines for machines."""

import json
import shutil
import sys
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from slidenet.core.checks import check_choice
from slidenet.core.escapes import in_terminal, shorten
from slidenet.core.text import name_some
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.progress.meter import rate_in_words, time_in_words
from slidenet.pipelines.progress.states import CohortState

Mode = Literal["auto", "bar", "log", "json", "none"]

_NAME_LETTERS = 40


class Display:
    """Shows nothing; the others show something, on stderr.

    All is called by one thread at a time.
    """

    interval_s = 3600.0

    def begin(self, state: CohortState) -> None:
        """The run begins."""

    def slide_begins(self, slide_id: str, worker: str) -> None:
        """The work on a slide begins."""

    def slide_put_back(self, slide_id: str) -> None:
        """Another process holds a slide; it may begin again later."""

    def slide_ended(self, outcome: SlideOutcome, worker: str) -> None:
        """The work on a slide ended."""

    def show(self, state: CohortState) -> None:
        """Called every `interval_s`."""

    def end(self, state: CohortState) -> None:
        """The run ended."""


class TerminalDisplay(Display):
    """A line that is drawn again and again, and one for each process where there are several."""

    interval_s = 0.25

    def __init__(self) -> None:
        self._lines = 0

    def show(self, state: CohortState) -> None:
        """Draws all lines over the last ones."""
        self._draw(state, [self._of_worker(state, n) for n in range(len(state.workers))])

    def end(self, state: CohortState) -> None:
        """Leaves the line of the whole behind."""
        if state.total or state.num_slides:
            self._draw(state, [])
            sys.stderr.write("\n")
            sys.stderr.flush()

    def _draw(self, state: CohortState, of_workers: list[str]) -> None:
        parts = [f"{state.verb}: {', '.join(state.counts())}"]
        if state.total:
            parts[0] += f" ({100 * min(1, state.reading.done / state.total):.0f} %)"
        parts.append(rate_in_words(state.reading.rate, state.unit))
        parts.append(time_in_words(state.reading.seconds_left(state.total)))
        if len(of_workers) == 1 and not state.workers[0].name:
            parts, of_workers = [*parts, _named(state.slides_at_work)], []
        lines = [", ".join(part for part in parts if part), *of_workers]
        columns = shutil.get_terminal_size().columns
        up = f"\x1b[{self._lines - 1}A" if self._lines > 1 else ""
        text = "\n".join(f"\x1b[K{shorten(line, max(20, columns - 1))}" for line in lines)
        sys.stderr.write(f"\r{up}{text}\x1b[J")
        sys.stderr.flush()
        self._lines = len(lines)

    def _of_worker(self, state: CohortState, number: int) -> str:
        worker = state.workers[number]
        rate = rate_in_words(worker.reading.rate, state.unit)
        return f"  {worker.name}: {', '.join(p for p in (rate, _named(worker.slides)) if p)}"


class LogDisplay(Display):
    """A line a minute, which also says that somebody is still there."""

    interval_s = 60.0

    def show(self, state: CohortState) -> None:
        """Writes a line."""
        parts = state.counts()
        parts.append(rate_in_words(state.reading.rate, state.unit))
        parts.append(time_in_words(state.reading.seconds_left(state.total)))
        at_work = [
            f"{_named(worker.slides)} ({worker.name})" if worker.name else _named(worker.slides)
            for worker in state.workers
            if worker.slides
        ]
        parts.append(f"at work on {', '.join(at_work)}" if at_work else "")
        _write(f"{_now()} {state.verb}: {', '.join(part for part in parts if part)}")


class JsonDisplay(Display):
    """A line of JSON for all that happens, and for how far it is every five seconds."""

    interval_s = 5.0

    def begin(self, state: CohortState) -> None:
        """Says what there is to do."""
        self._verb = state.verb
        self._say("begin", unit=state.unit, total=state.total, num_slides=state.num_slides)

    def slide_begins(self, slide_id: str, worker: str) -> None:
        """Says which slide begins."""
        self._say("slide_begins", slide_id=slide_id, worker=worker)

    def slide_put_back(self, slide_id: str) -> None:
        """Says which slide another process holds."""
        self._say("slide_put_back", slide_id=slide_id)

    def slide_ended(self, outcome: SlideOutcome, worker: str) -> None:
        """Says all that `run.json` will say of the slide."""
        self._say("slide_ended", worker=worker, **outcome.record())

    def show(self, state: CohortState) -> None:
        """Says how far all are."""
        self._say("progress", **self._numbers(state))

    def end(self, state: CohortState) -> None:
        """Says how far it got."""
        self._say("end", **self._numbers(state))

    def _numbers(self, state: CohortState) -> dict[str, Any]:
        left = state.reading.seconds_left(state.total)
        return {
            **({"part": state.part} if state.part else {}),
            "done": state.reading.done,
            "total": state.total,
            "per_second": round(state.reading.rate, 3),
            "seconds_left": None if left is None else round(left, 1),
            "num_slides": state.num_slides,
            "slides_ended": state.slides_ended,
            "num_failed": state.num_failed,
            "workers": [
                {
                    "worker": worker.name,
                    "slides": list(worker.slides),
                    "done": worker.reading.done,
                    "per_second": round(worker.reading.rate, 3),
                }
                for worker in state.workers
            ],
        }

    def _say(self, event: str, **facts: Any) -> None:
        # ASCII: whatever a slide is called, a line is one line.
        _write(json.dumps({"time": _now(), "verb": self._verb, "event": event, **facts}))


def display_of(mode: Mode) -> Display:
    """The display asked for; "auto": lines in a terminal, else a log.

    Raises:
        ConfigError: There is no such display.
    """
    check_choice(get_args(Mode), progress=mode)
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "log"
    made: dict[str, type[Display]] = {
        "bar": TerminalDisplay,
        "log": LogDisplay,
        "json": JsonDisplay,
        "none": Display,
    }
    return made[mode]()


def _named(slides: list[str] | tuple[str, ...]) -> str:
    return in_terminal(name_some(slides, most=2, longest=_NAME_LETTERS))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
