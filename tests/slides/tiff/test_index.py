"""The records of the index against tifffile, and what is wrong with broken ones."""

import os
import struct
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.limits import LIMITS
from slidenet.slides.tiff import TiffIndex
from slidenet.testing.ndpi import write_ndpi

IMAGE = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)


def write(path, *, big=False, order="<", levels=2, tile=(64, 48), **settings):
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        for level in range(levels):
            tiff.write(
                IMAGE[:: 2**level, :: 2**level],
                tile=tile,
                compression=settings.pop("compression", "deflate"),
                photometric="rgb",
                subfiletype=int(level > 0),
                metadata=None,
                **settings,
            )
    return path


def patch_tag(path, tag, *, page=0, count=None, value=None, kind=None):
    """Overwrites a field of an entry of a little-endian classic TIFF."""
    data = bytearray(path.read_bytes())
    offset = struct.unpack_from("<I", data, 4)[0]
    for _ in range(page):
        n = struct.unpack_from("<H", data, offset)[0]
        offset = struct.unpack_from("<I", data, offset + 2 + 12 * n)[0]
    n = struct.unpack_from("<H", data, offset)[0]
    entries = range(offset + 2, offset + 2 + 12 * n, 12)
    (entry,) = (e for e in entries if struct.unpack_from("<H", data, e)[0] == tag)
    for field, code, place in ((kind, "<H", 2), (count, "<I", 4), (value, "<I", 8)):
        if field is not None:
            struct.pack_into(code, data, entry + place, field)
    path.write_bytes(data)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_records_say_what_tifffile_says(tmp_path, big, order):
    path = write(
        tmp_path / "x.tif",
        big=big,
        order=order,
        predictor=2,
        resolution=(4000, 5000),
        resolutionunit="CENTIMETER",
        description="made for a test",
        iccprofile=b"profile",
    )
    index = TiffIndex.read(path)
    assert (index.big, index.order, index.problems) == (big, order, ())
    with tifffile.TiffFile(path) as tiff:
        for directory, page in zip(index.directories, tiff.pages, strict=True):
            assert directory.problems == ()
            assert directory.size == (page.imagewidth, page.imagelength)
            assert (directory.tile_width, directory.tile_height) == (48, 64)
            assert directory.offsets.tolist() == list(page.dataoffsets)
            assert directory.byte_counts.tolist() == list(page.databytecounts)
            assert directory.compression == page.compression
            assert directory.photometric == page.photometric
            assert (directory.samples, directory.bits) == (3, 8)
            assert directory.predictor == 2
            assert directory.subfile_type == page.subfiletype
            assert directory.description == "made for a test"
            assert directory.resolution == (4000, 5000)
            assert directory.icc_profile == b"profile"


def test_strips_planes_and_subifds(tmp_path):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as tiff:
        planes = np.moveaxis(IMAGE, -1, 0)
        tiff.write(planes, photometric="rgb", planarconfig="separate", rowsperstrip=32, subifds=1)
        tiff.write(IMAGE[::2, ::2], tile=(64, 64), photometric="rgb", subfiletype=1)
    index = TiffIndex.read(path)
    (directory,) = index.directories
    assert not directory.is_tiled
    assert (directory.tile_width, directory.tile_height, directory.planar) == (300, 32, 2)
    assert directory.num_tiles == len(directory.offsets) == 3 * 7
    (smaller,) = directory.subifds
    assert (smaller.size, smaller.is_tiled, smaller.problems) == ((150, 100), True, ())


@pytest.mark.parametrize("content", [b"", b"II", b"GIF89a" + bytes(100), b"II*\x01" + bytes(99)])
def test_what_is_no_tiff_has_no_index(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    assert TiffIndex.read(path) is None


@pytest.mark.parametrize(
    ("tag", "change", "words"),
    [
        (256, {"value": 300 ^ 256}, "it lists 28 tile offsets where 44x200 px"),
        (257, {"value": 200 ^ 2**14}, "300x16584 px in tiles"),
        (256, {"value": 0}, "IMAGE_WIDTH is 0"),
        (322, {"value": 48 ^ 16}, "it lists 28 tile offsets"),
        (323, {"value": 2**31}, "TILE_LENGTH is 2.147"),
        (324, {"count": 34}, "it lists 34 tile offsets"),
        (324, {"count": 2**31}, "TILE_OFFSETS should reach byte"),
        (324, {"value": 2**30}, "TILE_OFFSETS should reach byte"),
        (325, {"kind": 2}, "TILE_BYTE_COUNTS has field type 2"),
        (258, {"count": 2}, "its samples differ"),
        (258, {"value": 2**31 - 5}, "the file ends at"),
        (259, {"value": 8 ^ 64}, "compression is number 72"),
        (284, {"value": 1 ^ 4}, "PLANAR_CONFIGURATION is 5"),
    ],
)
def test_one_wrong_field_is_a_problem(tmp_path, tag, change, words):
    path = write(tmp_path / "x.tif")
    patch_tag(path, tag, **change)
    directories = TiffIndex.read(path).directories
    assert any(words in problem for problem in directories[0].problems), directories[0].problems
    assert directories[1].problems == ()


def test_directories_in_a_circle_end(tmp_path):
    path = tmp_path / "circle.tif"
    entry = struct.pack("<HHII", 256, 3, 1, 9)
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + b"\x01\x00" + entry + b"\x08\x00\x00\x00")
    index = TiffIndex.read(path)
    assert len(index.directories) == 1
    assert "in a circle, to byte 8" in index.problems[0]


def test_work_is_bounded(tmp_path):
    path = write(tmp_path / "x.tif", levels=3)
    index = TiffIndex.read(path, replace(LIMITS, max_directories=2))
    assert len(index.directories) == 2
    assert "more than 2 directories" in index.problems[0]
    starved = TiffIndex.read(path, replace(LIMITS, max_index_bytes=700))
    problems = [*starved.problems, *(p for d in starved.directories for p in d.problems)]
    assert any("limit max_index_bytes" in problem for problem in problems)


@pytest.mark.parametrize("start", [0, 2**32 + 12345, 3 * 2**32 + 77])
def test_ndpi_beyond_the_reach_of_32_bits(tmp_path, start):
    image = np.kron(IMAGE[:4, :6], np.ones((16, 16, 1), np.uint8))
    path = write_ndpi(tmp_path / "x.ndpi", image, start=start)
    index = TiffIndex.read(path)
    assert (index.ndpi, index.problems) == (True, ())
    assert [page.size for page in index.picture.levels] == [(96, 64), (48, 32)]
    with path.open("rb") as file:
        for page in index.picture.levels:
            assert page.problems == ()
            file.seek(int(page.offsets[0]))
            data = file.read(int(page.byte_counts[0]))
            assert (data[:2], data[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    with open_slide(path, 0.5) as slide:
        assert np.abs(slide.read_level((0, 0), 0, (96, 64)).astype(int) - image).mean() < 4
    os.truncate(path, max(start, 12) + 100)
    with pytest.raises(UnreadableSlideError, match=r"truncated or damaged.*directory"):
        open_slide(path, 0.5)
