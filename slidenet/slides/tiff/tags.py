"""Numbers of the TIFF world and the words for them."""

from enum import IntEnum


class Tag(IntEnum):
    """Tags that are looked at."""

    SUBFILE_TYPE = 254
    IMAGE_WIDTH = 256
    IMAGE_LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    IMAGE_DESCRIPTION = 270
    MAKE = 271
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTE_COUNTS = 279
    MAX_SAMPLE_VALUE = 281
    X_RESOLUTION = 282
    Y_RESOLUTION = 283
    PLANAR_CONFIGURATION = 284
    RESOLUTION_UNIT = 296
    SOFTWARE = 305
    PREDICTOR = 317
    COLOR_MAP = 320
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    TILE_OFFSETS = 324
    TILE_BYTE_COUNTS = 325
    SUB_IFDS = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    JPEG_TABLES = 347
    YCBCR_SUBSAMPLING = 530
    XMP = 700
    IMAGE_DEPTH = 32997
    ICC_PROFILE = 34675
    NDPI_VERSION = 65420
    NDPI_LENS = 65421
    NDPI_FOCAL_PLANE = 65424


TYPE_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
    16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value of each field type."""

TYPE_DTYPES = {
    1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4",
    16: "u8", 17: "i8", 18: "u8",
}  # fmt: skip
"""NumPy codes of the field types that are one number; text and fractions are read elsewhere."""

CHUNKY, PLANAR = 1, 2
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE, TRANSPARENCY_MASK, SEPARATED, YCBCR, CIELAB = (
    0, 1, 2, 3, 4, 5, 6, 8,
)  # fmt: skip

PHOTOMETRICS = {
    0: "grey, 0 is white",
    1: "grey, 0 is black",
    2: "RGB",
    3: "palette",
    4: "a transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw",
}

NONE, LZW, OLD_JPEG, JPEG, DEFLATE, OLD_DEFLATE, PACKBITS = 1, 5, 6, 7, 8, 32946, 32773
APERIO_J2K_YCBCR, APERIO_J2K_RGB, JPEG2000 = 33003, 33005, 34712
LZMA, ZSTD, WEBP, JPEG_XL, JPEG_XL_DNG = 34925, 50000, 50001, 50002, 52546

COMPRESSIONS = {
    1: "uncompressed",
    2: "CCITT run lengths",
    3: "CCITT fax group 3",
    4: "CCITT fax group 4",
    5: "LZW",
    6: "old-style JPEG",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "deflate",
    33003: "JPEG 2000 (Aperio, YCbCr)",
    33005: "JPEG 2000 (Aperio, RGB)",
    33007: "JPEG, lossy (vendor)",
    34661: "JBIG",
    34676: "SGI LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "JPEG, lossy (DNG)",
    34925: "LZMA",
    34926: "Zstandard",
    34927: "WebP",
    34933: "PNG",
    34934: "JPEG XR",
    48124: "Jetraw",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL (DNG)",
}


def compression_name(number: int) -> str:
    """Words for a compression: "JPEG 2000 (Aperio, RGB)"; the number where nobody knows it."""
    return COMPRESSIONS.get(number, f"number {number}")
