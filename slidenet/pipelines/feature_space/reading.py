"""One reading of all features of a cohort: shown as it goes, and a bad file is a failed slide."""

from types import TracebackType
from typing import Self

from slidenet.core.errors import SlidenetError
from slidenet.pipelines.cohort.report import SlideOutcome, Status
from slidenet.pipelines.progress.display import Display
from slidenet.pipelines.progress.gathering import CohortProgress


class CohortReading:
    """Is told of each slide that has been read (`Ended`), shows it, and keeps what was wrong.

    Args:
        verb: What is done, for the display.
        num_slides: How many slides there are.
        display: Shows it.

    Attributes:
        failed: What was wrong with a slide, by slide_id.
    """

    def __init__(self, verb: str, num_slides: int, display: Display) -> None:
        self._progress = CohortProgress(verb, "slide", num_slides, num_slides, display)
        self.failed: dict[str, SlidenetError] = {}

    def __call__(self, slide_id: str, error: SlidenetError | None) -> None:
        """A slide has been read."""
        if error is not None:
            self.failed[slide_id] = error
        detail = "" if error is None else " ".join(str(error).split())
        status: Status = "done" if error is None else "failed"
        self._progress.slide_ended(SlideOutcome(slide_id, status, detail))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.close()
