"""A worker inside the cluster: an actor that does the work in a thread, and is asked what it says.

Nothing is pushed to the process of the command: it asks (`hear`), so that a message is known to
have arrived before it is forgotten, and a process that cannot be reached for a moment loses none.
"""

import logging
import os
import pickle
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from slidenet.core.errors import WorkerError
from slidenet.pipelines.cluster.facts import MachineFacts
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fleet.line import Forwarder, Line
from slidenet.pipelines.fleet.messages import Advanced, Take, Unfit
from slidenet.pipelines.fleet.worker import UNPICKLING_ERRORS
from slidenet.slides.isolation import end_all_processes
from slidenet.stores.claims import give_back_claims

_log = logging.getLogger(__name__)

GATHER_S = 0.5

Numbered = tuple[int, object]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where the process of the command is, and where it finds modules.

    Attributes:
        folder: What relative paths begin at.
        paths: Folders of modules.
    """

    folder: str
    paths: Sequence[str]

    @classmethod
    def here(cls) -> "Surroundings":
        """Those of this process."""
        return cls(os.getcwd(), [os.path.abspath(path) for path in sys.path])

    def enter(self) -> None:
        """Makes them those of this process, as far as the folders are on this machine."""
        sys.path += [path for path in self.paths if path not in sys.path and os.path.isdir(path)]
        try:
            os.chdir(self.folder)
        except OSError as error:
            _log.warning(
                "%s, where the command was started, is not there (%s): relative paths lead "
                "elsewhere",
                *(self.folder, error.strerror),
            )


class Outbox:
    """Messages that stay until they are known to have arrived; threads may share it."""

    def __init__(self) -> None:
        self._messages: deque[Numbered] = deque()
        self._number, self._since = 0, 0.0
        self._changed = threading.Condition()

    def put(self, message: object) -> None:
        """Adds a message."""
        with self._changed:
            if not self._messages:
                self._since = time.monotonic()
            self._number += 1
            self._messages.append((self._number, message))
            self._changed.notify_all()

    def after(self, number: int, seconds: float) -> list[Numbered]:
        """The messages behind one that has arrived; waits for the first of them.

        Signs of progress are gathered for `GATHER_S`, since a batch takes less time than a call.

        Args:
            number: Of the last one that has arrived; it and those before are forgotten.
            seconds: So long is waited; then there are none.
        """
        until = time.monotonic() + seconds
        with self._changed:
            while self._messages and self._messages[0][0] <= number:
                self._messages.popleft()
            while all(isinstance(message, Advanced) for _, message in self._messages):
                if self._messages:
                    until = min(until, self._since + GATHER_S)
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return list(self._messages)


class WorkerActor:
    """Does the work on the slides it is given; its methods are called by the command's process."""

    def __init__(self) -> None:
        self._outbox = Outbox()
        self._line = Line(self._outbox.put)
        self._thread: threading.Thread | None = None
        self._answered = 0
        self._broken = ""

    def facts(self) -> MachineFacts:
        """What its machine says of itself."""
        return MachineFacts.here()

    def begin(self, work: bytes, cores: Sequence[int], there: Surroundings, level: int) -> None:
        """Begins to work.

        Args:
            work: A pickle of the work.
            cores: Those that it, its threads and its reading process may use; none: all.
            there: Of the process of the command.
            level: What is worth logging.
        """
        if self._thread is not None:
            return  # said twice, where the first answer was lost
        self._thread = threading.Thread(
            target=self._work, args=(work, cores, there, level), name="work", daemon=True
        )
        self._thread.start()

    def answer(self, number: int, message: Take) -> None:
        """Says which slide is next; what is said twice counts once."""
        if number > self._answered:
            self._answered = number
            self._line.answer(message)

    def hear(self, after: int, seconds: float) -> list[Numbered]:
        """See `Outbox.after`.

        Raises:
            WorkerError: Nothing will come any more, as the work has broken.
        """
        messages = self._outbox.after(after, seconds)
        if self._broken and not messages:
            raise WorkerError(self._broken)
        return messages

    def stop(self, seconds: float) -> None:
        """Ends the work, and gives its claims back.

        Args:
            seconds: So long it may tidy up.
        """
        self._line.stop()
        end_all_processes()  # one that is kept busy by a damaged slide would keep its thread
        if self._thread is not None:
            self._thread.join(seconds)
        give_back_claims()

    def _work(self, *given: Any) -> None:
        """Works; what ends this thread is told, as the process would live on without a word."""
        try:
            with suppress(KeyboardInterrupt):  # told to stop
                self._drain(*given)
        except BaseException as error:
            traceback.print_exc()
            self._broken = f"{type(error).__name__}: {error}"

    def _drain(self, pickled: bytes, cores: Sequence[int], there: Surroundings, level: int) -> None:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)  # of this thread, and all that it starts
            asked = os.environ.get("OMP_NUM_THREADS", "")
            most = int(asked) if asked.isdecimal() and int(asked) else len(cores)
            os.environ["OMP_NUM_THREADS"] = str(min(most, len(cores)))
        logging.captureWarnings(True)
        logging.getLogger().setLevel(level)
        logging.getLogger().addHandler(Forwarder(self._outbox.put))
        there.enter()
        try:
            work: Any = pickle.loads(pickled)
        except UNPICKLING_ERRORS as error:
            self._outbox.put(Unfit(f"{type(error).__name__}: {error}"))
            return
        while not self._line.stopped.is_set():
            for outcome in LocalRunner().run(work, self._line.rows(), self._line):
                self._outbox.put(outcome)
