"""The parent's side of one child process: starting it, asking it, noticing its end."""

import logging
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any

from slidenet.core.errors import SlideError, SlidenetError
from slidenet.slides.isolation.launch import start_process
from slidenet.slides.isolation.memory import SharedPlaces
from slidenet.slides.isolation.messages import (
    Answer,
    Cancel,
    Grant,
    InPlace,
    LogLine,
    Request,
)
from slidenet.slides.isolation.waiting import Patience, Stream, Watch

_LAST_WORDS_BYTES = 4096
_DYING_S = 5.0
_log = logging.getLogger(__name__)

Explain = Callable[[int | None, str, list[Request]], SlidenetError]


class ChildProcess:
    """A process that reads slides. Several threads may ask at the same time.

    It runs a program of its own, so that scripts without a main guard and notebooks can start it,
    and imports nothing but the room of slides. It ends when its connection does: a parent that is
    killed leaves no orphan.

    Attributes:
        explain: Makes the error of its end from the return code, the last words on its standard
            error, and the requests it was working on.
        places: Where pixels are handed over.

    Raises:
        SlideError: It cannot be started.
    """

    explain: Explain

    def __init__(self) -> None:
        self.places = SharedPlaces()
        self._numbers = count()
        self._sending = threading.Lock()
        self._lock = threading.Lock()  # of what follows, and of the places
        self._requests: dict[int, Request] = {}
        self._futures: dict[int, Future[Any]] = {}
        self._streams: dict[int, Stream] = {}
        self._end: SlidenetError | None = None
        self._reason: SlidenetError | None = None
        self._last_words = b""
        self._connection, self._process = start_process(self.places.file)
        self.pid = self._process.pid
        self._listeners = [
            threading.Thread(target=target, name="slide-process", daemon=True)
            for target in (self._drain_stderr, self._receive)
        ]
        for thread in self._listeners:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._end is None and self._process.poll() is None

    @property
    def busy(self) -> bool:
        """Whether it works on a request."""
        return bool(self._requests)

    def ask(
        self,
        name: str,
        *arguments: Any,
        cpu_s: float,
        patience: Patience,
        num_bytes: int = 0,
        **keywords: Any,
    ) -> Any:
        """What a method of the open slide returns, or raises.

        Args:
            name: Of the method.
            *arguments: Of the method.
            cpu_s: CPU seconds it may take.
            patience: How long it is waited for.
            num_bytes: Of the array it returns, at most; 0 where it returns none.
            **keywords: Of the method.
        """
        future: Future[Any] = Future()
        with self._lock:
            place = self.places.take(num_bytes) if num_bytes else None
        request = Request(
            next(self._numbers),
            name,
            arguments,
            keywords,
            cpu_s,
            3 * num_bytes,
            place=place,
        )
        self._register(request, future)
        self._send(request)
        watch = Watch(self.pid, patience)
        while not wait((future,), timeout=watch.step_s).done:
            self._end_if(watch.reason_to_end_it())
        value = None
        try:
            value = future.result()
        finally:  # an error leaves the place free, too
            if place is not None and not isinstance(value, InPlace):
                self.places.give_back(place)
        return self.places.show(value) if isinstance(value, InPlace) else value

    def stream(
        self,
        name: str,
        *arguments: Any,
        num_batches: int,
        num_ahead: int,
        batch_bytes: int,
        cpu_s: float,
        memory_bytes: int,
        num_threads: int,
        patience: Patience,
        **keywords: Any,
    ) -> Iterator[Any]:
        """Batches of tiles, in order.

        Args:
            name: Of the work.
            *arguments: Of the work.
            num_batches: How many come.
            num_ahead: How many the child may make before the first is taken.
            batch_bytes: Of the pixels of a batch.
            cpu_s: CPU seconds each may take.
            memory_bytes: Memory they take together.
            num_threads: Threads that make them.
            patience: How long each is waited for.
            **keywords: Of the work.
        """
        request = Request(
            next(self._numbers), name, arguments, keywords, cpu_s, memory_bytes, num_threads
        )
        stream = Stream()
        self._register(request, stream)
        self._send(request)
        granted = 0
        try:
            while granted < min(num_ahead, num_batches):
                self._grant(request.number, stream, batch_bytes)
                granted += 1
            while True:
                answer = self._next_answer(stream, patience)
                if answer.error is not None:
                    raise answer.error
                if answer.last:
                    return
                batch = answer.value
                if isinstance(batch.pixels, InPlace):
                    batch = replace(batch, pixels=self.places.show(batch.pixels))
                if granted < num_batches:
                    self._grant(request.number, stream, batch_bytes)
                    granted += 1
                yield batch
        finally:
            stream.close(self.places.give_back)
            if request.number in self._requests and self._end is None:
                self._send(Cancel(request.number))

    def kill(self, reason: SlidenetError | None = None) -> None:
        """Ends it now; whoever waits for it gets `reason`."""
        self._reason = self._reason or reason
        self._process.kill()
        # One that waits for a disk lives on and keeps its end of the connection; ours is told.
        with (
            suppress(OSError),
            socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as ours,
        ):
            ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends it, without waiting for a disk that does not answer."""
        self._process.kill()
        for thread in self._listeners:
            thread.join(timeout=1.0)

    def forget(self) -> None:
        """Closes the connection in a process that was forked from the one that started this."""
        self._end = SlideError("its process belongs to another process")
        self._connection.close()

    def _register(self, request: Request, answers: "Future[Any] | Stream") -> None:
        with self._lock:
            if self._end is not None:
                raise self._end
            self._requests[request.number] = request
            if isinstance(answers, Stream):
                self._streams[request.number] = answers
            else:
                self._futures[request.number] = answers

    def _grant(self, number: int, stream: "Stream", num_bytes: int) -> None:
        with self._lock:
            place = self.places.take(num_bytes)
        if place is not None:
            stream.places.append(place)
        self._send(Grant(number, place))

    def _next_answer(self, stream: "Stream", patience: Patience) -> Answer:
        watch = Watch(self.pid, patience)
        while True:
            try:
                return stream.answers.get(timeout=watch.step_s)
            except queue.Empty:
                self._end_if(watch.reason_to_end_it())

    def _end_if(self, reason: SlidenetError | None) -> None:
        if reason is not None:
            self.kill(reason)

    def _send(self, message: object) -> None:
        # Where it has ended, whoever waits for an answer is told so.
        with self._sending, suppress(OSError):
            self._connection.send(message)

    def _receive(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, LogLine):
                logging.getLogger(message.logger).log(message.level, "%s", message.text)
            else:
                self._hand_on(message)
        self._tell_end()

    def _hand_on(self, answer: Answer) -> None:
        with self._lock:
            stream = self._streams.get(answer.number)
            if answer.last:
                self._requests.pop(answer.number, None)
                self._streams.pop(answer.number, None)
            future = self._futures.pop(answer.number, None)
        if stream is not None:
            stream.hand_on(answer, self.places.give_back)
        elif future is not None and answer.error is not None:
            future.set_exception(answer.error)
        elif future is not None:
            future.set_result(answer.value)

    def _tell_end(self) -> None:
        try:
            code: int | None = self._process.wait(timeout=_DYING_S)
        except subprocess.TimeoutExpired:  # it waits for a disk; even a kill does not end that
            self._process.kill()
            code = None
        self._listeners[0].join(timeout=1.0)
        with self._lock:
            working = list(self._requests.values())
            words = self._last_words.decode(errors="replace")
            self._end = self._reason or self.explain(code, words, working)
            streams, futures = list(self._streams.values()), list(self._futures.values())
            self._requests.clear()
        for future in futures:
            future.set_exception(self._end)
        for stream in streams:
            stream.answers.put(Answer(-1, error=self._end))
        self._connection.close()
        with self._lock:  # else another thread may be about to write to what has its number next
            self.places.close()

    def _drain_stderr(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            while text := os.read(pipe.fileno(), _LAST_WORDS_BYTES):
                self._last_words = (self._last_words + text)[-_LAST_WORDS_BYTES:]
