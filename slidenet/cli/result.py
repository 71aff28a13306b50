"""Calls a verb and prints what it returns, or the error for the user.

What a verb returns knows how to print itself (`table()`) and whether all went well (`exit_code`).
"""

import os
import sys
from collections.abc import Callable, Collection
from typing import Protocol

from slidenet.cli.flags import dash_flags
from slidenet.core.errors import (
    ClaimedElsewhere,
    DiskError,
    LostRankError,
    SlideError,
    SlidenetError,
    SystemFaultError,
    WorkerError,
    fault_of,
)
from slidenet.core.escapes import in_terminal
from slidenet.pipelines.cohort.report import EX_TEMPFAIL
from slidenet.stores.objects.mirror import as_published

_NOT_TYPED = SlideError | DiskError | WorkerError | LostRankError | SystemFaultError


class Result(Protocol):
    """What a verb returns."""

    @property
    def exit_code(self) -> int:
        """0 when all went well."""

    def table(self) -> str:
        """The text printed at the end."""


def report(name: str, work: Callable[[], Result], flags: Collection[str] = ()) -> int:
    """Does the work of a verb and prints its result, or the error for the user.

    Args:
        name: Of the verb.
        work: What it does.
        flags: Names of its settings that are flags, which an error about one of them then says.

    Returns:
        The exit code: 1 where the error is about a slide, a disk or the machine, 2 where it is
        about what was typed, 75 where another process is doing the same.
    """
    try:
        result = work()
    except SlidenetError as error:
        setting, is_, value = error.found.partition(" is ")  # see `core.checks`
        if is_ and setting in flags:
            error.found = dash_flags(f"--{setting} is {value}")
        print(f"slidenet {name}: error: {error}", file=sys.stderr)
        if isinstance(error, ClaimedElsewhere):
            return EX_TEMPFAIL
        return 1 if isinstance(error, _NOT_TYPED) else 2
    except (OSError, MemoryError, RuntimeError) as error:  # of no slide, as a missing thread
        if (fault := fault_of(error)) is None:
            raise
        print(f"slidenet {name}: error: {fault}", file=sys.stderr)
        return 1
    try:
        print(in_terminal(as_published(result.table()), keep="\n"), flush=True)
    except BrokenPipeError:  # the reader (head, a pager) had seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.exit_code
