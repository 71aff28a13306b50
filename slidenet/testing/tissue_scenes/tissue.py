"""Tissue on a canvas: H&E, fat, mucin, necrosis, IHC."""

import cv2
import numpy as np
import numpy.typing as npt

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import Float32Array, blurred, smooth_field
from slidenet.testing.tissue_scenes.scene import Canvas
from slidenet.testing.tissue_scenes.textures import adipocytes, fibres, lobules, smooth

FAMILIES = {"a": fibres, "b": lobules, "c": smooth}
NORMAL_DENSITY = (0.36, 0.62)
"""Range of the mean optical density of H&E at full contrast; real slides have 0.38 to 0.76."""


def stain(canvas: Canvas, name: str) -> npt.NDArray[np.float64]:
    """Optical density (3,) of red, green and blue per amount of a stain in this laboratory."""
    base = np.array(FAMILIES[canvas.family].STAINS[name])
    return np.asarray(np.clip(base + canvas.rng.normal(0, 0.04, 3), 0.05, None))


def paint(canvas: Canvas, mask: BoolArray, density: Float32Array) -> None:
    """Lays tissue of optical density (h, w, 3) where `mask` is, with edges softened by optics."""
    canvas.density += blurred(mask, 0.6)[..., None] * density
    canvas.truth |= mask


def add_section(
    canvas: Canvas,
    mask: BoolArray,
    contrast: float = 1.0,
    *,
    balance: tuple[float, float] = (0.35, 0.65),
) -> None:
    """H&E tissue in `mask`; lumens stay glass.

    Args:
        canvas: Where it is painted.
        mask: bool (h, w), the tissue.
        contrast: Share of normal mean optical density.
        balance: Range of the share of haematoxylin; eosin is the rest.
    """
    rng = canvas.rng
    haematoxylin, eosin, lumens = FAMILIES[canvas.family].texture(rng, canvas.shape)
    mask = mask & ~lumens
    blue = rng.uniform(*balance)
    density = _mixed(canvas, {"haematoxylin": blue * haematoxylin, "eosin": (1 - blue) * eosin})
    density *= np.clip(1 + 0.15 * smooth_field(rng, canvas.shape, 250), 0.6, 1.5)[..., None]
    wanted = contrast * rng.uniform(*NORMAL_DENSITY)
    paint(canvas, mask, density * (wanted / max(float(density[mask].mean()), 1e-6)))


def add_fat(canvas: Canvas, mask: BoolArray) -> None:
    """Fat: thin membranes around cells as clear as glass, a few strands between lobules."""
    rng = canvas.rng
    fat, membranes = adipocytes(rng, mask, canvas.family)
    amount = membranes * rng.uniform(0.10, 0.26)
    strands = np.clip(1 - np.abs(smooth_field(rng, canvas.shape, 70, 2)) * 9, 0, 1)
    amount = amount + strands * rng.uniform(0.1, 0.5) + rng.uniform(0.004, 0.02)
    colour = stain(canvas, "eosin") + rng.uniform(0, 0.6) * stain(canvas, "haematoxylin")
    paint(canvas, fat, np.asarray(amount[..., None] * colour, np.float32))


def add_mucin(canvas: Canvas, mask: BoolArray) -> None:
    """Pools of mucin: pale, bluish, almost smooth, with wisps and a few floating cells."""
    rng = canvas.rng
    wisps = np.clip(1 - np.abs(smooth_field(rng, canvas.shape, 34, 3)) * 3, 0, 1)
    amount = rng.uniform(0.06, 0.11) + rng.uniform(0.06, 0.14) * wisps
    amount = amount * np.clip(1 + 0.25 * smooth_field(rng, canvas.shape, 90), 0.4, None)
    cells = blurred(rng.random(canvas.shape) < 0.006, 0.8) * rng.uniform(0.5, 1.5)
    colour = np.array((0.9, 0.85, 0.45)) + rng.normal(0, 0.06, 3)
    density = amount[..., None] * colour + cells[..., None] * stain(canvas, "haematoxylin")
    paint(canvas, mask, density.astype(np.float32))


