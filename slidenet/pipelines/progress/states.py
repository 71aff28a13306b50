"""How far a run over a cohort is at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass

from slidenet.core.text import plural
from slidenet.pipelines.progress.meter import Reading


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one of the processes at work is doing.

    Attributes:
        name: Its device or cores; "" where one process does all.
        slides: The slides it works on.
        reading: How far it is.
    """

    name: str
    slides: tuple[str, ...]
    reading: Reading


@dataclass(frozen=True, slots=True)
class CohortState:
    """How far a run is.

    Attributes:
        verb: What is done.
        unit: What is counted, "slide" or "tile".
        total: Units of all slides.
        reading: How far all are together.
        num_slides: All of them.
        slides_ended: Those that are done or failed.
        num_failed: Those that failed.
        workers: Who works on what.
    """

    verb: str
    unit: str
    total: int
    reading: Reading
    num_slides: int
    slides_ended: int
    num_failed: int
    workers: Sequence[WorkerState]

    @property
    def slides_at_work(self) -> list[str]:
        """The slides that are worked on."""
        return [slide for worker in self.workers for slide in worker.slides]

    def counts(self) -> list[str]:
        """`3 of 40 slides`, `1 failed`, `1,200 of 98,765 tiles`."""
        noun = plural("slide", self.num_slides)
        parts = [f"{self.slides_ended:,} of {self.num_slides:,} {noun}"]
        if self.num_failed:
            parts.append(f"{self.num_failed:,} failed")
        if self.unit != "slide":
            done, noun = self.reading.done, plural(self.unit, self.total)
            parts.append(f"{done:,} of {self.total:,} {noun}")
        return parts
