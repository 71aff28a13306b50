import numpy as np
import pytest
import tifffile
from PIL import Image

from slidenet.slides.admission import find_truncation


def write_tiff(path, *, big, order):
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        tiff.write(image, tile=(128, 128), compression="deflate", photometric="rgb")
        tiff.write(image[::2, ::2], tile=(128, 128), compression="deflate", photometric="rgb")
    return path


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_cut_is_found(tmp_path, big, order):
    path = write_tiff(tmp_path / "x.tif", big=big, order=order)
    assert find_truncation(path) is None
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[-1]
        end_of_pixels = max(
            o + n for o, n in zip(last.dataoffsets, last.databytecounts, strict=True)
        )
    for size in [*range(20, end_of_pixels, 9973), end_of_pixels - 1]:
        path.write_bytes(whole[:size])
        reason = find_truncation(path)
        assert reason is not None, size
        assert f"the file ends at {size}" in reason


def test_strips_count_only_when_asked(tmp_path):
    path = tmp_path / "strips.tif"
    Image.new("RGB", (100, 100)).save(path)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["StripByteCounts"].overwrite(10**6)
    assert find_truncation(path) is None
    assert "pixel data should reach byte 100" in str(find_truncation(path, strips=True))


@pytest.mark.parametrize("content", [b"", b"II", b"GIF89a" + bytes(100), bytes(100)])
def test_what_is_no_tiff_is_not_judged(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    assert find_truncation(path) is None


def test_directories_in_a_circle_end(tmp_path):
    path = tmp_path / "circle.tif"
    path.write_bytes(b"II*\x00\x08\x00\x00\x00" + b"\x00\x00" + b"\x08\x00\x00\x00" + bytes(10))
    assert find_truncation(path) is None
