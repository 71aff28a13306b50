"""A picture inside a scanner's file (photo of the glass, preview, label) is not the slide."""

import pytest
from PIL import Image

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import SLIDE_SUFFIXES, open_slide
from slidenet.slides.admission import SCANNER_FORMATS
from slidenet.testing import plain, write_pyramid
from slidenet.testing.mirax import write_mirax

CASES = [
    (ending, ("JPEG", "PNG", "TIFF")[number % 3], (None, "flat")[number % 2])
    for number, ending in enumerate(sorted(SCANNER_FORMATS))
]


@pytest.mark.parametrize(("ending", "content", "reader"), CASES)
def test_a_scanners_name_never_reaches_the_flat_reader(tmp_path, ending, content, reader):
    path = tmp_path / f"A{ending.upper() if content == 'PNG' else ending}"
    Image.new("RGB", (30, 20)).save(path, content)
    with pytest.raises(UnreadableSlideError) as caught:
        open_slide(path, reader=reader)
    message = str(caught.value)
    assert "\n" not in message
    assert SCANNER_FORMATS[ending].words in message
    assert SCANNER_FORMATS[ending].remedy.split(";")[0] in message


def test_a_foreign_name_is_not_read_as_a_slide_either(tmp_path):
    path = write_pyramid(tmp_path / "A.vsi", 300, 300, 0.5, plain((9, 9, 9)))
    with pytest.raises(UnreadableSlideError, match="the container of an Olympus slide"):
        open_slide(path)


def test_an_image_with_a_wrong_ending_is_to_be_renamed(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "A.svs", "PNG")
    with pytest.raises(UnreadableSlideError, match=r"not a slide but a PNG image.*rename it"):
        open_slide(tmp_path / "A.svs")


def test_what_is_read_is_looked_for_in_folders():
    for ending, known in SCANNER_FORMATS.items():
        assert known.read is (ending in SLIDE_SUFFIXES), ending


@pytest.mark.shared_data
def test_the_photo_of_the_glass_is_not_the_slide(shared_data):
    with pytest.raises(UnreadableSlideError, match=r"\.ets files in the folder _NAME_.*OME-TIFF"):
        open_slide(shared_data / "formats" / "Image_Mouse13_PB_H7.vsi")


def test_preview_of_a_mirax_slide_without_its_folder(tmp_path, noise_image):
    path = write_mirax(tmp_path / "A.mrxs", noise_image[:256, :384])
    (tmp_path / "A").rename(tmp_path / "B")
    with pytest.raises(UnreadableSlideError, match="the folder 'A' with its pixels is not beside"):
        open_slide(path)
    (tmp_path / "A").mkdir()
    with pytest.raises(UnreadableSlideError, match=r"folder 'A' beside it holds no Slidedat\.ini"):
        open_slide(path)
