"""Tiles of slides to features without gaps: reading, encoding and writing at the same time.

Every batch of tiles goes its own way: read by threads ahead (`read_tiles`), prepared and encoded by
the encoder's threads, handed to the caller in order. The caller is what writes; while it does, the
batches behind go on. The encoder's threads serve all slides of a cohort, so that the next slide's
tiles follow when the last of this one have been read. Batches never mix slides: the features of a
slide depend on nothing but its tiles and the batch size.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from slidenet.core import status
from slidenet.core.arrays import FloatArray, IntArray, UInt8Array
from slidenet.core.records import TileSet
from slidenet.slides import Slide, TilePixels, read_tiles
from slidenet.slides.protocol import Pixels
from slidenet.slides.tiles import batches_ahead
from slidenet.tile_encoders import TileEncoder
from slidenet.weights.device import available_cores

WAITING_PER_THREAD = 2
"""Batches handed to the encoder, per thread of it: one that runs and one that waits."""


@dataclass(frozen=True, slots=True, eq=False)
class TileFeatures:
    """Features of consecutive tiles of one slide.

    Attributes:
        start: Index in the tile set of the first tile.
        features: float32 (B, D).
        status: uint8 (B,), codes of `core.status`; where not OK, the features are those of the
            slide's background colour.
        reason: Why the first unreadable one of them is; None where all could be decoded.
    """

    start: int
    features: FloatArray
    status: UInt8Array
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.status)


@dataclass(frozen=True, slots=True, eq=False)
class RowFeatures:
    """Features of some tiles of one slide.

    Attributes:
        rows: int64 (K,), which tiles.
        features: float32 (K, D).
        status: uint8 (K,), codes of `core.status`.
        reason: Why the first unreadable one of them is; None where all could be decoded.
    """

    rows: IntArray
    features: FloatArray
    status: UInt8Array
    reason: str | None = None


class TileStream:
    """Turns the tiles of slides into features.

    Several slides may be streamed at the same time, each by a thread of its own; they share the
    threads of the encoder. Picklable: those start where the first slide is streamed.

    Args:
        encoder: Turns batches of tiles into features.
        batch_size: Tiles per batch; the last one of a slide may be smaller.
        num_readers: Threads that read, per slide; None: one per core, 2 to 16.
        most_parallel: Batches encoded at the same time on a CPU; None: as the engine likes best.

    Attributes:
        encoder: As given.
        batch_size: As given.
    """

    def __init__(
        self,
        encoder: TileEncoder,
        batch_size: int,
        num_readers: int | None = None,
        *,
        most_parallel: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.batch_size = batch_size
        self._asked_readers = num_readers
        # They wait for the encoder most of the time; beyond 16, Python's lock is what they wait
        # for.
        self._num_readers = num_readers or min(16, max(2, available_cores()))
        self._num_threads = torch.get_num_threads()
        self._num_parallel = encoder.engine.num_parallel
        if most_parallel is not None and encoder.device.type == "cpu":
            self._num_parallel = min(self._num_parallel, most_parallel)
        self._pool = ThreadPoolExecutor(self._num_parallel, "tile-encoder", self._share_cores)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remade, (self.encoder, self.batch_size, self._asked_readers))

    def features(
        self,
        slide: Slide,
        tile_set: TileSet,
        *,
        start: int = 0,
        nearly_read: Callable[[], None] = lambda: None,
    ) -> Generator[TileFeatures, None, None]:
        """Features of the tiles from `start` on, in order, in batches.

        Args:
            slide: The open slide.
            tile_set: Which tiles, and how their pixels are obtained.
            start: Index of the first tile (for resuming), a multiple of the batch size.
            nearly_read: Called (perhaps more than once) when no tiles are left to be asked of the
                slide; reading and encoding what was asked for takes a while from then on.

        Raises:
            EncoderError: The encoder refuses the tiles, or makes features that are not finite.
            UnreadableSlideError: The file as a whole has become unreadable.
        """
        ahead = batches_ahead(self.batch_size, self._num_readers) * self.batch_size
        most = WAITING_PER_THREAD * self._num_parallel
        waiting: deque[tuple[TilePixels, Future[FloatArray]]] = deque()
        batches = read_tiles(
            slide,
            tile_set.geometry,
            tile_set.coords,
            batch_size=self.batch_size,
            num_readers=self._num_readers,
            start=start,
        )
        try:
            for tiles in batches:
                waiting.append((tiles, self._pool.submit(self._encode, tiles.pixels)))
                done = tiles.start + len(tiles.status)
                if done + ahead >= tile_set.num_tiles:
                    nearly_read()
                while waiting and (len(waiting) > most or waiting[0][1].done()):
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            batches.close()
            for _, features in waiting:
                features.cancel()

    def again(
        self, slide: Slide, tile_set: TileSet, rows: IntArray
    ) -> Generator[RowFeatures, None, None]:
        """Features of single tiles, as the batches they belong to give them.

        Only these are read. Each is encoded at its place in a batch of the same size, since the
        last bits of features may depend on how many images a batch holds; other places hold the
        background colour.

        Args:
            slide: The open slide.
            tile_set: Its tiles.
            rows: int64 (K,), which of them, increasing.

        Yields:
            Those of each batch, in order.

        Raises:
            EncoderError: As `features`.
            UnreadableSlideError: As `features`.
        """
        for number in np.unique(rows // self.batch_size):
            own = rows[rows // self.batch_size == number]
            first = number * self.batch_size
            batches = read_tiles(
                slide,
                tile_set.geometry,
                tile_set.coords[own],
                batch_size=len(own),
                num_readers=self._num_readers,
            )
            with closing(batches):
                tiles = next(batches)
            features = np.zeros((len(own), self.encoder.feature_dim), np.float32)
            if (tiles.status == status.OK).any():
                num = min(self.batch_size, tile_set.num_tiles - first)
                pixels = np.empty((num, *tiles.pixels.shape[1:]), np.uint8)
                pixels[:] = slide.background_rgb
                pixels[own - first] = tiles.pixels
                features = self._pool.submit(self._encode, pixels).result()[own - first]
            yield RowFeatures(own, features, tiles.status, tiles.reason)

    def encode(self, batches: Iterable[Pixels]) -> Generator[FloatArray, None, None]:
        """Features of batches that lie in memory, in order, as many at a time as for a slide.

        Args:
            batches: uint8 (B, H, W, 3) each.
        """
        waiting: deque[Future[FloatArray]] = deque()
        for pixels in batches:
            waiting.append(self._pool.submit(self._encode, pixels))
            if len(waiting) > WAITING_PER_THREAD * self._num_parallel:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def with_encoder(self, encoder: TileEncoder) -> "TileStream":
        """The same stream, encoded by another encoder."""
        return TileStream(encoder, self.batch_size, self._asked_readers)

    def close(self) -> None:
        """Ends the threads of the encoder."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(self._num_threads)  # for threads that start later

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _share_cores(self) -> None:
        """Gives a thread of the encoder its share of the cores, in what PyTorch does there.

        Batches side by side on a thread each wait for nobody. The threads of one batch wait for
        each other in loops: beside other work on the machine that took four times the CPU time.
        And bytes that one thread computes do not depend on how many cores there are.
        """
        torch.set_num_threads(max(1, self._num_threads // self._num_parallel))

    def _encode(self, pixels: Pixels) -> FloatArray:
        tiles = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        features: FloatArray = self.encoder.encode(tiles).numpy()
        return features


def _remade(encoder: TileEncoder, batch_size: int, num_readers: int | None) -> TileStream:
    """The stream in another process, which may have fewer cores."""
    return TileStream(encoder, batch_size, num_readers, most_parallel=available_cores())


def _first(waiting: "deque[tuple[TilePixels, Future[FloatArray]]]") -> TileFeatures:
    tiles, features = waiting.popleft()
    return TileFeatures(tiles.start, features.result(), tiles.status, tiles.reason)
