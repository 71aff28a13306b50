"""Glass and light: tints, uneven illumination, haze, the pattern of an array slide."""

import cv2
import numpy as np

from slidenet.testing.tissue_scenes.fields import blurred, grid, smooth_field
from slidenet.testing.tissue_scenes.scene import Canvas

TINTS = {
    "a": {"yellow": (240, 228, 178), "blue": (203, 219, 246), "pink": (246, 214, 228)},
    "b": {"yellow": (228, 214, 188), "blue": (214, 236, 240), "pink": (236, 208, 236)},
}
"""RGB of tinted glass. Pink is the mountant of a section that bled eosin everywhere."""


def clear(canvas: Canvas) -> None:
    """White glass, with what every scanner has: a slight gradient and faint stripes."""
    rng, (height, width) = canvas.rng, canvas.shape
    canvas.light[:] = (rng.uniform(232, 250) + rng.normal(0, 1.5, 3)) / 255
    x, y = grid(canvas.shape)
    slope = rng.normal(0, 0.006, 2)
    canvas.light *= (1 + slope[0] * (x / width - 0.5) + slope[1] * (y / height - 0.5))[..., None]
    stripes = np.repeat(rng.normal(0, 0.0025, width // 30 + 2), 30)[:width]
    canvas.light *= (1 + stripes)[None, :, None].astype(np.float32)


def tint(canvas: Canvas, name: str) -> None:
    """Glass, mountant or lamp of another colour; strength by chance."""
    rgb = np.array(TINTS[canvas.palette][name]) / 245
    strength = canvas.rng.uniform(0.6, 1.15)
    canvas.light *= (np.minimum(rgb, 1) ** strength).astype(np.float32)
    patchy = 1 + 0.01 * smooth_field(canvas.rng, canvas.shape, 200)
    canvas.light *= patchy[..., None]


def uneven(canvas: Canvas) -> None:
    """Light that falls off: to the corners, to one side, or within every field of the camera."""
    rng, (height, width) = canvas.rng, canvas.shape
    x, y = grid(canvas.shape)
    how = rng.integers(3)
    if how == 0:
        centre = rng.uniform(0.35, 0.65, 2)
        far = ((x / width - centre[0]) ** 2 + (y / height - centre[1]) ** 2) / 0.5
        falloff = 1 - rng.uniform(0.25, 0.45) * far
    elif how == 1:
        turn = rng.uniform(0, 2 * np.pi)
        along = np.cos(turn) * (x / width - 0.5) + np.sin(turn) * (y / height - 0.5)
        falloff = 1 - rng.uniform(0.12, 0.22) * (1 + along / 0.7)
    else:
        side = int(rng.integers(90, 180))
        from_middle = (
            np.abs(np.mod(x, side) / side - 0.5) ** 2 + np.abs(np.mod(y, side) / side - 0.5) ** 2
        )
        falloff = 1 - rng.uniform(0.08, 0.2) * 2 * from_middle
    canvas.light *= np.asarray(falloff, np.float32)[..., None]
    canvas.light = np.clip(canvas.light, 0.2, 1)


def haze(canvas: Canvas) -> None:
    """A pink halo on one side of the section, as on slides of her2st: eosin in the mountant.

    With what such slides have besides: lilac glass, rows of printed spots, stripes, a smear.
    """
    rng, (height, width) = canvas.rng, canvas.shape
    lilac = {"a": (0.905, 0.842, 0.908), "b": (0.925, 0.875, 0.890)}[canvas.palette]
    canvas.light[:] = np.array(lilac) * rng.uniform(0.97, 1.05) + rng.normal(0, 0.006, 3)
    away = np.asarray(cv2.distanceTransform((~canvas.truth).astype(np.uint8), cv2.DIST_L2, 5))
    x, y = grid(canvas.shape)
    turn = rng.uniform(0, 2 * np.pi)
    side = np.cos(turn) * (x / width - 0.5) + np.sin(turn) * (y / height - 0.5)
    one_sided = 1 / (1 + np.exp(-8 * side - 1.5 * smooth_field(rng, canvas.shape, 220)))
    halo = blurred(np.exp(-away / rng.uniform(35, 90)), 14) * one_sided
    dye = {"a": (0.02, 0.11, 0.045), "b": (0.012, 0.10, 0.075)}[canvas.palette]
    canvas.density += (rng.uniform(0.7, 1.5) * halo)[..., None] * np.array(dye, np.float32)
    stripes = np.repeat(rng.normal(0, 0.006, (width // 60 + 2, 3)), 60, axis=0)[:width]
    canvas.light *= 1 + blurred(stripes, 5)[None]
    pitch = rng.uniform(34, 42)
    spots = ((np.mod(x, pitch) - pitch / 2) ** 2 + (np.mod(y, pitch) - pitch / 2) ** 2) < 36
    canvas.density += (blurred(spots, 1.5) * rng.uniform(0, 0.022))[..., None]
    smear = np.clip(smooth_field(rng, canvas.shape, 160, 3) - 1.6, 0, None)
    canvas.density += (0.02 * smear)[..., None]
