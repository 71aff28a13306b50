"""Processes that wait for the next slide. Starting one takes about half a second."""

import atexit
import os
import threading
from importlib.util import find_spec

from slidenet.core.errors import ConfigError, SlideError
from slidenet.slides.isolation.process import ChildProcess
from slidenet.slides.isolation.waiting import Patience

MAX_SLIDES = 200
"""After so many slides a process is replaced, so that no leak of a library grows for ever."""

_MAX_IDLE = 4
_STARTING_S = 60.0
_MAX_PLACES_BYTES = 256 << 20

_lock = threading.Lock()
_idle: list[ChildProcess] = []
_all: set[ChildProcess] = set()
_slides_read: dict[ChildProcess, int] = {}


def can_isolate() -> bool:
    """Whether this system can limit a process, which Windows cannot."""
    return os.name == "posix" and find_spec("resource") is not None


def check_isolation() -> None:
    """Refuses to isolate where no process can be limited.

    Raises:
        ConfigError: This system cannot.
    """
    if not can_isolate():
        raise ConfigError(
            f"slides cannot be read in a process of their own on this system ({os.name})",
            expected="Linux or macOS, which can limit what a process takes",
            remedy="give --no-isolate (isolate=False), or use WSL",
        )


def try_isolation() -> bool:
    """Starts a process (or takes one that waits) and has it answer.

    Returns:
        Whether pixels come through shared memory.

    Raises:
        ConfigError: This system cannot limit a process.
        SlideError: None can be started, or it does not answer.
    """
    process = take_process()
    process.explain = lambda code, words, _: SlideError(
        f"the process that reads slides ended at once (code {code}: {words[-300:]})",
        remedy="give --no-isolate",
    )
    sound = False
    try:
        process.ask("ready", cpu_s=_STARTING_S, patience=Patience(_STARTING_S, _does_not_answer))
        sound = True
    finally:
        give_back(process, sound=sound)
    return process.places.file is not None


def _does_not_answer() -> SlideError:
    return SlideError("the process that reads slides does not answer", remedy="give --no-isolate")


def take_process() -> ChildProcess:
    """A process without a slide.

    Raises:
        ConfigError: This system cannot limit a process.
        SlideError: None can be started.
    """
    check_isolation()
    with _lock:
        while _idle:
            process = _idle.pop()
            if process.alive:
                return process
            _all.discard(process)
            _slides_read.pop(process, None)
    process = ChildProcess()
    with _lock:
        _all.add(process)
    return process


def give_back(process: ChildProcess, *, sound: bool) -> None:
    """Takes a process back, to use it again if nothing speaks against it.

    Args:
        process: The process; its slide is closed.
        sound: Whether nothing was wrong with its slide: what a damaged one does to the memory of
            a library must not reach the next.
    """
    with _lock:
        read = _slides_read[process] = _slides_read.get(process, 0) + 1
        if (
            sound
            and process in _all
            and process.alive
            and not process.busy
            and read < MAX_SLIDES
            and process.places.total <= _MAX_PLACES_BYTES
            and len(_idle) < _MAX_IDLE
        ):
            _idle.append(process)
            return
        _all.discard(process)
        _slides_read.pop(process, None)
    process.close()


@atexit.register
def end_all_processes() -> None:
    """Ends every process; whoever waits for one is told."""
    with _lock:
        processes = list(_all)
        _all.clear()
        _idle.clear()
        _slides_read.clear()
    for process in processes:
        process.close()


def _forget_all() -> None:
    """After a fork the processes belong to the parent alone."""
    global _lock
    _lock = threading.Lock()
    for process in _all:
        process.forget()
    _all.clear()
    _idle.clear()
    _slides_read.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
