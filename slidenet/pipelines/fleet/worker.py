"""The program of a worker: it does the work on slides that the process of the command hands it."""

import logging
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.progress import CohortTeller
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fleet.messages import Advanced, Stop, Take, Unfit, WantsSlide
from slidenet.slides.isolation import end_all_processes
from slidenet.slides.isolation.messages import LogLine


def main(connection: int, work_path: str, log_level: int) -> None:
    """Works until it is told to stop, or the process of the command is gone.

    Args:
        connection: Descriptor of the connection to it.
        work_path: A pickle of the work.
        log_level: What is worth logging.
    """
    # A scheduler tells all processes of a job at once; what a signal ends is not ours to say.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    line = _Line(Connection(connection))
    try:
        logging.captureWarnings(True)
        logging.getLogger().setLevel(log_level)
        logging.getLogger().addHandler(_Forwarder(line.send))
        try:
            with open(work_path, "rb") as file:
                work = pickle.load(file)
        except (ImportError, AttributeError, RuntimeError, pickle.UnpicklingError) as error:
            line.send(Unfit(f"{type(error).__name__}: {error}"))
            return
        while True:  # the next slides may come after a while
            for outcome in LocalRunner().run(work, line.rows(), line):
                line.send(outcome)
    except KeyboardInterrupt:
        end_all_processes()


class _Line(CohortTeller):
    """The connection to the process of the command, as the rows and the progress of a runner."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._answers: queue.SimpleQueue[Take] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="fleet", daemon=True).start()

    def rows(self) -> Iterator[SlideRow]:
        """The slides that come now."""
        while True:
            self.send(WantsSlide())
            row = self._answers.get().row
            if row is None:
                return
            yield row

    def advance(self, count: int, *, done_before: bool = False, worker: str = "") -> None:
        """See `Progress`."""
        self.send(Advanced(count, done_before))

    def show_slide(self, slide_id: str, *, worker: str = "") -> None:
        """The other side knows which slide it has given."""

    def next_slide_may_start(self) -> None:
        """See `Progress`; the runner asks for it itself."""

    def send(self, message: object) -> None:
        """Says something; where nobody hears it, the listening thread ends the work."""
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                return

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                message = Stop()
            if isinstance(message, Stop):
                # Wakes the main thread wherever it waits, as Ctrl-C does.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return
            self._answers.put(message)


class _Forwarder(logging.Handler):
    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send_message = send
        self._pid = os.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        if os.getpid() == self._pid:
            self._send_message(LogLine(record.name, record.levelno, record.getMessage()))
