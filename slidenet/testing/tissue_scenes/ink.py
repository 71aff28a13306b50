"""Pens: strokes of dye on the cover slip, out of focus, over whatever lies below."""

from itertools import pairwise

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import Rng, Shape, blurred, curve, smooth_field
from slidenet.testing.tissue_scenes.scene import Canvas

INKS = {
    "a": {
        "black": (1.75, 1.75, 1.65),
        "blue": (2.0, 1.25, 0.35),
        "green": (2.0, 0.65, 1.25),
        "red": (0.16, 1.75, 1.35),
        "violet": (1.05, 1.8, 0.5),
    },
    "b": {
        "black": (1.45, 1.35, 1.15),
        "blue": (1.6, 0.75, 0.18),
        "green": (1.25, 0.38, 1.5),
        "red": (0.07, 1.25, 1.6),
        "violet": (1.2, 1.6, 0.3),
    },
}
"""Optical density of red, green and blue of pens that write well; family "b" has other brands."""

COLOURS = tuple(INKS["a"])


def write(canvas: Canvas, strokes: BoolArray, colour: str, *, wiped: bool = False) -> None:
    """Ink where `strokes`, bool (h, w), is; on tissue it counts neither way.

    Ink that was `wiped` with alcohol is weak, and some of it lies around the strokes.
    """
    rng = canvas.rng
    dye = np.array(INKS[canvas.palette][colour]) * (1 + rng.normal(0, 0.06, 3))
    soft = blurred(strokes, float(rng.uniform(1.0, 3.2)))
    flow = (
        1 + 0.10 * smooth_field(rng, canvas.shape, 70) + 0.05 * smooth_field(rng, canvas.shape, 7)
    )
    amount = soft * flow * rng.uniform(*((0.2, 0.5) if wiped else (0.55, 1.15)))
    if rng.random() < 0.5:  # dye gathers at the rim of a stroke that dries
        rim = np.clip(soft - blurred(strokes, 7), 0, None)
        amount = amount + 0.6 * rim
    if wiped:
        amount = amount + 0.2 * blurred(strokes, float(rng.uniform(8, 16)))
    density = np.clip(amount, 0, None)[..., None] * dye.clip(0.03)
    canvas.density += density.astype(np.float32)
    canvas.ignore |= (density.max(axis=2) > 0.04) & canvas.truth


def stroke(rng: Rng, shape: Shape, width: float, *, length: float, bend: float = 0.5) -> BoolArray:
    """A stroke somewhere on the slide, bool (h, w); see `curve`."""
    start = (float(rng.uniform(0.1, 0.9) * shape[1]), float(rng.uniform(0.1, 0.9) * shape[0]))
    return _drawn(shape, curve(rng, start, length, bend), width)


def dots(rng: Rng, shape: Shape, count: int) -> BoolArray:
    """Dots as a pen that is put down makes them, bool (h, w)."""
    marks = np.zeros(shape, np.uint8)
    for _ in range(count):
        place = (int(rng.uniform(0.04, 0.96) * shape[1]), int(rng.uniform(0.04, 0.96) * shape[0]))
        axes = tuple(int(v) for v in rng.integers(7, 26, 2))
        cv2.ellipse(marks, place, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return np.asarray(marks > 0)


def around(rng: Rng, tissue: BoolArray, width: float) -> BoolArray:
    """A ring drawn by hand around the largest piece, bool (h, w), in parts over it."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(tissue.astype(np.uint8))
    piece = labels == 1 + int(np.argmax(np.asarray(stats)[1:, cv2.CC_STAT_AREA]))
    points = np.argwhere(piece)[:, ::-1].astype(np.int32)
    hull = cv2.convexHull(points).reshape(-1, 2).astype(np.float64)
    closed = np.concatenate([hull, hull[:1]])
    steps = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    at = np.linspace(0, steps[-1], 160)
    ring = np.stack([np.interp(at, steps, closed[:, axis]) for axis in (0, 1)], axis=1)
    centre = ring.mean(axis=0)
    wobble = 1 + 0.05 * np.sin(np.linspace(0, 4 * np.pi, 160) + rng.uniform(0, 6))
    ring = centre + (ring - centre) * (rng.uniform(1.0, 1.2) * wobble)[:, None]
    return _drawn((tissue.shape[0], tissue.shape[1]), ring, width)


def letters(rng: Rng, shape: Shape, width: float) -> BoolArray:
    """A few characters somewhere, bool (h, w)."""
    marks = np.zeros(shape, np.uint8)
    text = "".join(rng.choice(list("ABCEHKMRTX2345789"), size=int(rng.integers(2, 5))))
    place = (int(rng.uniform(0.02, 0.6) * shape[1]), int(rng.uniform(0.2, 0.95) * shape[0]))
    size = float(rng.uniform(3, 5.5))
    cv2.putText(marks, text, place, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, size, 1, max(int(width), 5))
    return np.asarray(marks > 0)


def _drawn(shape: Shape, points: np.ndarray, width: float) -> BoolArray:
    """A line through points (N, 2) whose width wavers as the pressure of a hand does."""
    marks = np.zeros(shape, np.uint8)
    for index, (start, end) in enumerate(pairwise(points)):
        pressure = 1 + 0.15 * np.sin(index / 9)
        ends = [tuple(round(float(v)) for v in point) for point in (start, end)]
        cv2.line(marks, ends[0], ends[1], 1, max(int(width * pressure), 2))
    return np.asarray(marks > 0)
