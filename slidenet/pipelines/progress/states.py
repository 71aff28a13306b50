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
        unit: What is counted, such as "slide" or "tile".
        total: Units of all.
        reading: How far all are together.
        num_slides: All of them; 0 where others are counted.
        slides_ended: Those that are done or failed.
        num_failed: Those that failed.
        workers: Who works on what.
        part: What of the work is done now, in words; "" where slides say it.
    """

    verb: str
    unit: str
    total: int
    reading: Reading
    num_slides: int
    slides_ended: int
    num_failed: int
    workers: Sequence[WorkerState]
    part: str = ""

    @property
    def slides_at_work(self) -> list[str]:
        """The slides that are worked on."""
        return [slide for worker in self.workers for slide in worker.slides]

    def counts(self) -> list[str]:
        """`3 of 40 slides`, `1 failed`, `1,200 of 98,765 tiles`; or `2 of 9 parts`, `writing`."""
        parts = []
        if self.num_slides or not self.total:
            noun = plural("slide", self.num_slides)
            parts.append(f"{self.slides_ended:,} of {self.num_slides:,} {noun}")
        if self.num_failed:
            parts.append(f"{self.num_failed:,} failed")
        if self.unit != "slide":
            done, noun = self.reading.done, plural(self.unit, self.total)
            parts.append(f"{done:,} of {self.total:,} {noun}")
        return [*parts, self.part] if self.part else parts
