"""How a verb ends when it is told to: Ctrl-C, SIGTERM of a scheduler, a terminal that is closed.

All of them reach the work as `KeyboardInterrupt`, so that partial files and claims are given back
and the run report is written, and end with the exit code that shells and schedulers know.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Ending:
    """What told the verb to end.

    Attributes:
        signal: Number of the first signal; None where none came.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (signal.SIGINT if self.signal is None else self.signal)

    def told(self, number: int, _: FrameType | None) -> None:
        """Handles a signal.

        A scheduler that repeats itself does not disturb the tidying up; a person at the keyboard
        does.
        """
        if self.signal is not None and number != signal.SIGINT:
            return
        self.signal = self.signal or number
        raise KeyboardInterrupt


@contextmanager
def told_to_end() -> Iterator[Ending]:
    """Inside, signals that end a process raise `KeyboardInterrupt` in its main thread.

    Those that somebody else handles or ignores (nohup) stay as they are.
    """
    ending, before = Ending(), {}
    if threading.current_thread() is threading.main_thread():
        for name in _NAMES:
            number = signal.Signals[name]
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, ending.told)
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say_ended(verb: str, ending: Ending) -> None:
    """Says on stderr why the verb ended and what to do."""
    how = "interrupted"
    if ending.signal not in (None, signal.SIGINT):
        how = f"ended by {signal.Signals(ending.signal).name}"
    print(f"slidenet {verb}: {how}; run it again to go on", file=sys.stderr)
