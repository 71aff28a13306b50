"""Where tissue lies on a scene: sections, biopsies, cores of a tissue microarray."""

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray
from slidenet.testing.tissue_scenes.fields import blob, curve, grid, pieces, ragged, smooth_field
from slidenet.testing.tissue_scenes.scene import SCENE_MPP, Canvas


def sections(canvas: Canvas, count: int | None = None) -> list[BoolArray]:
    """One to five pieces of tissue with frayed edges that do not overlap, each bool (h, w)."""
    rng = canvas.rng
    count = count or int(rng.integers(1, 6))
    taken = np.zeros(canvas.shape, np.bool_)
    found = []
    for inside in pieces(rng, canvas.shape, count):
        piece = ragged(rng, inside, float(rng.uniform(0.3, 1.3))) & ~taken
        # A gap of a few pixels between pieces, so that each is a piece of its own.
        taken |= np.asarray(cv2.dilate(piece.astype(np.uint8), np.ones((9, 9), np.uint8))) > 0
        found.append(piece)
    return found


def biopsies(canvas: Canvas) -> BoolArray:
    """Needle biopsies, 0.17 to 0.3 mm thick and 1.5 to 5 mm long, and fragments of them."""
    rng, (height, width) = canvas.rng, canvas.shape
    cores = np.zeros(canvas.shape, np.uint8)
    for _ in range(int(rng.integers(2, 7))):
        length = float(rng.uniform(1500, 5000)) / SCENE_MPP
        thickness = max(int(rng.uniform(170, 300) / SCENE_MPP), 2)
        way = curve(rng, (0.0, 0.0), length, 0.35)
        middle = rng.uniform(0.25, 0.75, 2) * (width, height)
        points = (way - way.mean(axis=0) + middle).round().astype(np.int32)
        for part in np.array_split(points, int(rng.integers(1, 4))):
            kept = part[int(rng.integers(0, 12)) :]
            cv2.polylines(cores, [kept], False, 1, thickness)
    inside = cv2.distanceTransform(cores, cv2.DIST_L2, 5) - cv2.distanceTransform(
        1 - cores, cv2.DIST_L2, 5
    )
    frayed = (
        inside
        + 1.6 * smooth_field(rng, canvas.shape, 10)
        + 0.7 * smooth_field(rng, canvas.shape, 3)
    )
    return np.asarray(frayed > 0)


def cores(canvas: Canvas) -> BoolArray:
    """A tissue microarray: cores of 0.6 to 1 mm in rows, some lost, some torn."""
    rng, (height, width) = canvas.rng, canvas.shape
    radius = float(rng.uniform(300, 500)) / SCENE_MPP
    pitch = radius * float(rng.uniform(2.3, 2.9))
    x, y = grid(canvas.shape)
    inside = np.full(canvas.shape, -1e3, np.float32)
    for row in np.arange(pitch * 0.6, height, pitch):
        for column in np.arange(pitch * 0.6, width, pitch):
            if rng.random() < 0.12:
                continue
            cx, cy = np.array((column, row)) + rng.normal(0, 0.05 * radius, 2)
            core = radius * rng.uniform(0.85, 1.05) - np.hypot(x - cx, y - cy)
            if rng.random() < 0.3:  # torn: a part is gone
                turn = rng.uniform(0, 2 * np.pi)
                torn = np.cos(turn) * (x - cx) + np.sin(turn) * (y - cy)
                core = np.minimum(core, rng.uniform(0, 0.8) * radius - torn)
            inside = np.maximum(inside, core)
    frayed = (
        inside
        + 1.5 * smooth_field(rng, canvas.shape, 14)
        + 0.7 * smooth_field(rng, canvas.shape, 3)
    )
    return np.asarray(frayed > 0)


def crossing_borders(canvas: Canvas) -> BoolArray:
    """Pieces that the borders of the slide cut, bool (h, w)."""
    rng, (height, width) = canvas.rng, canvas.shape
    found = np.zeros(canvas.shape, np.bool_)
    for side in rng.permutation(4)[: rng.integers(2, 4)]:
        along = rng.uniform(0.2, 0.8)
        centre = (
            (along * width, 0),
            (along * width, height),
            (0, along * height),
            (width, along * height),
        )[side]
        radii = (float(rng.uniform(120, 300)), float(rng.uniform(90, 200)))
        found |= ragged(rng, blob(rng, canvas.shape, centre, radii), float(rng.uniform(0.3, 1.2)))
    return found
