"""TIFF files with a few wrong bytes in their index, by seed: does anything believe them?"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.errors import UnreadableSlideError
from slidenet.core.extras import require_extra
from slidenet.slides.admission import check_whole_tiff
from slidenet.slides.admission.tile_heads import find_foreign_tiles
from slidenet.slides.pyramid import check_levels
from slidenet.slides.tiff import picture_format
from slidenet.testing.ndpi import write_ndpi

_SIDES = (96, 80)
_TILE_PX = 16
_WORDS = (0, 1, 2, 7, 8, 15, 16, 255, 256, 4096, 65535, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_MOST_CHANGES = 4

Facts = tuple[tuple[object, ...], ...]


@dataclass(frozen=True, slots=True)
class FuzzSeed:
    """A small whole TIFF.

    Attributes:
        data: Its bytes.
        index: Which of them are its index: header, directories, lists and texts.
    """

    data: bytes
    index: np.ndarray[Any, np.dtype[np.int64]]


def fuzz_seeds(folder: Path) -> dict[str, FuzzSeed]:
    """Whole files of all layouts, by name; the folder is written to."""
    tifffile = require_extra("tifffile", extra="testing", purpose="writing generated slides")
    width, height = _SIDES
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tiles = {"tile": (_TILE_PX, _TILE_PX), "photometric": "rgb", "metadata": None}
    strips = {"photometric": "rgb", "metadata": None, "rowsperstrip": 16}
    files: dict[str, bytes] = {}
    layouts: Mapping[str, tuple[dict[str, Any], dict[str, Any], int]] = {
        "classic": ({}, tiles | {"compression": "deflate"}, 3),
        "big endian": ({"byteorder": ">"}, tiles | {"compression": "lzw", "predictor": 2}, 2),
        "bigtiff": ({"bigtiff": True}, tiles | {"compression": "jpeg"}, 3),
        "big, big endian": ({"bigtiff": True, "byteorder": ">"}, tiles, 2),
        "strips": ({}, strips | {"compression": "deflate"}, 1),
        "aperio": (
            {},
            tiles | {"compression": "jpeg", "description": "Aperio Image Library\n|MPP = 0.5"},
            2,
        ),
    }
    for name, (file_settings, page, levels) in layouts.items():
        stream = BytesIO()
        with tifffile.TiffWriter(stream, **file_settings) as tiff:
            for level in range(levels):
                step = 2**level
                own = page if level == 0 else page | {"description": None}
                tiff.write(image[::step, ::step], subfiletype=int(level > 0), **own)
        files[name] = stream.getvalue()
    stream = BytesIO()
    with tifffile.TiffWriter(stream, ome=True) as tiff:
        own = {"tile": (_TILE_PX, _TILE_PX), "photometric": "rgb"}
        tiff.write(image, subifds=1, metadata={"axes": "YXS", "PhysicalSizeX": 0.5}, **own)
        tiff.write(image[::2, ::2], subfiletype=1, **own)
    files["ome with subifds"] = stream.getvalue()
    stream = BytesIO()
    with tifffile.TiffWriter(stream) as tiff:
        planes = np.moveaxis(image, -1, 0)
        tiff.write(planes, planarconfig="separate", **tiles)
    files["planes"] = stream.getvalue()
    files["ndpi"] = write_ndpi(folder / "seed.ndpi", image).read_bytes()
    return {name: FuzzSeed(data, _index_bytes(folder, data)) for name, data in files.items()}


def mutant(seed: FuzzSeed, rng: np.random.Generator) -> bytes:
    """The file with one to four changes to its index: bits, bytes, words, copies, the end cut."""
    data = bytearray(seed.data)
    for _ in range(rng.integers(1, _MOST_CHANGES + 1)):
        place = int(rng.choice(seed.index))
        kind = rng.integers(8)
        if kind < 4:
            data[place % len(data)] ^= 1 << int(rng.integers(8))
        elif kind == 4:
            data[place % len(data)] = int(rng.integers(256))
        elif kind == 5:
            word = struct.pack(rng.choice(["<", ">"]) + "I", _WORDS[rng.integers(len(_WORDS))])
            data[place : place + 4] = word[: max(len(data) - place, 0)]
        elif kind == 6:
            other, length = int(rng.choice(seed.index)), int(rng.integers(1, 25))
            copied = data[other : other + length]
            data[place : place + len(copied)] = copied
        else:
            del data[max(place, 1) :]
    return bytes(data)


def facts_of(path: Path) -> Facts | None:
    """What admission believes of a file: its levels; None where it refuses it.

    Everything that is read before pixels is read here, so that any other exception than a refusal
    is a fault of ours.
    """
    try:
        index = check_whole_tiff(path, strips=True)
    except UnreadableSlideError:
        return None
    if index is None:
        return None
    picture = index.picture
    levels = check_levels([page.size for page in picture.levels], picture.foreign)
    verdict = picture_format(picture)
    return tuple(
        (
            page.size,
            (page.tile_width, page.tile_height),
            page.codec,
            page.photometric,
            page.predictor,
            page.orientation,
            page.offsets.tolist(),
            page.byte_counts.tolist(),
            level.problem is None and find_foreign_tiles(path, page) is None,
            picture.incomplete is None,
            verdict.refused is None,
        )
        for page, level in zip(picture.levels, levels, strict=True)
    )


def _index_bytes(folder: Path, data: bytes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Every byte that is no pixel."""
    path = folder / "seed.tif"
    path.write_bytes(data)
    index = check_whole_tiff(path, strips=True)
    assert index is not None, "the seed is a TIFF"
    is_index = np.ones(len(data), bool)
    for page in (p for one in index.directories for p in (one, *one.subifds)):
        for offset, length in zip(page.offsets, page.byte_counts, strict=True):
            is_index[offset : offset + length] = False
    return np.flatnonzero(is_index)
