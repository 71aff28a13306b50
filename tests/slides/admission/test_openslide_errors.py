import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.admission import narrow_samples, why_not_opened


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


@pytest.mark.parametrize(("bits", "narrow"), [("14", True), ("12", True), ("16", False)])
def test_zeiss_samples_that_openslide_would_read_too_dark(bits, narrow):
    image = "zeiss.Information.Image"
    said = narrow_samples({f"{image}.PixelType": "Bgr48", f"{image}.ComponentBitCount": bits})
    assert (said is not None) is narrow
    assert not narrow or f"use {bits} of them" in said
    assert (
        narrow_samples({f"{image}.PixelType": "Bgr24", f"{image}.ComponentBitCount": "8"}) is None
    )
