"""The program of a worker: it does the work on slides that the process of the command hands it."""

import logging
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fleet.line import Forwarder, Line
from slidenet.pipelines.fleet.messages import Stop, Unfit
from slidenet.slides.isolation import end_all_processes

UNPICKLING_ERRORS = (ImportError, AttributeError, RuntimeError, pickle.UnpicklingError)
"""What a work raises that cannot be done where it came to."""


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
    heard = Connection(connection)
    line = Line(_sender(heard))
    threading.Thread(target=_listen, args=(heard, line), name="fleet", daemon=True).start()
    try:
        logging.captureWarnings(True)
        logging.getLogger().setLevel(log_level)
        logging.getLogger().addHandler(Forwarder(line.send))
        try:
            with open(work_path, "rb") as file:
                work = pickle.load(file)
        except UNPICKLING_ERRORS as error:
            line.send(Unfit(f"{type(error).__name__}: {error}"))
            return
        while True:  # the next slides may come after a while
            for outcome in LocalRunner().run(work, line.rows(), line):
                line.send(outcome)
    except KeyboardInterrupt:
        end_all_processes()


def _sender(connection: Connection) -> Callable[[object], None]:
    sending = threading.Lock()

    def send(message: object) -> None:
        """Says something; where nobody hears it, the listening thread ends the work."""
        with sending, suppress(OSError):
            connection.send(message)

    return send


def _listen(connection: Connection, line: Line) -> None:
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            message = Stop()
        if isinstance(message, Stop):
            # Wakes the main thread wherever it waits, as Ctrl-C does.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return
        line.answer(message)
