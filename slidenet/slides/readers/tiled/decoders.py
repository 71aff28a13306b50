"""From the bytes of a stored tile to its pixels, whatever compresses it."""

import lzma
import struct
from collections.abc import Callable
from functools import partial
from typing import Protocol

import cv2
import imagecodecs
import numpy as np

from slidenet.core.arrays import UInt8Array
from slidenet.slides.admission.jpeg_header import has_colour_transform
from slidenet.slides.readers.tiled.jpeg import JpegDecoder
from slidenet.slides.readers.tiled.payload import Decoded, PayloadError, TileFormat
from slidenet.slides.readers.tiled.sizes import check_jpeg_2000, check_jpeg_xl, check_webp
from slidenet.slides.tiff import tags


class Decoder(Protocol):
    """Decodes the tiles of one level; several threads may use it at the same time."""

    def decode(self, payload: bytes, out: Decoded | None = None, shrink: int = 1) -> Decoded:
        """Pixels of one tile, uint8 (height, width, 3), RGB.

        Args:
            payload: The bytes stored.
            out: Array to write to, C-contiguous; None makes one.
            shrink: Decode at that part of the size; only JPEG can, others take 1.

        Raises:
            PayloadError: It is damaged, or not what the index promises.
        """


def decoder_of(stored: TileFormat) -> Decoder:
    """The decoder for tiles stored in this way; what it cannot read is no member of the allow-list.

    Raises:
        PayloadError: The common JPEG tables are damaged.
    """
    if stored.compression == tags.JPEG:
        return JpegDecoder(stored)
    if stored.compression in _SAMPLES:
        return _SampleDecoder(stored, _SAMPLES[stored.compression])
    return _PictureDecoder(stored, _PICTURES[stored.compression])


class _SampleDecoder:
    """Tiles whose samples went through a general compression, perhaps as differences."""

    def __init__(self, stored: TileFormat, decompress: Callable[..., object]) -> None:
        self._format = stored
        self._decompress = decompress

    def decode(self, payload: bytes, out: Decoded | None = None, shrink: int = 1) -> Decoded:
        assert shrink == 1, "only JPEG decodes at a part of its size"
        stored = self._format
        shape = (stored.height, stored.width, stored.samples)
        samples = out if out is not None and stored.samples == 3 else np.empty(shape, np.uint8)
        try:
            written = self._decompress(payload, out=samples.reshape(-1))
        except (RuntimeError, ValueError, lzma.LZMAError) as error:
            raise PayloadError(f"{tags.compression_name(stored.compression)}: {error}") from error
        assert isinstance(written, np.ndarray)
        if written.size != stored.num_bytes:
            raise PayloadError(
                f"{tags.compression_name(stored.compression)}: it holds {written.size} bytes of "
                f"pixels, {stored.num_bytes} belong to a tile"
            )
        if stored.predictor == 2:
            np.cumsum(samples, axis=1, dtype=np.uint8, out=samples)
        return _as_rgb(samples, out)


class _PictureDecoder:
    """Tiles that are whole pictures of a format with a header of its own."""

    def __init__(
        self,
        stored: TileFormat,
        codec: tuple[Callable[[bytes, TileFormat], None], Callable[..., UInt8Array]],
    ) -> None:
        self._format = stored
        self._check, self._decode = codec

    def decode(self, payload: bytes, out: Decoded | None = None, shrink: int = 1) -> Decoded:
        assert shrink == 1, "only JPEG decodes at a part of its size"
        stored = self._format
        try:
            self._check(payload, stored)
            picture = self._decode(payload)
        except (RuntimeError, ValueError, struct.error, KeyError) as error:
            raise PayloadError(f"{tags.compression_name(stored.compression)}: {error}") from error
        shape = (stored.height, stored.width) + ((3,) if stored.samples == 3 else ())
        if picture.shape != shape or picture.dtype != np.uint8:
            raise PayloadError(
                f"{tags.compression_name(stored.compression)}: it decodes to {picture.dtype} "
                f"{picture.shape}, the index says uint8 {shape}"
            )
        if stored.compression == tags.APERIO_J2K_YCBCR and (
            stored.as_openslide or not has_colour_transform(payload)
        ):
            picture = ycbcr_to_rgb(picture)
        return _as_rgb(picture, out)