def add_necrosis(canvas: Canvas, mask: BoolArray) -> None:
    """Necrosis: ghostly pink, granular, without nuclei but for dust of them here and there."""
    rng = canvas.rng
    grains = blurred(rng.gamma(2, 0.5, canvas.shape), 0.7)
    clouds = np.clip(1 + 0.3 * smooth_field(rng, canvas.shape, 60, 3), 0.35, None)
    dust = blurred(rng.random(canvas.shape) < 0.02, 0.6) * (
        smooth_field(rng, canvas.shape, 80) > 0.8
    )
    density = (rng.uniform(0.13, 0.28) * grains * clouds)[..., None] * stain(canvas, "eosin")
    density = density + dust[..., None] * stain(canvas, "haematoxylin")
    paint(canvas, mask, density.astype(np.float32))


def add_ihc(canvas: Canvas, mask: BoolArray, brown: float) -> None:
    """Immunostained tissue: pale blue counterstain, and DAB where the antibody binds.

    Args:
        canvas: Where it is painted.
        mask: bool (h, w), the piece.
        brown: Optical density of DAB where it is strong; 0 for a negative piece.
    """
    rng = canvas.rng
    haematoxylin, eosin, lumens = FAMILIES[canvas.family].texture(rng, canvas.shape)
    counterstain = 0.5 * haematoxylin / haematoxylin.mean() + 0.5 * eosin / eosin.mean()
    binds = np.clip(0.25 + 0.6 * smooth_field(rng, canvas.shape, 60, 3), 0, 1)
    density = _mixed(
        canvas,
        {
            "haematoxylin": rng.uniform(0.10, 0.2) * counterstain,
            "dab": brown * binds * (0.4 + 0.6 * haematoxylin / haematoxylin.mean()),
        },
    )
    paint(canvas, mask & ~lumens, density)


def fold(canvas: Canvas, count: int) -> None:
    """Folds: bands where tissue lies over tissue, some with a tear beside."""
    rng = canvas.rng
    for _ in range(count):
        band, tear = np.zeros(canvas.shape, np.uint8), np.zeros(canvas.shape, np.uint8)
        rows, columns = np.nonzero(canvas.truth)
        place = int(rng.integers(len(rows)))
        angle, length = rng.uniform(0, np.pi), rng.uniform(80, 320)
        along = np.linspace(-length / 2, length / 2, 40)
        bow = rng.uniform(-40, 40) * (1 - (2 * along / length) ** 2)
        x = columns[place] + np.cos(angle) * along - np.sin(angle) * bow
        y = rows[place] + np.sin(angle) * along + np.cos(angle) * bow
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        thickness = int(rng.integers(4, 14))
        cv2.polylines(band, [points], False, 1, thickness)
        if rng.random() < 0.6:
            shift = np.array((-np.sin(angle), np.cos(angle))) * (thickness / 2 + 3)
            cv2.polylines(
                tear, [(points + shift).round().astype(np.int32)], False, 1, int(rng.integers(2, 9))
            )
        torn = (tear > 0) & (band == 0) & canvas.truth
        canvas.density *= 1 - blurred(torn, 0.6)[..., None]
        canvas.truth &= ~torn
        # What is folded is not what lies there: its mean density, beside that of the place.
        mean = canvas.density[canvas.truth].mean(axis=0) * rng.uniform(0.8, 1.8)
        canvas.density += (blurred((band > 0) & canvas.truth, 0.7))[..., None] * mean


def _mixed(canvas: Canvas, amounts: dict[str, Float32Array]) -> Float32Array:
    """Optical density (h, w, 3) of amounts (h, w) of stains."""
    total = np.zeros((*canvas.shape, 3), np.float32)
    for name, amount in amounts.items():
        total += amount[..., None] * stain(canvas, name).astype(np.float32)
    return total
