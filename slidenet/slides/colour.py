"""From the pixels a library hands out to plain RGB: transparency and ICC profiles."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageCms

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides.protocol import RGB, Pixels

WHITE: RGB = (255, 255, 255)


def parse_background(text: str | None) -> RGB:
    """The colour in openslide's property for it ("RRGGBB"); white if unset."""
    if text is None:
        return WHITE
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def to_srgb(
    read_profile: Callable[[], ImageCms.ImageCmsProfile | None], *, slide: str
) -> ImageCms.ImageCmsTransform | None:
    """The transform from an embedded ICC profile to sRGB, with the profile's own intent.

    Args:
        read_profile: Gives the profile, or None where there is none.
        slide: Name of the slide, for messages.

    Raises:
        UnreadableSlideError: The profile is broken or not one of RGB.
    """
    try:
        source = read_profile()
        if source is None:
            return None
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(source, target, "RGB", "RGB", renderingIntent=intent)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise UnreadableSlideError(
            f"its ICC profile cannot be used ({error})",
            remedy="leave the profile out (no --icc)",
            slide=slide,
        ) from error


def to_rgb(
    image: Image.Image, background: RGB, transform: ImageCms.ImageCmsTransform | None
) -> Pixels:
    """Opaque RGB of an RGBA or RGB image.

    Transparent pixels, which a slide has where the scanner stored nothing, take the background
    colour; without this they would be black. The profile applies to stored pixels only.

    Returns:
        uint8 (height, width, 3), C-contiguous, writeable.
    """
    if transform is None and image.mode == "RGBA":
        rgb = np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGBA2RGB), dtype=np.uint8)
    else:
        stored = image.convert("RGB")
        if transform is not None:
            ImageCms.applyTransform(stored, transform, inPlace=True)
        rgb = np.array(stored)
    if image.mode != "RGBA":
        return rgb
    alpha = np.asarray(image)[..., 3]
    if alpha.min() == 255:
        return rgb
    weight = alpha[..., None].astype(np.uint16)
    blended = rgb * weight + np.array(background, np.uint16) * (255 - weight)
    return ((blended + 127) // 255).astype(np.uint8)
