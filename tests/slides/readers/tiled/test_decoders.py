"""One stored tile: its pixels, or a reason; never another tile's, never more memory than one."""

import lzma
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from slidenet.slides.readers.tiled.decoders import decoder_of, ycbcr_to_rgb
from slidenet.slides.readers.tiled.payload import PayloadError, TileFormat
from slidenet.slides.tiff import tags

SIDE = 64
YCBCR = TileFormat(SIDE, SIDE, tags.JPEG, tags.YCBCR)
RGB = TileFormat(SIDE, SIDE, tags.JPEG, tags.RGB)
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def tile(levels):
    return np.ascontiguousarray(levels[0][:SIDE, :SIDE])


@pytest.fixture(scope="module")
def jpeg(tile):
    return simplejpeg.encode_jpeg(tile, 90, "RGB", "420", fastdct=False)


@pytest.fixture(scope="module")
def rgb_jpeg(tile):
    return bytes(imagecodecs.jpeg8_encode(tile, level=95, colorspace="RGB", outcolorspace="RGB"))


def with_markers(jpeg, *markers):
    return jpeg[:2] + b"".join(markers) + jpeg[2:]


@pytest.mark.parametrize("markers", [(), (JFIF,), (ADOBE + b"\x01",), (JFIF, ADOBE + b"\x01")])
def test_the_index_says_the_colour_space_whatever_markers_say(tile, rgb_jpeg, markers):
    pixels = decoder_of(RGB).decode(with_markers(rgb_jpeg, *markers))
    assert np.abs(pixels.astype(int) - tile).mean() < 2


@pytest.mark.parametrize("markers", [(), (ADOBE + b"\x00",)])
def test_ycbcr_is_converted_whatever_markers_say(jpeg, markers):
    expected = simplejpeg.decode_jpeg(jpeg)
    pixels = decoder_of(YCBCR).decode(with_markers(jpeg, *markers))
    np.testing.assert_array_equal(pixels, expected)
    assert np.abs(decoder_of(RGB).decode(jpeg).astype(int) - expected).mean() > 10


def test_tiles_with_headers_of_their_own_do_not_mix(jpeg, tile):
    decoder = decoder_of(YCBCR)
    coarse = simplejpeg.encode_jpeg(tile, 20, "RGB", "444", fastdct=False)
    for data in (jpeg, coarse, jpeg, coarse):
        np.testing.assert_array_equal(decoder.decode(data), simplejpeg.decode_jpeg(data))


def test_an_array_is_filled_and_returned(jpeg):
    out = np.zeros((SIDE, SIDE, 3), np.uint8)
    assert np.shares_memory(decoder_of(YCBCR).decode(jpeg, out), out)
    np.testing.assert_array_equal(out, simplejpeg.decode_jpeg(jpeg))


def test_only_zeros_before_the_end_marker_are_padding(jpeg):
    decoder, good = decoder_of(YCBCR), simplejpeg.decode_jpeg(jpeg)
    assert jpeg.endswith(b"\xff\xd9")
    for padding in (b"\x00", b"\x00" * 9):
        np.testing.assert_array_equal(decoder.decode(jpeg[:-2] + padding + jpeg[-2:]), good)
    np.testing.assert_array_equal(decoder.decode(jpeg + b"after the end"), good)
    for junk in (b"\x12\x34\x56" * 20, bytes(60) + b"\x01"):
        with pytest.raises(PayloadError, match="extraneous bytes"):
            decoder.decode(jpeg[:-2] + junk + jpeg[-2:])


def test_zeros_in_place_of_data_are_no_padding():
    """They decode as if they were data, and some are left over."""
    decoder, left_over = decoder_of(YCBCR), 0
    for seed in range(6):
        noise = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        smooth = cv2.GaussianBlur(noise, (0, 0), 1 + seed)
        jpeg = simplejpeg.encode_jpeg(smooth, 90, "RGB", "420", fastdct=False)
        for zeroed in range(100, len(jpeg) - 700, 100):
            damaged = jpeg[: -2 - zeroed] + bytes(zeroed) + jpeg[-2:]
            try:
                simplejpeg.decode_jpeg(damaged)
            except ValueError as error:
                left_over += "extraneous bytes" in str(error)
                with pytest.raises(PayloadError, match="Corrupt JPEG data"):
                    decoder.decode(damaged)
    assert left_over


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "Premature end"),
        (lambda data: data[:2] + data[10:], "should begin a segment|before its first scan|JPEG"),
        (lambda data: b"\x00" * len(data), "does not begin as a JPEG"),
        (lambda data: data[:40], "ends before its first scan"),
        (lambda data: b"", "does not begin as a JPEG"),
    ],
)
def test_damaged_jpeg(jpeg, damage, reason):
    with pytest.raises(PayloadError, match=reason):
        decoder_of(YCBCR).decode(damage(jpeg))


