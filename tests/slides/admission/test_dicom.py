from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.admission.jpeg_header import jpeg_colours
from slidenet.testing.dicom import write_dicom


@pytest.fixture
def picture(noise_image):
    return noise_image[:256, :384]


def refusal(path):
    with pytest.raises(UnreadableSlideError) as caught:
        open_slide(path)
    return str(caught.value)


@pytest.mark.parametrize("offset_table", [False, True])
def test_every_cut_is_found(tmp_path, picture, offset_table):
    path = write_dicom(tmp_path / "a.dcm", picture, offset_table=offset_table)
    assert open_slide(path).level_dimensions == ((384, 256),)
    whole = path.read_bytes()
    for size in [*range(200, len(whole), 8999), len(whole) - 9]:
        path.write_bytes(whole[:size])
        message = refusal(path)
        assert "truncated" in message, size
        assert f"the file ends at {size}" in message


@pytest.mark.parametrize("offset_table", [False, True])
def test_zeros_in_place_of_the_second_half_are_found(tmp_path, picture, offset_table):
    path = write_dicom(tmp_path / "a.dcm", picture, offset_table=offset_table)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    assert "a frame or the end of all should start at byte" in refusal(path)


def test_a_cut_level_of_the_series_is_found_and_named(tmp_path, picture):
    path = write_dicom(tmp_path / "a.dcm", picture)
    level = write_dicom(tmp_path / "b.dcm", picture[::2, ::2])
    assert len(open_slide(path).level_dimensions) == 2
    level.write_bytes(level.read_bytes()[:-5000])
    assert "b.dcm of the same series is truncated" in refusal(path)


def test_missing_tiles_are_counted(tmp_path, picture):
    path = write_dicom(tmp_path / "a.dcm", picture, num_frames=5)
    assert "holds 5 tiles of 128x128 px for 384x256 px; expected 6 tiles" in refusal(path)


def test_a_preamble_of_tiff_does_not_make_it_a_truncated_tiff(tmp_path, picture):
    start = BytesIO()
    tifffile.imwrite(start, np.zeros((32, 32, 3), np.uint8), tile=(16, 16), photometric="rgb")
    path = write_dicom(tmp_path / "a.dcm", picture, preamble=start.getvalue()[:128])
    with open_slide(path) as slide:
        assert (slide.vendor, len(slide.levels)) == ("dicom", 1)


def test_the_picture_of_a_label_is_never_the_slide(tmp_path, picture):
    label = write_dicom(tmp_path / "a.dcm", picture[:128, :128], flavour="LABEL")
    assert "it shows the label, and no file of its series beside it the slide" in refusal(label)
    write_dicom(tmp_path / "b.dcm", picture)
    with open_slide(label) as slide:
        assert slide.level_dimensions == ((384, 256),)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"syntax": "1.2.840.10008.1.2.4.80"}, "stored as JPEG-LS lossless"),
        ({"syntax": "1.2.840.10008.1.2.4.201"}, "High-Throughput JPEG 2000 lossless"),
        ({"syntax": "1.2.840.10008.1.2.4.110"}, "stored as JPEG XL lossless"),
        ({"syntax": "1.2.9"}, "an unknown compression (transfer syntax 1.2.9)"),
        ({"bits": 12}, "stores 12 of 16 bits per sample; expected 8 bits"),
        ({"samples": 1, "photometric": "MONOCHROME2"}, "has 1 sample per pixel (MONOCHROME2)"),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.2"}, "another kind than a whole-slide"),
    ],
)
def test_what_openslide_cannot_read_is_named(tmp_path, picture, header, says):
    assert says in refusal(write_dicom(tmp_path / "a.dcm", picture, **header))


def encoded(picture, **kinds):
    tile = np.ascontiguousarray(picture[:128, :128])
    return [imagecodecs.jpeg8_encode(tile, level=95, **kinds)] * 6


def test_colours_that_contradict_the_frames_are_refused(tmp_path, picture):
    path = write_dicom(tmp_path / "a.dcm", picture, photometric="RGB")
    message = refusal(path)
    assert "says its colours are RGB, but its JPEG frames are YCbCr" in message
    assert "set PhotometricInterpretation (0028,0004) to YBR_FULL_422" in message
    frames = encoded(picture, colorspace="RGB", outcolorspace="RGB")
    path.unlink()
    path = write_dicom(tmp_path / "other.dcm", picture, frames=frames)
    assert "are YBR_FULL_422, but its JPEG frames are RGB" in refusal(path)


JPEG_2000 = "1.2.840.10008.1.2.4.91"


@pytest.mark.parametrize("photometric", ["RGB", "YBR_ICT"])
def test_jpeg_2000_is_read_where_it_is_what_the_file_says(tmp_path, picture, photometric):
    tile = np.ascontiguousarray(picture[:128, :128])
    frames = [imagecodecs.jpeg2k_encode(tile, codecformat="j2k")] * 6
    settings = {"frames": frames, "syntax": JPEG_2000, "photometric": photometric}
    with open_slide(write_dicom(tmp_path / "a.dcm", picture, **settings)) as slide:
        np.testing.assert_array_equal(slide.read_region((0, 0), 0, (128, 128)), tile)


def test_jpeg_2000_without_the_transform_that_the_file_says_is_refused(tmp_path, picture):
    frames = [imagecodecs.jpeg2k_encode(picture[:128, :128], codecformat="j2k")] * 6
    place = frames[0].index(b"\xff\x52") + 8
    frames = [frame[:place] + b"\0" + frame[place + 1 :] for frame in frames]
    settings = {"frames": frames, "syntax": JPEG_2000, "photometric": "YBR_ICT"}
    message = refusal(write_dicom(tmp_path / "a.dcm", picture, **settings))
    assert "says its colours are YBR_ICT, but its JPEG 2000 frames are RGB or YCbCr" in message


def test_frames_of_another_size_are_refused(tmp_path, picture):
    frames = [imagecodecs.jpeg8_encode(np.ascontiguousarray(picture[:64, :128]))] * 6
    message = refusal(write_dicom(tmp_path / "a.dcm", picture, frames=frames))
    assert "says its tiles have 128x128 px, but its JPEG frames have 128x64 px" in message


def test_frames_of_rgb_that_say_so_are_read(tmp_path, picture):
    frames = encoded(picture, colorspace="RGB", outcolorspace="RGB")
    path = write_dicom(tmp_path / "a.dcm", picture, frames=frames, photometric="RGB")
    with open_slide(path) as slide:
        pixels = slide.read_region((0, 0), 0, (128, 128))
    np.testing.assert_array_equal(pixels, imagecodecs.jpeg8_decode(frames[0]))


def test_colours_of_jpeg_headers(picture):
    plain, rgb = encoded(picture)[0], encoded(picture, colorspace="RGB", outcolorspace="RGB")[0]
    assert jpeg_colours(plain).colours == "YCbCr"
    assert jpeg_colours(rgb).colours == "RGB"
    assert jpeg_colours(imagecodecs.jpeg8_encode(np.zeros((16, 16), np.uint8))) is None
    for stream in (b"", b"\xff\xd8", plain[:20], plain[2:]):
        assert jpeg_colours(stream) is None


@pytest.mark.shared_data
def test_real_files(shared_data):
    assert open_slide(shared_data / "formats" / "google_jpeg.dcm").vendor == "dicom"
    assert "JPEG-LS lossless" in refusal(shared_data / "formats" / "sm_image_jpegls.dcm")
