"""How fast slides can be read from where they lie, and results written to where they go."""

import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slidenet.core.errors import fault_of
from slidenet.pipelines.objects.staging import AHEAD
from slidenet.stores.atomic import output_error
from slidenet.stores.objects import store_of
from slidenet.stores.objects.parcels import parcel_of

BLOCK_BYTES = 256 * 1024
"""About what a batch of tiles asks of a file at a time."""
_WRITTEN_BYTES = 16 << 20
_TURNS = 3
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Transfer:
    """How fast bytes came or went.

    Attributes:
        rate: Bytes per second.
        num_bytes: How many there were.
        seconds: How long it took.
    """

    rate: float
    num_bytes: int
    seconds: float


def measure_reading(paths: Sequence[Path], *, seconds: float, seed: int = 0) -> Transfer | None:
    """Reads blocks at drawn places of files, past what the system remembers of them.

    Args:
        paths: Slides; of folders and what cannot be read nothing is measured.
        seconds: How long, about.
        seed: Of the draw.

    Returns:
        None where there is nothing to read.
    """
    files = [path for path in paths if path.is_file() and path.stat().st_size]
    if not files:
        return None
    rng = np.random.default_rng(seed)
    for path in files:
        _forget(path)
    sizes = [path.stat().st_size for path in files]

    def read(number: int, share: float) -> int:
        with files[number].open("rb", buffering=0) as file:
            file.seek(int(share * max(0, sizes[number] - BLOCK_BYTES)))
            return len(file.read(BLOCK_BYTES))

    started, total = time.perf_counter(), 0
    with ThreadPoolExecutor(_THREADS, "plan-reader") as pool:
        while time.perf_counter() - started < seconds and total < sum(sizes):
            numbers = rng.integers(0, len(files), 2 * _THREADS)
            try:
                total += sum(
                    pool.map(read, map(int, numbers), map(float, rng.random(len(numbers))))
                )
            except OSError as error:
                raise fault_of(error) or error from error
    taken = time.perf_counter() - started
    return Transfer(total / taken, total, taken)


def measure_fetching(uris: Sequence[str], folder: Path, *, seconds: float) -> Transfer | None:
    """Fetches objects as a run does, two at the same time, and stops when it has seen enough.

    Args:
        uris: Slides in stores.
        folder: Where what comes is written to, and removed.
        seconds: How long, about.

    Returns:
        None where there is nothing to fetch.

    Raises:
        ObjectStoreError: An object may not be read.
        ObjectAwayError: A store does not answer.
    """
    if not uris:
        return None
    lock, came, stop = threading.Lock(), [0], threading.Event()
    waiting = iter(uris)
    started = time.perf_counter()

    def count(more: int) -> None:
        with lock:
            came[0] += more
        if stop.is_set() or time.perf_counter() - started > seconds:
            stop.set()
            raise _Enough

    def fetch(number: int) -> None:
        path = folder / f"fetched-{number}"
        while not stop.is_set():
            with lock:
                uri = next(waiting, None)
            if uri is None:
                return
            for _, facts in parcel_of(store_of(uri), uri).objects:
                with suppress(_Enough):
                    store_of(uri).read_into(facts.uri, path, facts, advance=count)
                path.unlink(missing_ok=True)

    with ThreadPoolExecutor(AHEAD, "plan-fetching") as pool:
        list(pool.map(fetch, range(AHEAD)))
    taken = time.perf_counter() - started
    return Transfer(max(1, came[0]) / taken, came[0], taken)


class _Enough(Exception):
    """Enough has come to know how fast it comes."""


def measure_writing(out: Path) -> Transfer:
    """Writes some files to a disk, up to where they are safe, and removes them.

    Args:
        out: A folder there, which need not exist yet.

    Raises:
        OutputError: Nothing can be written there.
    """
    folder, block = existing_folder(out), os.urandom(1 << 20)
    seconds = []
    try:
        with tempfile.TemporaryDirectory(prefix=".slidenet-plan-", dir=folder) as name:
            for turn in range(_TURNS):
                started = time.perf_counter()
                with (Path(name) / str(turn)).open("wb") as file:
                    for _ in range(_WRITTEN_BYTES >> 20):
                        file.write(block)
                    file.flush()
                    os.fsync(file.fileno())
                seconds.append(time.perf_counter() - started)
    except OSError as error:
        raise output_error(error, folder) from error
    return Transfer(_WRITTEN_BYTES / statistics.median(seconds), _WRITTEN_BYTES, sum(seconds))


def free_bytes(out: Path) -> int:
    """Bytes free on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(existing_folder(out)).free


def existing_folder(path: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _forget(path: Path) -> None:
    """Has the system drop what it remembers of a file, where it can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
