"""Faults of the system, put into a process from outside: no line of slidenet knows of them.

`install` wraps what Python asks the operating system, h5py and openslide. A call about a file of
the output folder or of the slides is an *operation*; a rule picks the n-th one of its kind, and
kills, stops or ends the process there, or answers with an error, as a broken disk would.
"""

import builtins
import errno
import fcntl
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("create", "write", "fsync", "replace", "link", "unlink", "mkdir", "utime")
READS = ("open", "read")
REST = ("stat", "list", "lock")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}

_real_open = io.open
_real_replace = os.replace


class Injector:
    """Counts operations and strikes at those the rules name.

    Args:
        plan: `folders` (name -> path), `rules`, and optionally `trace` (a file to append every
            operation to). A rule has `ops`, `folder`, `nth` (from 1), `times` (-1: for ever),
            `action` and, of it, `errno` or `swap`; `when` is "before" or "after"; `role` "main" or
            "reader"; `name` a regular expression for the file's name.
        role: Of this process.
    """

    def __init__(self, plan: dict[str, Any], role: str) -> None:
        self.folders = {name: os.path.abspath(path) for name, path in plan["folders"].items()}
        self.rules = [rule for rule in plan["rules"] if rule.get("role", "main") == role]
        self.trace = plan.get("trace")
        self.counts = [0] * len(self.rules)
        self.paths: dict[int, str] = {}
        self._lock = threading.RLock()
        self._inside = threading.local()

    def folder_of(self, path: Any) -> str | None:
        """Which of the watched folders a path or descriptor is in."""
        if isinstance(path, int):
            path = self.paths.get(path, "")
        try:
            text = os.path.abspath(os.fsdecode(path))
        except TypeError:
            return None
        for name, folder in self.folders.items():
            if text == folder or text.startswith(folder + os.sep):
                return name
        return None

    def call(self, op: str, path: Any, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Does an operation, with what the rules make of it."""
        folder = self.folder_of(path)
        if folder is None or getattr(self._inside, "busy", False):
            return function(*args, **kw)
        after = []
        with self._lock:
            if self.trace and op in CHANGES:
                self._write_trace(op, path)
            for number, rule in enumerate(self.rules):
                if self._strikes(number, rule, op, folder, path):
                    if rule.get("when") == "after":
                        after.append(rule)
                    else:
                        self._strike(rule, path)
        self._inside.busy = op in ("open", "create")  # what they ask underneath is no operation
        try:
            result = function(*args, **kw)
        finally:
            self._inside.busy = False
        for rule in after:
            self._strike(rule, path)
        return result

    def _strikes(self, number: int, rule: dict[str, Any], op: str, folder: str, path: Any) -> bool:
        if op not in rule["ops"] or folder != rule["folder"]:
            return False
        name = os.path.basename(
            os.fsdecode(self.paths.get(path, "") if isinstance(path, int) else path)
        )
        if not re.search(rule.get("name", ""), name):
            return False
        self.counts[number] += 1
        past = self.counts[number] - rule["nth"]
        return past >= 0 and (rule.get("times", 1) < 0 or past < rule.get("times", 1))

    def _strike(self, rule: dict[str, Any], path: Any) -> None:
        action = rule["action"]
        if action in _SIGNALS:
            os.kill(os.getpid(), _SIGNALS[action])
        elif action == "memory":
            raise MemoryError("injected")
        elif action == "swap":
            if os.path.exists(rule["swap"][0]):
                _real_replace(*rule["swap"])
        elif action == "errno":
            number = getattr(errno, rule["errno"])
            raise OSError(number, os.strerror(number), None if isinstance(path, int) else path)

    def _write_trace(self, op: str, path: Any) -> None:
        name = self.paths.get(path, "?") if isinstance(path, int) else os.fsdecode(path)
        self._inside.busy = True
        with _real_open(self.trace, "a") as file:
            file.write(f"{op}\t{os.path.relpath(name, self.folders['out'])}\n")
        self._inside.busy = False


def install(plan: dict[str, Any], role: str = "main") -> None:
    """Wraps the calls of this process, for its lifetime."""
    injector = Injector(plan, role)
    jumps = plan.get("clock")
    if jumps:
        _shift_clock(*jumps)

    def wrap(module: Any, name: str, op: str, argument: int = 0) -> None:
        function = getattr(module, name)

        def wrapped(*args: Any, **kw: Any) -> Any:
            path = args[argument] if len(args) > argument else "."
            return injector.call(op, path, function, *args, **kw)

        setattr(module, name, wrapped)

    for name in ("replace", "rename", "link"):
        wrap(os, name, "link" if name == "link" else "replace", argument=1)
    for name, op in (
        *(("unlink", "unlink"), ("remove", "unlink"), ("mkdir", "mkdir"), ("utime", "utime")),
        *(("fsync", "fsync"), ("truncate", "write"), ("ftruncate", "write"), ("write", "write")),
        *(("stat", "stat"), ("lstat", "stat"), ("listdir", "list"), ("scandir", "list")),
        *(("pread", "read"), ("read", "read")),
    ):
        wrap(os, name, op)
    for name in ("lockf", "flock"):
        wrap(fcntl, name, "lock")
    _wrap_opening(injector)
    _wrap_libraries(injector)


def _shift_clock(after_calls: int, seconds: float) -> None:
    real, calls = time.time, [0]

    def shifted() -> float:
        calls[0] += 1
        return real() + (seconds if calls[0] > after_calls else 0)

    time.time = shifted


def _wrap_opening(injector: Injector) -> None:
    os_open, os_close = os.open, os.close

    def opened(path: Any, flags: int, *args: Any, **kw: Any) -> int:
        op = "create" if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) else "open"
        descriptor: int = injector.call(op, path, os_open, path, flags, *args, **kw)
        if not isinstance(path, int) and injector.folder_of(path):
            injector.paths[descriptor] = os.path.abspath(os.fsdecode(path))
        return descriptor

    def closed(descriptor: int) -> None:
        injector.paths.pop(descriptor, None)
        os_close(descriptor)

    class File(io.FileIO):
        """A file whose reads and writes are operations."""

        def write(self, data: Any) -> int | None:
            return injector.call("write", self.where, super().write, data)

        def truncate(self, size: int | None = None) -> int:
            return injector.call("write", self.where, super().truncate, size)

        def readinto(self, buffer: Any) -> int | None:
            return injector.call("read", self.where, super().readinto, buffer)

        def readall(self) -> bytes | None:
            return injector.call("read", self.where, super().readall)

        def close(self) -> None:
            if not self.closed:
                injector.paths.pop(self.fileno(), None)
            super().close()

    def open_file(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if injector.folder_of(file) is None:
            return _real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        plain = mode.replace("b", "").replace("t", "")
        op = "open" if plain == "r" else "create"
        where = (
            injector.paths[file] if isinstance(file, int) else os.path.abspath(os.fsdecode(file))
        )
        raw = injector.call(op, file, File, file, plain, closefd, opener)
        raw.where = where
        injector.paths[raw.fileno()] = where
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        if "+" in plain:
            buffered: Any = io.BufferedRandom(raw, size)
        else:
            buffered = (io.BufferedReader if plain == "r" else io.BufferedWriter)(raw, size)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)
        text.mode = mode
        return text

    os.open, os.close = opened, closed
    io.open = builtins.open = open_file


def _wrap_libraries(injector: Injector) -> None:
    if "h5py" in sys.modules:
        import h5py

        made, got = h5py.File.__init__, h5py.Dataset.__getitem__

        def init(self: Any, name: Any, *args: Any, **kw: Any) -> None:
            injector.call("open", name, made, self, name, *args, **kw)

        def getitem(self: Any, *args: Any, **kw: Any) -> Any:
            return injector.call("read", self.file.filename, got, self, *args, **kw)

        h5py.File.__init__, h5py.Dataset.__getitem__ = init, getitem
    if "openslide" in sys.modules:
        import openslide

        opened, region = openslide.OpenSlide.__init__, openslide.OpenSlide.read_region
        names: dict[int, Path] = {}

        def failing(op: str, path: Any, function: Any, *args: Any, **kw: Any) -> Any:
            try:
                return injector.call(op, path, function, *args, **kw)
            except OSError as error:  # as the library tells it
                raise openslide.OpenSlideError(os.strerror(error.errno or 0)) from error

        def open_slide(self: Any, filename: Any) -> None:
            names[id(self)] = filename
            failing("open", filename, opened, self, filename)

        def read_region(self: Any, *args: Any) -> Any:
            return failing("read", names.get(id(self), "."), region, self, *args)

        openslide.OpenSlide.__init__ = open_slide
        openslide.OpenSlide.read_region = read_region
