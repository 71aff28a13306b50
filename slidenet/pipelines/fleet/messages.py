"""What the process of a command and its workers say to each other, as pickles.

A worker's log is sent as `LogLine`, how a slide ended as its `SlideOutcome`.
"""

from dataclasses import dataclass

from slidenet.core.records import SlideRow


@dataclass(frozen=True, slots=True)
class Take:
    """To a worker: the slide it asked for; None where none is left for now."""

    row: SlideRow | None


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: end now, and tidy up."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """From a worker: it cannot do the work, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class WantsSlide:
    """From a worker: it could begin with another slide."""


@dataclass(frozen=True, slots=True)
class Advanced:
    """From a worker: units that are done; see `Progress.advance`."""

    count: int
    done_before: bool
