"""Work on slides around the work of a verb: it is to runners what that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.runner import SlideWork


@dataclass(frozen=True)
class WrappedWork(SlideWork):
    """Says of itself what the work of a verb says; subclasses do more when they are called.

    Attributes:
        work: The work of the verb.
    """

    work: SlideWork

    @property
    def unit(self) -> Literal["slide", "tile"]:  # type: ignore[override]
        """See `SlideWork`."""
        return self.work.unit

    @property
    def reads_ahead(self) -> bool:  # type: ignore[override]
        """See `SlideWork`."""
        return self.work.reads_ahead

    @property
    def layout(self) -> OutputLayout:  # type: ignore[override]
        """See `SlideWork`."""
        return self.work.layout

    def count(self, row: SlideRow) -> int:
        """See `SlideWork`."""
        return self.work.count(row)

    @property
    def device(self) -> str:
        """See `SlideWork`."""
        return self.work.device

    @property
    def comes_back(self) -> bool:
        """See `SlideWork`."""
        return self.work.comes_back

    def claimed(self, row: SlideRow) -> Path | None:
        """See `SlideWork`."""
        return self.work.claimed(row)

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        return self.work.files_of(row)

    def was_made(self, path: Path) -> bool:
        """Whether a file of the output is there; may be asked of all slides of a cohort."""
        return path.exists()

    @property
    def time_limit_s(self) -> float | None:
        """See `SlideWork`."""
        return self.work.time_limit_s
