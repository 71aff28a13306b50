"""Pixels of any meaning are shown as that meaning or refused, whichever reader is asked."""

import warnings
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide

RGB = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
GREY = RGB[..., 0]
AS_GREY = np.dstack([GREY] * 3)
DEEP, DEEP_GREY = RGB.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257
ALPHA = np.where(np.arange(90)[:, None] < 40, 0, 255).astype(np.uint8) * np.ones((1, 70), np.uint8)
ALPHA[40:60] = 128
BILEVEL = GREY > 128
PLANAR, CHUNKY = {"planarconfig": "separate"}, {"planarconfig": "contig"}
ASSOCIATED, UNASSOCIATED = {"extrasamples": ["assocalpha"]}, {"extrasamples": ["unassalpha"]}
BLACK, WHITE, COLOUR = ({"photometric": p} for p in ("minisblack", "miniswhite", "rgb"))
PALETTE = Image.fromarray(RGB).quantize(64)
COLOURS = np.zeros((3, 256), np.uint16)
COLOURS[:, :64] = np.array(PALETTE.getpalette()[:192]).reshape(-1, 3).T


def planes(chunky):
    return np.ascontiguousarray(np.moveaxis(chunky, -1, 0))


def on_white(rgb):
    alpha = ALPHA[..., None].astype(int)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def with_alpha(rgb, premultiplied=False):
    colours = (rgb * ALPHA[..., None].astype(int) + 127) // 255 if premultiplied else rgb
    return np.dstack([colours, ALPHA]).astype(np.uint8)


def grey_alpha(grey):
    return np.dstack([grey, ALPHA])


def turned(orientation):
    exif, stored = Image.Exif(), BytesIO()
    exif[274] = orientation
    Image.fromarray(RGB).save(stored, "PNG", exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(stored)))


def tag(orientation):
    return {"extratags": [(274, "H", 1, orientation, True)]}


PAL = {"photometric": "palette"}
KINDS = {
    "rgb": (RGB, RGB, COLOUR),
    "rgb, big endian": (DEEP.astype(">u2"), RGB, {"predictor": True}),
    "planes": (planes(RGB), RGB, PLANAR),
    "grey": (GREY, AS_GREY, BLACK),
    "grey, inverted": (255 - GREY, AS_GREY, WHITE),
    "bilevel": (BILEVEL, np.dstack([BILEVEL * np.uint8(255)] * 3), BLACK | {"compression": None}),
    "bilevel, inverted": (~BILEVEL, np.dstack([BILEVEL * np.uint8(255)] * 3), WHITE),
    "4 bits": (
        GREY >> 4,
        np.dstack([(GREY >> 4) * np.uint8(17)] * 3),
        BLACK | {"bitspersample": 4, "compression": None},
    ),
    "16 bits": (DEEP, RGB, COLOUR),
    "16 bits, planes": (planes(DEEP), RGB, PLANAR),
    "16 bits, 12 used": (RGB.astype(np.uint16) * 16, RGB, COLOUR),
    "16 bits, 14 used": (RGB.astype(np.uint16) * 64, RGB, COLOUR),
    "12 bits": (RGB.astype(np.uint16) * 16, RGB, {"bitspersample": 12, "compression": None}),
    "grey of 16 bits": (DEEP_GREY, AS_GREY, BLACK),
    "grey of 16 bits, inverted": (65535 - DEEP_GREY, AS_GREY, WHITE),
    "signed": ((RGB.astype(int) - 128).astype(np.int8), RGB, COLOUR),
    "32 bits": (RGB.astype(np.uint32) << 24, RGB, COLOUR),
    "float": (RGB / np.float32(255), RGB, COLOUR),
    "alpha": (with_alpha(RGB), on_white(RGB), UNASSOCIATED),
    "alpha, premultiplied": (with_alpha(RGB, True), on_white(RGB), ASSOCIATED),
    "alpha, planes": (planes(with_alpha(RGB)), on_white(RGB), UNASSOCIATED | PLANAR),
    "alpha, 16 bits": (with_alpha(RGB).astype(np.uint16) * 257, on_white(RGB), UNASSOCIATED),
    "fourth sample": (with_alpha(RGB), RGB, {"extrasamples": ["unspecified"]}),
    "grey, alpha": (grey_alpha(GREY), on_white(AS_GREY), BLACK | UNASSOCIATED | CHUNKY),
    "inverted, alpha": (grey_alpha(255 - GREY), on_white(AS_GREY), WHITE | UNASSOCIATED | CHUNKY),
    "two samples": (grey_alpha(GREY), AS_GREY, BLACK | CHUNKY),
    "five samples": (np.dstack([RGB, ALPHA, ALPHA]), RGB, COLOUR),
    "inks": (np.dstack([255 - RGB, 0 * GREY]), RGB, {"photometric": "separated"}),
    "Lab": (cv2.cvtColor(RGB, cv2.COLOR_RGB2LAB), RGB, {"photometric": "cielab"}),
    "palette": (np.asarray(PALETTE), PALETTE, PAL | {"colormap": COLOURS * 257}),
    "palette of bytes": (np.asarray(PALETTE), PALETTE, PAL | {"colormap": COLOURS}),
    "palette of 16 bits": (
        GREY.astype(np.uint16),
        AS_GREY,
        PAL | {"colormap": np.tile(np.arange(65536, dtype="u2"), (3, 1))},
    ),
    **{f"orientation {i}": (RGB, turned(i), tag(i)) for i in (3, 5, 8)},
    "orientation 6, planes": (planes(RGB), turned(6), tag(6) | PLANAR),
    "orientation 6, 16 bits": (DEEP, turned(6), tag(6)),
}  # fmt: skip
READ = {
    "rgb", "planes", "grey", "grey, inverted", "16 bits", "16 bits, planes",
    "alpha", "alpha, premultiplied", "alpha, planes", "alpha, 16 bits", "palette",
    "rgb, big endian",
}  # fmt: skip
"""Kinds that some reader shows, in tiles and in strips: refusing all would be right, too."""


@pytest.mark.parametrize("tiled", [True, False], ids=["tiles", "strips"])
@pytest.mark.parametrize("kind", KINDS)
def test_right_or_refused(tmp_path, kind, tiled):
    image, wanted, settings = KINDS[kind]
    settings = {"photometric": "rgb", "compression": "deflate", "metadata": None} | settings
    cut = {"tile": (32, 32)} if tiled else {"rowsperstrip": 16}
    path = tmp_path / "x.tif"
    with warnings.catch_warnings(action="ignore"):  # tifffile, on what it writes
        tifffile.imwrite(path, image, **settings, **cut)
    wanted = np.asarray(wanted.convert("RGB") if isinstance(wanted, Image.Image) else wanted)
    shown = {}
    for reader in (None, "openslide", "flat") if tiled else (None,):
        try:
            with open_slide(path, mpp=0.5, reader=reader) as slide:
                shown[reader] = slide.read_region((0, 0), 0, slide.level_dimensions[0])
        except UnreadableSlideError as error:
            assert str(error).count(". To fix: ") == 1  # noqa: PT017
    for reader, pixels in shown.items():
        assert pixels.shape == wanted.shape, reader
        assert np.abs(pixels.astype(int) - wanted).max() <= 1, reader
    assert (None in shown) or kind not in READ
