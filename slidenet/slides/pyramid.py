"""Which levels of a file are smaller copies of its level 0, and by how much.

Files say only how large each level is. A level that was padded to whole tiles, cropped, or is
another picture altogether (macro, label) is no scaled copy: read at level-0 coordinates it shows
other places of the slide, without any error.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

Size = tuple[int, int]

_TILE_STEP = 16
"""TIFF tiles have sides of a multiple of 16; a level padded to whole tiles has, too."""
_NEAR_WHOLE = 0.1
"""A padded or cropped level is off the whole factor it was made with by less than this share."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a pyramid.

    Attributes:
        width: Its pixels across.
        height: Its pixels down.
        downsample_x: Level-0 pixels per pixel across; a whole number where rounding of the size
            explains the difference.
        downsample_y: The same, down.
        problem: Why the level is no copy of level 0 and must not be used, as a clause; None for
            a usable one.
    """

    width: int
    height: int
    downsample_x: float
    downsample_y: float
    problem: str | None = None

    @property
    def downsample(self) -> float:
        """Level-0 pixels per pixel, the geometric mean of both axes."""
        x, y = self.downsample_x, self.downsample_y
        return x if x == y else math.sqrt(x * y)


def check_levels(
    dimensions: Sequence[Size], foreign: Mapping[Size, str] = MappingProxyType({})
) -> tuple[Level, ...]:
    """Levels with their downsample per axis, each compared with level 0.

    Sizes are rounded to whole pixels, so both ratios are known up to one pixel of the level. A
    level fits where some factor explains its width and its height. A whole factor is preferred;
    another one is believed only where padding or cropping cannot explain it.

    Args:
        dimensions: (width, height) of each level; the first is level 0.
        foreign: Sizes of levels that are known to be something else, with the reason.
    """
    (width_0, height_0), *_ = dimensions
    levels = [Level(width_0, height_0, 1.0, 1.0)]
    for width, height in dimensions[1:]:
        if width < 1 or height < 1:
            levels.append(Level(width, height, math.inf, math.inf, "it has no pixel"))
            continue
        ratios = width_0 / width, height_0 / height
        low, high = _factors((width_0, height_0), (width, height))
        whole = _whole_factor(low, high, math.sqrt(ratios[0] * ratios[1]))
        if (width, height) in foreign:
            levels.append(Level(width, height, *ratios, foreign[width, height]))
        elif whole is not None:
            levels.append(Level(width, height, whole, whole))
        else:
            levels.append(
                Level(width, height, *ratios, _problem((width, height), ratios, low < high))
            )
    return tuple(levels)


def _factors(full: Size, small: Size) -> tuple[float, float]:
    """Open interval of factors that explain both sides of a level, empty where low >= high."""
    low = max(large / (side + 1) for large, side in zip(full, small, strict=True))
    high = min(
        large / (side - 1) if side > 1 else math.inf
        for large, side in zip(full, small, strict=True)
    )
    return low, high


def _whole_factor(low: float, high: float, ratio: float) -> float | None:
    """The whole number between two bounds that is nearest to a ratio; a power of 2 comes first."""
    if not low < high:
        return None
    power = 2.0 ** round(math.log2(ratio))
    if low < power < high and power >= 1:
        return power
    first, last = math.floor(low) + 1, math.ceil(high) - 1 if math.isfinite(high) else math.inf
    nearest = min(max(round(ratio), first), last)
    return float(nearest) if low < nearest < high and nearest >= 1 else None


def _problem(size: Size, ratios: tuple[float, float], same: bool) -> str | None:
    """Why a level without a whole factor does not fit; None where a fractional factor is right."""
    across, down = ratios
    if not same:
        return (
            f"its width is 1/{across:.6g} and its height 1/{down:.6g} of level 0: padded, cropped "
            "or another picture"
        )
    ratio = math.sqrt(across * down)
    if ratio < 1:
        return "it is larger than level 0"
    nearest = max(round(ratio), 1)
    padded = all(side % _TILE_STEP == 0 for side in size)
    if padded or abs(ratio - nearest) < _NEAR_WHOLE * nearest:
        return f"it is 1/{ratio:.6g} of level 0, which is no whole factor: padded or cropped"
    return None
