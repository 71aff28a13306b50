"""What the kernel lets the child use: CPU seconds and memory, of the requests in work.

The kernel ends a process at its CPU limit wherever it is, also inside a C library that would never
return. Memory beyond the limit is refused, which a library answers with an error or by aborting.
"""

import math
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_THREAD_BYTES = 8 << 20  # a stack
_ARENA_BYTES = 64 << 20  # address space that malloc sets aside for each thread, mostly unused
_NUM_THREADS = 5  # those that answer requests, and the main one


class Budget:
    """Limits of this process that follow what it has been asked to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cpu_s: list[float] = []
        self._memory: list[tuple[int, int]] = []
        self._start_data, self._start_size = _memory_in_use()
        self._in_force: dict[int, int] = {}
        self._lawful_bytes = 0
        self._lasting_threads = self._most_threads = _NUM_THREADS
        threading.stack_size(_THREAD_BYTES)  # whatever `ulimit -s` says
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    def allow(self, memory_bytes: int, num_threads: int) -> None:
        """Sets what memory any slide may take beyond what the process had at its start.

        Args:
            memory_bytes: Of it.
            num_threads: That a library may keep beside ours; their stacks come on top.
        """
        with self._lock:
            self._lawful_bytes = memory_bytes
            self._lasting_threads = _NUM_THREADS + num_threads
            self._apply()

    @contextmanager
    def spend(self, cpu_s: float) -> Iterator[None]:
        """Inside, the process may use so many CPU seconds more than it has used until now."""
        yield from self._while_listed(self._cpu_s, cpu_s)

    @contextmanager
    def hold(self, num_bytes: int, num_threads: int) -> Iterator[None]:
        """Inside, the process may take so much memory and so many threads more than any slide may.

        Args:
            num_bytes: Stacks of the threads left out.
            num_threads: Beside those that answer requests.
        """
        yield from self._while_listed(self._memory, (num_bytes, num_threads))

    def _while_listed(self, claims: list[T], claim: T) -> Iterator[None]:
        with self._lock:
            claims.append(claim)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                claims.remove(claim)
                self._apply()

    def _apply(self) -> None:
        if self._cpu_s:  # else the last one stays: threads may still read ahead
            cpu = math.ceil(time.process_time() + sum(self._cpu_s))
            self._set_soft(resource.RLIMIT_CPU, cpu)
        if not self._start_size:  # not Linux: memory cannot be limited reliably
            return
        num_threads = self._lasting_threads + sum(threads for _, threads in self._memory)
        extra = sum(held for held, _ in self._memory) + num_threads * _THREAD_BYTES
        extra += self._lawful_bytes
        self._set_soft(resource.RLIMIT_DATA, self._start_data + extra)
        # Address space, which counts what malloc only sets aside, is the wider fence around it.
        # malloc keeps what a thread had for the next one, and takes two parts to make one.
        self._most_threads = max(self._most_threads, num_threads)
        wider = extra + (self._most_threads + 1) * _ARENA_BYTES
        self._set_soft(resource.RLIMIT_AS, self._start_size + wider)

    def _set_soft(self, limit: int, value: int) -> None:
        """Sets a soft limit, never above the hard one that the user's shell has set."""
        if self._in_force.get(limit) == value:
            return
        self._in_force[limit] = value
        _, hard = resource.getrlimit(limit)
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (soft, hard))


def _memory_in_use() -> tuple[int, int]:
    """Bytes of private memory and of address space; zeros where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0, 0
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(lines["VmData"].split()[0]) << 10, int(lines["VmSize"].split()[0]) << 10
