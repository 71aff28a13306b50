"""A worker's line to the process of the command: it asks for slides, tells, and is told to stop."""

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator

from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.fleet.messages import Advanced, Take, WantsSlide
from slidenet.slides.isolation.messages import LogLine


class Line(CohortTeller):
    """The rows and the progress of a runner that works for another process.

    Args:
        send: Says something to the other process.

    Attributes:
        stopped: Set when the work is to stop where it is.
    """

    def __init__(self, send: Callable[[object], None]) -> None:
        self.send = send
        self.stopped = threading.Event()
        self._answers: queue.SimpleQueue[Take] = queue.SimpleQueue()

    def rows(self) -> Iterator[SlideRow]:
        """The slides that come now."""
        while True:
            self.send(WantsSlide())
            row = self._answers.get().row
            if row is None:
                return
            yield row

    def answer(self, message: Take) -> None:
        """Says which slide is next."""
        self._answers.put(message)

    def stop(self) -> None:
        """Makes the work end at its next sign of progress, and no slide come after it."""
        self.stopped.set()
        self._answers.put(Take(None))

    def advance(self, count: int, *, done_before: bool = False, worker: str = "") -> None:
        """See `Progress`."""
        if self.stopped.is_set():
            raise KeyboardInterrupt
        self.send(Advanced(count, done_before))

    def show_slide(self, slide_id: str, *, worker: str = "") -> None:
        """The other side knows which slide it has given."""

    def next_slide_may_start(self) -> None:
        """See `Progress`; the runner asks for it itself."""


class Forwarder(logging.Handler):
    """Sends what this process logs to another one.

    Args:
        send: Says something to it.
    """

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send_message = send
        self._pid = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one line."""
        if os.getpid() == self._pid:
            self._send_message(LogLine(record.name, record.levelno, record.getMessage()))
