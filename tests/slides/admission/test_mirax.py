import os
from contextlib import suppress

import numpy as np
import pytest

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.testing.mirax import write_mirax


@pytest.fixture
def mirax(tmp_path, noise_image):
    return write_mirax(tmp_path / "A.mrxs", noise_image[:256, :384])


def refusal(path):
    with pytest.raises(UnreadableSlideError) as caught:
        open_slide(path)
    return str(caught.value)


def test_a_whole_slide_is_read(mirax, noise_image):
    with open_slide(mirax) as slide:
        assert (slide.vendor, slide.slide_mpp.value) == ("mirax", 0.5)
        pixels = slide.read_region((0, 0), 0, (384, 256))
    np.testing.assert_array_equal(pixels, noise_image[:256, :384])


def test_missing_data_files_are_named(mirax):
    for name in ("Data0001.dat", "Data0003.dat"):
        (mirax.with_suffix("") / name).unlink()
    message = refusal(mirax)
    assert "2 of its 5 files are missing in the folder 'A': Data0001.dat, Data0003.dat" in message
    assert "copy the whole folder again" in message


def test_a_missing_index_is_named(mirax):
    (mirax.with_suffix("") / "Index.dat").unlink()
    assert "1 of its 5 files are missing in the folder 'A': Index.dat" in refusal(mirax)


def test_a_cut_data_file_is_named(mirax):
    path = mirax.with_suffix("") / "Data0002.dat"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    assert f"Data0002.dat ends at byte {size - 1}, its last image at {size}" in refusal(mirax)


def test_a_data_file_that_ends_in_zeros_is_named(mirax):
    path = mirax.with_suffix("") / "Data0001.dat"
    half = path.stat().st_size // 2
    path.write_bytes(path.read_bytes()[:-half] + bytes(half))
    assert "Data0001.dat holds zeros where its last image should begin" in refusal(mirax)


def test_an_index_of_nonsense_ends_in_a_refusal(mirax):
    index = mirax.with_suffix("") / "Index.dat"
    whole = index.read_bytes()
    for place in range(0, len(whole), 7):
        index.write_bytes(whole[:place] + b"\xff\xff\xff\x7f" + whole[place + 4 :])
        with suppress(UnreadableSlideError):  # and no other error, nor an endless loop
            open_slide(mirax).close()


def test_an_endless_slidedat_is_refused(mirax):
    os.truncate(mirax.with_suffix("") / "Slidedat.ini", 2**30)
    assert "Slidedat.ini is larger than 1,048,576 bytes" in refusal(mirax)