def ycbcr_to_rgb(picture: UInt8Array) -> UInt8Array:
    """YCbCr to RGB by tables of integers, as openslide converts Aperio's JPEG 2000.

    The formula in floating point, or with more digits, differs by 1 in a few pixels.
    """
    y, cb, cr = (picture[..., i] for i in range(3))
    green = (_CB_TO_GREEN[cb] + _CR_TO_GREEN[cr]) >> 16
    luma = y.astype(np.int32)
    rgb = np.stack((luma + _CR_TO_RED[cr], luma + green, luma + _CB_TO_BLUE[cb]), axis=-1)
    return np.asarray(np.clip(rgb, 0, 255), np.uint8)


_CENTRED = np.arange(256) - 128
_SCALE, _HALF = 65536, 32768
_CR_TO_RED = (round(1.402 * _SCALE) * _CENTRED + _HALF) >> 16
_CB_TO_BLUE = (round(1.772 * _SCALE) * _CENTRED + _HALF) >> 16
# Here each entry is rounded, not the common factor.
_CR_TO_GREEN = np.round(-0.71414 * _SCALE * _CENTRED).astype(np.int32)
_CB_TO_GREEN = np.round(-0.34414 * _SCALE * _CENTRED).astype(np.int32) + _HALF


def _as_rgb(samples: UInt8Array, out: Decoded | None) -> Decoded:
    if samples is out:
        return samples
    if samples.shape[-1] == 3 and samples.ndim == 3:
        if out is None:
            return samples
        out[:] = samples
        return out
    grey = samples.reshape(samples.shape[:2])
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=out), np.uint8)


def _stored_as_it_is(payload: bytes, out: UInt8Array) -> UInt8Array:
    """Samples without compression; bytes beyond the tile are no part of it."""
    samples = np.frombuffer(payload, np.uint8)[: out.size]
    out[: samples.size] = samples
    return out[: samples.size]


def _from_lzma(payload: bytes, out: UInt8Array) -> UInt8Array:
    """Samples under LZMA, whose header decides how much memory decoding takes: within a limit."""
    decompressor = lzma.LZMADecompressor(memlimit=_LZMA_BYTES)
    data = decompressor.decompress(payload, max_length=out.size + 1)
    if not decompressor.eof or decompressor.check == lzma.CHECK_UNKNOWN:
        raise ValueError("it does not end with the tile")
    samples = np.frombuffer(data, np.uint8)[: out.size]
    out[: samples.size] = samples
    return out[: samples.size]


_LZMA_BYTES = 128 * 1024 * 1024
"""The highest preset (9) takes 65 MB."""
_SAMPLES: dict[int, Callable[..., object]] = {
    tags.NONE: _stored_as_it_is,
    tags.LZW: imagecodecs.lzw_decode,
    tags.DEFLATE: imagecodecs.zlib_decode,
    tags.OLD_DEFLATE: imagecodecs.zlib_decode,
    tags.PACKBITS: imagecodecs.packbits_decode,
    tags.ZSTD: imagecodecs.zstd_decode,
    tags.LZMA: _from_lzma,
}
_PICTURES: dict[int, tuple[Callable[[bytes, TileFormat], None], Callable[..., UInt8Array]]] = {
    tags.APERIO_J2K_YCBCR: (check_jpeg_2000, partial(imagecodecs.jpeg2k_decode, numthreads=1)),
    tags.APERIO_J2K_RGB: (check_jpeg_2000, partial(imagecodecs.jpeg2k_decode, numthreads=1)),
    tags.JPEG2000: (check_jpeg_2000, partial(imagecodecs.jpeg2k_decode, numthreads=1)),
    tags.WEBP: (check_webp, imagecodecs.webp_decode),
    tags.JPEG_XL: (check_jpeg_xl, partial(imagecodecs.jpegxl_decode, numthreads=1)),
    tags.JPEG_XL_DNG: (check_jpeg_xl, partial(imagecodecs.jpegxl_decode, numthreads=1)),
}
DECODABLE = frozenset({tags.JPEG, *_SAMPLES, *_PICTURES})
"""Compressions with a decoder, by their number in TIFF."""
