"""The last tiles of slides, too few for a batch, encoded together."""

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from slidenet.core.errors import EncoderError
from slidenet.tile_encoders import TileEncoder
from slidenet.tile_encoders.engines.choice import probe_images

_log = logging.getLogger(__name__)


class LeftOvers:
    """Fills batches with the last tiles of several slides.

    For engines that compute whole batches whatever they are given (`Engine.fixed_batch`): there the
    features of a tile depend neither on its place nor on its neighbours, which is tried before the
    first batch is shared. Nobody waits for more tiles: what has been put down when a batch is
    started goes along.

    Args:
        encoder: Whose engine has a fixed batch.
        batch_size: Tiles per batch.
    """

    def __init__(self, encoder: TileEncoder, batch_size: int) -> None:
        self._encoder = encoder
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._waiting: deque[Part] = deque()

    def put_down(self, tiles: Tensor) -> "Part":
        """Leaves the last tiles of a slide here, uint8 (B, 3, H, W), until `encode` is called."""
        part = Part(tiles)
        with self._lock:
            self._waiting.append(part)
        return part

    def encode(self, part: "Part") -> Tensor:
        """The features of a part, float32 (B, D); computes others' along where they fit.

        Raises:
            EncoderError: The encoder refuses these tiles or makes features that are not finite.
        """
        with self._lock:
            together = [] if part.taken else self._take_with(part)
        if len(together) > 1:
            self._encode_together(together)
        elif not together:
            part.done.wait()
        if part.features is None:  # where something is wrong with one, each finds out alone
            return self._encoder.encode(part.tiles)
        self._encoder.check_features(part.features)
        return part.features

    def _encode_together(self, parts: list["Part"]) -> None:
        try:
            images = [self._encoder.prepare(part.tiles) for part in parts]
            features = self._encoder.engine.run(torch.cat(images)).float().cpu()
            for part, own in zip(
                parts, torch.split(features, [len(i) for i in images]), strict=True
            ):
                part.features = own
        except EncoderError as error:
            _log.info("the last tiles of %d slides are encoded apart: %s", len(parts), error)
        finally:
            for part in parts:
                part.done.set()

    @cached_property
    def _share_batches(self) -> bool:
        """Whether the engine keeps its word on this machine: other places, the same bytes."""
        images = probe_images(self._batch_size, self._encoder.spec.transform.input_px)
        run = self._encoder.engine.run
        return torch.equal(run(images), run(images.flip(0)).flip(0))

    def _take_with(self, part: "Part") -> list["Part"]:
        self._waiting.remove(part)
        together, size = [part], len(part.tiles)
        while (
            self._waiting
            and size + len(self._waiting[0].tiles) <= self._batch_size
            and self._share_batches
        ):
            together.append(self._waiting.popleft())
            size += len(together[-1].tiles)
        for one in together:
            one.taken = True
        return together


@dataclass(eq=False)
class Part:
    """The last tiles of one slide.

    Attributes:
        tiles: uint8 (B, 3, H, W).
        taken: Whether a batch has been started with it.
        done: Set when that has ended.
        features: float32 (B, D); None before, and where it failed.
    """

    tiles: Tensor
    taken: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    features: Tensor | None = None
