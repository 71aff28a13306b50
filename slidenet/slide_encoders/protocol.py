"""What every slide encoder is, LongNet or not: the features of one slide in, one vector out."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from slidenet.core.arrays import BoolArray, FeatureRows, IntArray
from slidenet.core.provenance import Identity
from slidenet.core.records import TileGeometry


@runtime_checkable
class SlideEncoder(Protocol):
    """What `embed-slides` asks of a slide encoder; nothing has to be inherited.

    `SLIDE_ENCODERS` makes them by name. One of another package is a class, or a function that gives
    one, called with `weights`, `device` and the settings that the user gave.

    Attributes:
        name: For the record.
        feature_dim: Length of the features it takes; None for any length.
    """

    @property
    def name(self) -> str:
        """For the record."""
        ...

    @property
    def feature_dim(self) -> int | None:
        """Length of the features it takes; None for any length."""
        ...

    def embed(
        self,
        features: FeatureRows,
        coords: IntArray,
        geometry: TileGeometry,
        *,
        mask: BoolArray,
        slide_id: str = "",
    ) -> Tensor:
        """One slide to its embedding.

        Args:
            features: Of its tiles (N, D), an array or a file; `features[:]` is an array of all.
            coords: int64 (N, 2), (x, y) of top-left corners, level-0 pixels.
            geometry: How the tiles were cut; brings mpp, tile size and extent of the slide.
            mask: bool (N,), True = real tile; the features of others are worthless (NaN included).
            slide_id: For messages.

        Returns:
            float32 (E,), on the CPU.

        Raises:
            EncoderError: For features it does not take, or no real tile.
            CoordinateError: For coordinates it cannot use.
        """
        ...

    def identity(self) -> Identity:
        """Everything that decides the numbers of an embedding, as JSON: name, weights, settings."""
        ...
