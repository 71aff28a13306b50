"""The process that opens and reads slides for another one. It holds one slide at a time."""

import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from slidenet.core.errors import SlidenetError
from slidenet.slides.isolation.budget import Budget
from slidenet.slides.isolation.facts import SlideFacts
from slidenet.slides.isolation.memory import SharedArrays
from slidenet.slides.isolation.messages import (
    Answer,
    Cancel,
    Grant,
    InPlace,
    LogLine,
    Place,
    Request,
)
from slidenet.slides.limits import ReadingLimits
from slidenet.slides.opening import open_slide
from slidenet.slides.protocol import Pixels, Slide
from slidenet.slides.resolution import DeclaredMpp
from slidenet.slides.tile_images.declaration import TileDeclaration
from slidenet.slides.tiles import read_tiles

_NUM_THREADS = 4
_log = logging.getLogger(__name__)


def main(connection: int, shared: int) -> None:
    """Serves requests until the parent is gone.

    Args:
        connection: Descriptor of the connection to the parent.
        shared: Descriptor of the shared file, or -1.
    """
    # The parent decides what Ctrl-C ends, and a scheduler that ends a job, which tells all of its
    # processes at once: dying first would look like a crash of this slide.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _Server(Connection(connection), SharedArrays(shared) if shared >= 0 else None).serve()


class _Server:
    def __init__(self, connection: Connection, arrays: SharedArrays | None) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._arrays = arrays
        self._budget = Budget()
        self._slide: Slide | None = None
        self._streams: dict[int, queue.SimpleQueue[Grant | None]] = {}
        self._forward_log()

    def serve(self) -> None:
        """Reads messages; all work is done by other threads, so that the end is noticed at once."""
        pool = ThreadPoolExecutor(_NUM_THREADS, thread_name_prefix="request")
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # whatever the threads are doing, nobody waits for it any more
            if isinstance(message, Grant):
                self._tell_stream(message.number, message)
            elif isinstance(message, Cancel):
                self._tell_stream(message.number, None)
            elif message.name == "read_tiles":
                self._streams[message.number] = queue.SimpleQueue()
                threading.Thread(target=self._stream_tiles, args=(message,), daemon=True).start()
            else:
                pool.submit(self._answer, message)

    def _answer(self, request: Request) -> None:
        with self._holding(request), self._budget.spend(request.cpu_s):
            try:
                answer = Answer(request.number, self._result(request))
            except BaseException as error:  # whatever it is, the parent raises it
                answer = Answer(request.number, error=_portable(error))
        self._send(answer)

    def _holding(self, request: Request) -> AbstractContextManager[None]:
        return self._budget.hold(request.memory_bytes, request.num_threads)

    def _result(self, request: Request) -> Any:
        if request.name == "open":
            return self._open(*request.arguments, **request.keywords)
        if request.name == "ready":
            return True
        value = getattr(self._slide, request.name)
        if callable(value):
            value = value(*request.arguments, **request.keywords)
        if isinstance(value, np.ndarray) and request.place is not None and self._arrays is not None:
            self._arrays.at(request.place, value.shape)[...] = value
            return InPlace(request.place, value.shape)
        if request.name == "close":
            self._slide = None
        return value

    def _open(
        self,
        path: Path,
        mpp: DeclaredMpp | None,
        *,
        icc: bool,
        reader: str | None,
        tiles: TileDeclaration | None,
        limits: ReadingLimits,
        folder: str | None,
        module_path: list[str],
        log_level: int,
        opencv_threads: int,
    ) -> SlideFacts:
        """Opens a slide as the parent would, in its folder and with its module path."""
        if folder is not None:
            os.chdir(folder)
        sys.path[:] = module_path
        logging.getLogger().setLevel(log_level)
        cv2.setNumThreads(opencv_threads)
        self._budget.allow(limits.max_memory_bytes, opencv_threads)
        started = time.process_time()
        self._slide = slide = open_slide(
            path, mpp, icc=icc, reader=reader, tiles=tiles, limits=limits
        )
        facts = SlideFacts.of(slide)
        return replace(facts, opening_cpu_s=time.process_time() - started)

    def _stream_tiles(self, request: Request) -> None:
        grants, places = self._streams[request.number], deque[Place | None]()

        def allocate(shape: tuple[int, ...]) -> Pixels:
            grant = grants.get()
            if grant is None:
                raise _CancelledError
            places.append(grant.place)
            if grant.place is None or self._arrays is None:
                return np.empty(shape, np.uint8)
            return self._arrays.at(grant.place, shape)

        error: BaseException | None = None
        try:
            assert self._slide is not None
            batches = read_tiles(
                self._slide, *request.arguments, **request.keywords, allocate=allocate
            )
            with self._holding(request):
                while True:
                    with self._budget.spend(request.cpu_s):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    place = places.popleft()
                    if place is not None:
                        in_place: Any = InPlace(place, batch.pixels.shape)
                        batch = replace(batch, pixels=in_place)
                    self._send(Answer(request.number, batch, last=False))
        except _CancelledError:
            pass
        except BaseException as found:  # whatever it is, the parent raises it
            error = _portable(found)
        del self._streams[request.number]
        self._send(Answer(request.number, error=error))

    def _tell_stream(self, number: int, grant: Grant | None) -> None:
        stream = self._streams.get(number)
        if stream is not None:  # else it has ended meanwhile
            stream.put(grant)

    def _send(self, message: object) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(0)  # the parent is gone

    def _forward_log(self) -> None:
        logging.captureWarnings(True)
        logging.getLogger().addHandler(_Forwarder(self._send))


class _CancelledError(Exception):
    """The parent wants no more tiles."""


class _Forwarder(logging.Handler):
    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send_message = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send_message(LogLine(record.name, record.levelno, record.getMessage()))


def _portable(error: BaseException) -> BaseException:
    """An error that the parent can raise, with the traceback of here where nobody foresaw it."""
    if isinstance(error, SlidenetError):
        error.__cause__ = error.__context__ = None
        return error
    if isinstance(error, MemoryError) or "Insufficient memory" in str(error):  # OpenCV's words
        return MemoryError(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    text = "".join(traceback.format_exception(error))
    return RuntimeError(
        f"{type(error).__name__}: {error}\nIn the process that reads slides:\n{text}"
    )
