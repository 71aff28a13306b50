"""What a scanner makes of a canvas: places not scanned, optics, noise, JPEG."""

import cv2
import numpy as np

from slidenet.core.arrays import BoolArray, UInt8Array
from slidenet.testing.tissue_scenes.fields import Rng, Shape, blurred
from slidenet.testing.tissue_scenes.scene import Canvas


def developed(
    canvas: Canvas,
    *,
    noise: float | None = None,
    quality: int | None = None,
    blur: float = 0.0,
) -> UInt8Array:
    """The picture of a canvas, uint8 (h, w, 3), by Beer and Lambert's law.

    Args:
        canvas: Light and density.
        noise: Deviation of the camera's noise, grey levels; None: a good camera's, by chance.
        quality: Of JPEG, 1 to 100; None: none or a good one, by chance.
        blur: Deviation of what is out of focus, px, on top of the optics'.
    """
    rng = canvas.rng
    picture = 255 * canvas.light * np.exp(-canvas.density)
    picture = blurred(picture, float(rng.uniform(0.3, 0.6)) + blur)
    deviation = rng.uniform(0.4, 1.6) if noise is None else noise
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += deviation * grain * np.sqrt(picture.clip(1) / 255)
    image = np.clip(picture.round(), 0, 255).astype(np.uint8)
    if quality is None:
        quality = int(rng.integers(75, 93)) if rng.random() < 0.6 else None
    return image if quality is None else jpeg(image, quality)


def jpeg(image: UInt8Array, quality: int) -> UInt8Array:
    """`image` as it comes back from a JPEG file."""
    _, stored = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(
        np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    )


def unscanned_blocks(rng: Rng, tissue: BoolArray) -> BoolArray:
    """What a scanner leaves out that takes only fields with tissue, and seams between fields."""
    height, width = tissue.shape
    side = int(rng.integers(60, 150))
    left_out = np.ones(tissue.shape, np.bool_)
    for y in range(-int(rng.integers(side)), height, side):
        for x in range(-int(rng.integers(side)), width, side):
            field = (slice(max(y, 0), y + side), slice(max(x, 0), x + side))
            if tissue[field].any() or rng.random() < 0.12:
                left_out[field] = rng.random() < 0.03  # now and then one is lost
    seam = int(rng.integers(0, 4))
    if seam:
        at = int(rng.integers(side))
        left_out[:, at :: 2 * side] = True
        for offset in range(1, seam):
            left_out[:, at + offset :: 2 * side] = True
    return left_out


def padding(rng: Rng, shape: Shape) -> BoolArray:
    """Margins beyond the scanned area, on one to three sides, bool (h, w)."""
    outside = np.zeros(shape, np.bool_)
    for side in rng.permutation(4)[: rng.integers(1, 4)]:
        turned = np.rot90(outside, side)  # a view: its top rows are one of the four sides
        turned[: int(rng.uniform(0.06, 0.28) * len(turned))] = True
    return outside


def left_out(canvas: Canvas, image: UInt8Array, places: BoolArray, grey: int) -> UInt8Array:
    """`image` with `places`, bool (h, w), of one grey; there is no tissue there.

    Seams of a few pixels, and the rim of a pixel where resampling mixes, count neither way.
    """
    solid = np.asarray(cv2.morphologyEx(places.astype(np.uint8), cv2.MORPH_OPEN, np.ones((7, 7))))
    near = np.asarray(cv2.dilate(places.astype(np.uint8), np.ones((3, 3)))) > 0
    canvas.ignore |= near & canvas.truth & (solid == 0)
    canvas.truth &= solid == 0
    return np.where(places[..., None], np.uint8(grey), image)
