"""What lies on glass and is no tissue: dust, fibres, bubbles, the edge of the cover slip."""

import cv2
import numpy as np

from slidenet.testing.tissue_scenes.fields import blurred, curve, grid
from slidenet.testing.tissue_scenes.scene import Canvas


def dust(canvas: Canvas, amount: float = 1.0) -> None:
    """Specks, fibres and grains far out of focus, grey or brownish, on glass and tissue alike."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(int(amount * rng.integers(40, 160))):
        speck = np.zeros((16, 16), np.uint8)
        axes = tuple(int(v) for v in rng.integers(1, 4, 2))
        cv2.ellipse(speck, (8, 8), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        x, y = int(rng.integers(0, width - 16)), int(rng.integers(0, height - 16))
        dark = blurred(speck, 0.6) * rng.uniform(0.2, 1.8)
        canvas.density[y : y + 16, x : x + 16] += dark[..., None] * rng.uniform(0.85, 1.15, 3)
    fibres = np.zeros(canvas.shape, np.uint8)
    for _ in range(int(amount * rng.integers(2, 8))):
        start = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        points = curve(rng, start, float(rng.uniform(40, 220)), 2.0).round().astype(np.int32)
        cv2.polylines(fibres, [points], False, 1, int(rng.integers(1, 3)))
    canvas.density += (blurred(fibres, 0.7) * rng.uniform(0.2, 0.7))[..., None] * np.array(
        (1, 1, 1.05), np.float32
    )
    for _ in range(int(amount * rng.integers(1, 5))):  # as on the section her2st C3
        grain = np.zeros(canvas.shape, np.uint8)
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(grain, centre, int(rng.integers(5, 13)), 1, -1)
        canvas.density += (blurred(grain, float(rng.uniform(4, 8))) * rng.uniform(0.15, 0.7))[
            ..., None
        ]


def bubbles(canvas: Canvas) -> None:
    """Air under the cover slip: dark rings beside bright lines; tissue below stays tissue."""
    rng, (height, width) = canvas.rng, canvas.shape
    for _ in range(int(rng.integers(3, 11))):
        radius = float(rng.uniform(12, 90))
        centre = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
        shape = (
            centre,
            (2 * radius, 2 * radius * float(rng.uniform(0.75, 1))),
            float(rng.uniform(0, 180)),
        )
        ring, inner, disc = (np.zeros(canvas.shape, np.uint8) for _ in range(3))
        cv2.ellipse(ring, shape, 1, int(rng.integers(1, 5)))
        cv2.ellipse(inner, (centre, (shape[1][0] - 7, shape[1][1] - 7), shape[2]), 1, 1)
        cv2.ellipse(disc, shape, 1, -1)
        canvas.density += (blurred(ring, 0.8) * rng.uniform(0.15, 1.0))[..., None]
        canvas.density -= (blurred(inner, 0.8) * rng.uniform(0, 0.02))[..., None]
        canvas.density *= 1 - rng.uniform(0, 0.15) * blurred(disc, 1)[..., None]


def cover_slip_edge(canvas: Canvas) -> None:
    """Straight edges of the cover slip: a dark line, a bright one, dried mountant beyond."""
    rng, (height, width) = canvas.rng, canvas.shape
    x, y = grid(canvas.shape)
    for _ in range(int(rng.integers(1, 3))):
        turn = rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.normal(0, 0.04)
        reach = abs(np.cos(turn)) * width / 2 + abs(np.sin(turn)) * height / 2
        along = np.cos(turn) * (x - width / 2) + np.sin(turn) * (y - height / 2)
        beyond = along - reach * rng.uniform(0.72, 0.95)  # px; positive outside of the cover slip
        line = np.exp(-((beyond / rng.uniform(0.8, 2.2)) ** 2)) * rng.uniform(0.2, 1.2)
        bright = np.exp(-(((beyond + 4) / 1.5) ** 2)) * rng.uniform(0, 0.02)
        outside = 1 / (1 + np.exp(-beyond.clip(-50, 50)))
        film = rng.uniform(0.0, 0.05) * outside
        ridge = np.exp(-(((beyond - rng.uniform(6, 30)) / rng.uniform(3, 12)) ** 2)) * rng.uniform(
            0, 0.12
        )
        grey = line - bright + film
        canvas.density += grey[..., None].astype(np.float32)
        canvas.density += ridge[..., None] * np.array((0.8, 0.95, 1.3), np.float32)
