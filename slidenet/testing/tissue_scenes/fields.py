"""Random fields and outlines: what is neither stain nor light of a scene, only its geometry."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray

Float32Array = npt.NDArray[np.float32]
Rng = np.random.Generator
Shape = tuple[int, int]


def smooth_field(rng: Rng, shape: Shape, scale: float, octaves: int = 1) -> Float32Array:
    """A random field (h, w) of mean 0 and deviation 1 whose features are `scale` px wide.

    Each further octave adds features half as wide and half as high.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        step = max(scale / 2**octave, 1.0)
        coarse = rng.normal(size=(int(height / step) + 3, int(width / step) + 3))
        total += resized(coarse.astype(np.float32), shape) / 2**octave
    return np.asarray((total - total.mean()) / max(float(total.std()), 1e-6), np.float32)


def resized(field: Float32Array, shape: Shape) -> Float32Array:
    """`field` interpolated to (h, w)."""
    return np.asarray(
        cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32
    )


def blurred(field: npt.NDArray[np.generic], sigma: float) -> Float32Array:
    """Gaussian smoothing; of a bool field, the soft coverage of its pixels."""
    return np.asarray(cv2.GaussianBlur(field.astype(np.float32), (0, 0), sigma), np.float32)


def grid(shape: Shape) -> tuple[Float32Array, Float32Array]:
    """X (1, w) and y (h, 1) of the pixels."""
    height, width = shape
    return (
        np.arange(width, dtype=np.float32)[None, :],
        np.arange(height, dtype=np.float32)[:, None],
    )


def ragged(rng: Rng, inside_px: Float32Array, raggedness: float = 1.0) -> BoolArray:
    """Where a distance to an outline, px and positive inside, is positive after it was frayed.

    Coarse bays of some 40 px, notches of 12 px and single pixels, as a torn edge of tissue has.
    """
    shape = (inside_px.shape[0], inside_px.shape[1])
    noise = 7 * smooth_field(rng, shape, 42) + 2.6 * smooth_field(rng, shape, 12)
    noise += 1.0 * smooth_field(rng, shape, 3)
    return np.asarray(inside_px + raggedness * noise > 0)


def blob(
    rng: Rng, shape: Shape, centre: tuple[float, float], radii: tuple[float, float]
) -> Float32Array:
    """About the distance to the outline of a lobed piece, px, positive inside.

    Now and then the piece is cut straight.

    Args:
        rng: Decides lobes, direction and cuts.
        shape: (h, w) of the picture.
        centre: (x, y), px.
        radii: Along and across, px.
    """
    step = 4  # an outline has no finer detail
    coarse = (-(-shape[0] // step), -(-shape[1] // step))
    x, y = (step * along + (step - 1) / 2 for along in grid(coarse))
    turn = rng.uniform(0, np.pi)
    dx, dy = x - centre[0], y - centre[1]
    along = (np.cos(turn) * dx + np.sin(turn) * dy) / radii[0]
    across = (np.cos(turn) * dy - np.sin(turn) * dx) / radii[1]
    distance, angle = np.hypot(along, across), np.arctan2(across, along)
    reach = np.ones(coarse, np.float32)
    for waves in (2, 3, 5):
        reach += rng.uniform(0, 0.16) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    inside = np.asarray((reach - distance) * min(radii), np.float32)
    for _ in range(rng.integers(0, 3)):  # a blade cuts straight
        direction, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 0.9)
        cut = depth - (np.cos(direction) * along + np.sin(direction) * across)
        inside = np.minimum(inside, cut * min(radii))
    return resized(inside, (step * coarse[0], step * coarse[1]))[: shape[0], : shape[1]]


def pieces(
    rng: Rng, shape: Shape, count: int, size: tuple[float, float] = (0.6, 0.95)
) -> list[Float32Array]:
    """`count` blobs on a jittered grid, each as its distance field (see `blob`).

    Args:
        rng: Decides places and forms.
        shape: (h, w) of the picture.
        count: How many.
        size: Range of the radius, in halves of a grid cell.
    """
    height, width = shape
    columns = max(1, round(np.sqrt(count * width / height)))
    rows = -(-count // columns)
    cells = rng.permutation(rows * columns)[:count]
    found = []
    for cell in cells:
        row, column = divmod(int(cell), columns)
        x = (column + 0.5 + rng.uniform(-0.08, 0.08)) * width / columns
        y = (row + 0.5 + rng.uniform(-0.08, 0.08)) * height / rows
        half = 0.5 * min(width / columns, height / rows)
        radii = (half * rng.uniform(*size), half * rng.uniform(0.8, 1.0) * size[1])
        found.append(blob(rng, shape, (x, y), radii))
    return found


def curve(
    rng: Rng, start: tuple[float, float], length: float, bend: float
) -> npt.NDArray[np.float64]:
    """Points (N, 2), (x, y), of a wavering line, 2 px apart.

    Args:
        rng: Decides the way.
        start: (x, y) of its first point, px.
        length: px.
        bend: Deviation of the change of direction over 100 px, radians.
    """
    steps = max(int(length / 2), 2)
    turns = np.cumsum(np.repeat(rng.normal(0, bend / 5, steps // 10 + 1), 10)[:steps] / 2)
    heading = rng.uniform(0, 2 * np.pi) + turns
    moves = 2 * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    return np.asarray(np.array(start) + np.cumsum(moves, axis=0))
