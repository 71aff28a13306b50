import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.admission import why_not_opened
from slidenet.testing.czi import write_czi


@pytest.mark.parametrize(
    ("vendor", "message", "found", "remedy"),
    [
        ("generic-tiff", "Unsupported TIFF compression: 34925", "compressed by LZMA", "vips tiffs"),
        ("zeiss", "Pixel type GRAY16 is not supported", "Zeiss type GRAY16", "8-bit RGB in ZEN"),
        ("zeiss", "JPEG XR compression is not supported", "compressed by JPEG XR", "Zstd"),
        ("zeiss", "Compression 9 is not supported", "compressed by type 9", "fastslide"),
        ("leica", "Slides with dissimilar main images are not supported", "several scans", "alone"),
        ("mirax", "Index.dat doesn't have a matching slide identifier", "another", "folder again"),
        ("dicom", "Missing SOP instance 2/3 in concatenation", "are missing", "all files"),
        ("dicom", "Unsupported photometric interpretation YBR_FULL for 1", "YBR_FULL", "DCMTK"),
        ("hamamatsu", "Couldn't open a.jpg: No such file or directory", "missing", "all files"),
        ("zeiss", "Couldn't read subblock directory: ", "may be truncated", "copy it again"),
        ("aperio", "something else", "openslide takes it for 'aperio'", "export it again"),
    ],
)
def test_the_cause_and_the_way_out(vendor, message, found, remedy):
    clause, advice = why_not_opened(vendor, message)
    assert found in clause
    assert message in clause
    assert remedy in advice


def test_a_slide_that_openslide_cannot_open_says_why(tmp_path, noise_image):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise_image[:256, :256], tile=(128, 128), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["Compression"].overwrite(34934)
    with pytest.raises(UnreadableSlideError, match=r"JPEG XR.*vips tiffsave"):
        open_slide(path, reader="openslide")


def czi(path, pixels, **settings):
    return open_slide(write_czi(path / "a.czi", pixels, **settings))


@pytest.mark.parametrize("bits", [None, 16])
def test_zeiss_samples_that_fill_their_range_are_read(tmp_path, noise_image, bits):
    picture = noise_image[:100, :140]
    for pixels in (picture, picture.astype(np.uint16) * 257):
        with czi(tmp_path, pixels, bits=bits) as slide:
            assert (slide.vendor, slide.slide_mpp.value) == ("zeiss", 0.5)
            np.testing.assert_array_equal(slide.read_region((0, 0), 0, (140, 100)), picture)


@pytest.mark.parametrize("used", [12, 14])
def test_zeiss_samples_that_openslide_would_read_too_dark(tmp_path, noise_image, used):
    pixels = noise_image[:100, :140].astype(np.uint16) << (used - 8)
    with pytest.raises(UnreadableSlideError, match=f"16 bits use {used} of them"):
        czi(tmp_path, pixels, bits=used)
    for bits in (None, 16):
        with pytest.raises(UnreadableSlideError, match="reach less than half of their range"):
            czi(tmp_path, pixels, bits=bits)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compression": 4}, "compressed by JPEG XR"),
        ({"compression": 1}, "compressed by JPEG "),
        ({"dimension": b"Z"}, "it holds several focal planes"),
        ({"dimension": b"T"}, "it holds several time points"),
    ],
)
def test_zeiss_slides_that_openslide_does_not_read(tmp_path, noise_image, settings, says):
    with pytest.raises(UnreadableSlideError, match=says):
        czi(tmp_path, noise_image[:100, :140], **settings)


def test_zeiss_slides_of_one_channel_and_cut_ones(tmp_path, noise_image):
    with pytest.raises(UnreadableSlideError, match="Zeiss type GRAY16"):
        czi(tmp_path, noise_image[:100, :140, 0].astype(np.uint16))
    path = write_czi(tmp_path / "b.czi", noise_image[:100, :140])
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnreadableSlideError, match="may be truncated"):
        open_slide(path)
