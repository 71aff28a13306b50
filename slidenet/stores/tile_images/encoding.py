"""One tile as the bytes of an image file; the same bytes for the same pixels."""

from typing import Literal

import cv2
import numpy as np
import simplejpeg

from slidenet.core.arrays import UInt8Array
from slidenet.core.checks import check_choice, check_whole, refused

ImageFormat = Literal["png", "jpeg"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg")
SUFFIXES = {"png": ".png", "jpeg": ".jpg"}


def check_encoding(image_format: str, quality: int) -> None:
    """Refuses an unknown format and a quality that JPEG has not.

    Raises:
        ConfigError: Naming the setting.
    """
    check_choice(IMAGE_FORMATS, image_format=image_format)
    check_whole(quality=quality)
    if quality > 100:
        raise refused("quality", quality, "a whole number from 1 to 100")


def encode_tile(pixels: UInt8Array, image_format: ImageFormat, quality: int) -> bytes:
    """The bytes of an image file.

    Args:
        pixels: uint8 (h, w, 3), RGB.
        image_format: "png", which keeps every pixel, or "jpeg", with chroma at full resolution.
        quality: Of JPEG, 1 to 100.
    """
    if image_format == "png":
        _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))
        return encoded.tobytes()
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=quality,
        colorspace="RGB",
        colorsubsampling="444",
        fastdct=False,
    )
    return jpeg