def test_what_a_jpeg_claims_is_compared_with_the_index_before_decoding(jpeg):
    frame = jpeg.index(b"\xff\xc0")
    huge = jpeg[: frame + 5] + b"\xff\x00\xff\x00" + jpeg[frame + 9 :]
    with pytest.raises(PayloadError, match="claims 65280x65280 px, the index says 64x64"):
        decoder_of(YCBCR).decode(huge)
    twelve_bits = jpeg[: frame + 4] + b"\x0c" + jpeg[frame + 5 :]
    with pytest.raises(PayloadError, match="12 bits per sample"):
        decoder_of(YCBCR).decode(twelve_bits)
    grey = simplejpeg.encode_jpeg(np.zeros((SIDE, SIDE, 1), np.uint8), 90, "GRAY")
    with pytest.raises(PayloadError, match="claims 1 samples per pixel, the index says 3"):
        decoder_of(YCBCR).decode(grey)
    with pytest.raises(PayloadError, match="tables are cut off"):
        decoder_of(TileFormat(SIDE, SIDE, tags.JPEG, tags.RGB, jpeg_tables=b"\xff\xd8\xff"))


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_the_decoder_shrinks(jpeg, tile, shrink):
    side = SIDE // shrink
    small = decoder_of(YCBCR).decode(jpeg, shrink=shrink)
    assert small.shape == (side, side, 3)
    exact = simplejpeg.decode_jpeg(jpeg).reshape(side, shrink, side, shrink, 3).mean((1, 3))
    assert np.abs(small - exact).mean() < 4


@pytest.mark.parametrize(("sampling", "shrinks"), [("422", [4, 8]), ("440", [4]), ("411", [2, 4])])
def test_colours_that_the_decoder_would_shrink_more_are_averaged(tile, sampling, shrinks):
    data = simplejpeg.encode_jpeg(tile, 90, "RGB", sampling, fastdct=False)
    decoder = decoder_of(YCBCR)
    for shrink in shrinks:
        out = np.empty((SIDE // shrink, SIDE // shrink, 3), np.uint8)
        small = decoder.decode(data, out, shrink)
        whole = decoder.decode(data).astype(float)
        exact = whole.reshape(SIDE // shrink, shrink, SIDE // shrink, shrink, 3).mean((1, 3))
        assert small is out
        assert np.abs(small - exact).max() <= 0.5


PICTURES = {
    tags.WEBP: lambda pixels: imagecodecs.webp_encode(pixels, lossless=True),
    tags.JPEG_XL: lambda pixels: imagecodecs.jpegxl_encode(pixels, lossless=True),
    tags.JPEG2000: lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=0),
}


@pytest.mark.parametrize("compression", PICTURES)
@pytest.mark.parametrize("shape", [(64, 64), (64, 256), (272, 272), (300, 17)])
def test_sizes_of_pictures_are_read_before_decoding(compression, shape):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    payload = bytes(PICTURES[compression](pixels))
    height, width = shape
    right = TileFormat(width, height, compression, tags.RGB)
    np.testing.assert_array_equal(decoder_of(right).decode(payload), pixels)
    with pytest.raises(PayloadError, match=f"claims {width}x{height} px"):
        decoder_of(TileFormat(width, 999, compression, tags.RGB)).decode(payload)
    for damaged in (payload[:8], b"", bytes(60), payload[: len(payload) // 2]):
        with pytest.raises(PayloadError):
            decoder_of(right).decode(damaged)


@pytest.mark.parametrize("compression", [tags.WEBP, tags.JPEG2000])
def test_zeros_in_place_of_the_end_of_a_picture_are_no_pixels(tile, compression):
    payload = bytes(PICTURES[compression](tile))
    decoder = decoder_of(TileFormat(SIDE, SIDE, compression, tags.RGB))
    for cut in (len(payload) // 2, len(payload) - 70):
        with pytest.raises(PayloadError, match="bytes are zeros, not data"):
            decoder.decode(payload[:cut] + bytes(len(payload) - cut))
    np.testing.assert_array_equal(decoder.decode(payload + bytes(500)), tile)


@pytest.mark.parametrize(
    "compression", [tags.NONE, tags.LZW, tags.DEFLATE, tags.PACKBITS, tags.ZSTD, tags.LZMA]
)
def test_samples_are_exactly_one_tile(compression):
    encode = {
        tags.NONE: bytes,
        tags.LZW: imagecodecs.lzw_encode,
        tags.DEFLATE: zlib.compress,
        tags.PACKBITS: imagecodecs.packbits_encode,
        tags.ZSTD: imagecodecs.zstd_encode,
        tags.LZMA: imagecodecs.lzma_encode,
    }[compression]
    pixels = np.random.default_rng(1).integers(0, 9, (SIDE, SIDE, 3), dtype=np.uint8)
    decoder = decoder_of(TileFormat(SIDE, SIDE, compression, tags.RGB))
    np.testing.assert_array_equal(decoder.decode(bytes(encode(pixels.tobytes()))), pixels)
    with pytest.raises(PayloadError):
        decoder.decode(bytes(encode(pixels.tobytes()[:-SIDE])))
    if compression not in {tags.NONE, tags.LZW}:  # those stop at a tile's end
        with pytest.raises(PayloadError):
            decoder.decode(bytes(encode(bytes(10 * SIDE * SIDE * 3))))


def test_lzma_takes_bounded_memory_and_is_checked_to_its_end(monkeypatch):
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    decoder = decoder_of(TileFormat(SIDE, SIDE, tags.LZMA, tags.RGB))
    whole = lzma.compress(pixels.tobytes(), preset=6)
    np.testing.assert_array_equal(decoder.decode(whole), pixels)
    for damaged in (whole[:-1], whole[:-20] + bytes(4) + whole[-16:]):
        with pytest.raises(PayloadError, match="LZMA"):
            decoder.decode(damaged)
    monkeypatch.setattr("slidenet.slides.readers.tiled.decoders._LZMA_BYTES", 1 << 20)
    with pytest.raises(PayloadError, match="LZMA: Memory usage limit"):
        decoder.decode(whole)


def test_ycbcr_by_tables_equals_the_formula_within_one():
    picture = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture, mode="YCbCr").convert("RGB")).astype(int)
    assert np.abs(ycbcr_to_rgb(picture).astype(int) - expected).max() <= 1
