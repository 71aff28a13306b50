"""Which colour a value of a map has.

Signed maps diverge about zero, from blue (against) over near white to vermilion (for): the pair of
Okabe and Ito (2008) that readers with any colour blindness tell apart, and both ends are as dark.
Unsigned maps run from pale to dark only, through other hues, so that nobody takes one kind for the
other; their lightness falls all the way, so that they can be read in grey, too.

Colours end where few tiles go beyond, since a single large value would leave all others pale. But
they never end below a quarter of the largest value: where a handful of tiles matters on a slide of
twenty thousand, a percentile alone would show the noise of all others in full colours.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, LinearSegmentedColormap

from slidenet.core.arrays import UInt8Array
from slidenet.core.errors import ConfigError
from slidenet.core.text import count_of
from slidenet.stores.tile_maps import TileMap

Float32Array = npt.NDArray[np.float32]

PERCENTILE = 99.0
NEAR = 1.25
"""Times that percentile, up to which the largest value is where colours end."""
LEAST_SHARE = 0.25
"""Of the largest value, which colours reach at least."""

DIVERGING = LinearSegmentedColormap.from_list(
    "against_for",
    ["#06406b", "#0072b2", "#7db7da", "#f3f2ef", "#f0a877", "#d55e00", "#843a00"],
)
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "little_much", ["#f7f4e3", "#cfe3a4", "#74c08f", "#2f8f92", "#265c87", "#2a2560"]
)
NO_VALUE_RGB = (236, 236, 236)
"""Of tiles in no bag; they are hatched, too."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """From values to colours.

    Attributes:
        low: The value of the first colour, and of all below.
        high: The value of the last colour, and of all above.
        signed: Whether colours diverge about zero.
        num_below: Tiles whose value lies below `low`.
        num_above: Tiles whose value lies above `high`.
        words: Where the colours end and why, as a sentence.
    """

    low: float
    high: float
    signed: bool
    num_below: int
    num_above: int
    words: str

    @property
    def colours(self) -> Colormap:
        """From `low` at 0 to `high` at 1."""
        return DIVERGING if self.signed else SEQUENTIAL

    def rgb(self, values: Float32Array) -> UInt8Array:
        """Colours of values.

        Args:
            values: (N,); NaN has `NO_VALUE_RGB`.

        Returns:
            uint8 (N, 3).
        """
        span = self.high - self.low
        # All of one value: the middle of a signed scale is its zero, and nothing is no colour.
        empty = 0.5 if self.signed else 0.0
        place = (values - self.low) / span if span > 0 else np.full(values.shape, empty)
        colours = self.colours(np.nan_to_num(place, nan=0.0), bytes=True)[:, :3]
        rgb = np.asarray(colours, dtype=np.uint8).copy()
        rgb[np.isnan(values)] = NO_VALUE_RGB
        return rgb


def scale_of(tile_map: TileMap, limits: tuple[float, float] | None = None) -> ColourScale:
    """The colours of a map.

    Args:
        tile_map: The map.
        limits: Where colours begin and end, so that several slides are comparable; of a signed map
            as far below zero as above. None: as the values of this map suggest.

    Raises:
        ConfigError: Limits that are no range, or one that is not symmetric for a signed map.
    """
    values = tile_map.values[~np.isnan(tile_map.values)].astype(np.float64)
    if limits is not None:
        low, high = limits
        grows = np.isfinite((low, high)).all() and low < high
        if not grows or (tile_map.signed and not np.isclose(low, -high)):
            raise ConfigError(
                f"limits of colours {low:g} to {high:g}",
                expected="a range that grows" + (", about zero" if tile_map.signed else ""),
            )
        reason = "as asked for"
    elif not len(values):
        low, high, reason = (-1.0 if tile_map.signed else 0.0), 1.0, "no tile has a value"
    elif tile_map.signed:
        high, reason = _end(np.abs(values))
        low = -high
    else:
        low = 0.0 if tile_map.unit == "share" else float(values.min())
        reach, reason = _end(values - low)
        high = low + reach
    below, above = int((values < low).sum()), int((values > high).sum())
    words = f"Colours run from {low:.3g} to {high:.3g} ({reason})"
    if len(values):
        words += f"; values are {values.min():.3g} to {values.max():.3g}"
    if below or above:
        words += f", {count_of('tile', below + above)} beyond the colours"
    return ColourScale(low, high, tile_map.signed, below, above, f"{words}.")


def _end(sizes: npt.NDArray[np.float64]) -> tuple[float, str]:
    """Where colours of sizes >= 0 end, and why."""
    largest, usual = float(sizes.max()), float(np.percentile(sizes, PERCENTILE))
    if largest == 0:
        return 1.0, "all values are equal"
    if largest <= NEAR * usual:
        return largest, "the largest"
    if usual >= LEAST_SHARE * largest:
        return usual, f"{PERCENTILE:g}th percentile of the tiles"
    return LEAST_SHARE * largest, "a quarter of the largest, since few tiles are that large"
