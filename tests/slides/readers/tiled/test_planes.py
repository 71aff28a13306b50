"""Slides whose picture is not the first page alone: the oracle is the source array."""

import re

import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide


@pytest.fixture(scope="module")
def image():
    """uint8 (160, 192, 3) of soft colours, different in each."""
    y, x = np.mgrid[:160, :192]
    return np.dstack([x, 255 - y, (x + y) // 2]).astype(np.uint8)


def shrunk(image, step):
    return image[::step, ::step]


def write_planes(path, image, names):
    tile = {"tile": (64, 64), "photometric": "minisblack", "compression": "deflate"}
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    if names:
        metadata["Channel"] = {"Name": names}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        planes = np.moveaxis(image, -1, 0)
        tiff.write(planes, subifds=1, metadata=metadata, **tile)
        tiff.write(planes[:, ::2, ::2], subfiletype=1, **tile)
    return path


def test_three_pages_of_ome_are_read_as_the_colours_they_are(tmp_path, image):
    path = write_planes(tmp_path / "x.ome.tif", image, ["R", "G", "B"])
    with open_slide(path) as slide:
        assert slide.slide_mpp.value == 0.5
        assert [level.problem for level in slide.levels] == [None, None]
        for level, step in enumerate((1, 2)):
            whole = shrunk(image, step)
            height, width = whole.shape[:2]
            np.testing.assert_array_equal(slide.read_level((0, 0), level, (width, height)), whole)
        odd = slide.read_level((33, 41), 0, (100, 90))
        np.testing.assert_array_equal(odd, image[41:131, 33:133])
        halved = slide.read_shrunk((0, 0), 0, (128, 128), 2)
        exact = image[:128, :128].reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(halved - exact).max() <= 0.5
        assert "red, green and blue" in slide.reader_note


@pytest.mark.parametrize(("pages", "file"), [((0, 2, 1), ""), ((2, 1, 0), ""), ((1, 2, 0), "own")])
def test_pages_may_lie_in_another_order_than_channels(tmp_path, image, pages, file):
    """TiffData says which page a channel is; page `pages[c]` holds channel c here."""
    order = np.argsort(pages)
    path = write_planes(tmp_path / "x.ome.tif", image[..., order], ["R", "G", "B"])
    uuid = f"<UUID FileName='old name'>{file}</UUID>" if file else ""
    places = "".join(
        f'<TiffData FirstC="{channel}" IFD="{page}" PlaneCount="1">{uuid}</TiffData>'
        for channel, page in reversed(list(enumerate(pages)))
    )
    elsewhere = '<TiffData FirstC="0" IFD="0"><UUID FileName="y.tif">other</UUID></TiffData>'
    with tifffile.TiffFile(path) as tiff:
        text = tiff.pages[0].description
    text = re.sub("<TiffData.*?/>", (elsewhere if file else "") + places, text)
    text = re.sub('(?<=<OME )|UUID="[^"]*"', lambda found: f'UUID="{file}" ' * (not found[0]), text)
    tifffile.tiffcomment(path, text.encode())
    with open_slide(path) as slide:
        for level, step in enumerate((1, 2)):
            whole = shrunk(image, step)
            size = whole.shape[1::-1]
            np.testing.assert_array_equal(slide.read_level((0, 0), level, size), whole)


def test_pages_without_names_are_colours_in_brightfield_only(tmp_path, image, caplog):
    dark = write_planes(tmp_path / "dark.ome.tif", image // 8, None)
    with pytest.raises(UnreadableSlideError, match=r"3 channels .* it is no bright-field slide"):
        open_slide(dark)
    glass = image.copy()
    glass[:40] = 240
    path = write_planes(tmp_path / "x.ome.tif", glass, None)
    with caplog.at_level("WARNING", "slidenet"), open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read_level((0, 0), 0, (192, 160)), glass)
        assert "taken for red, green and blue" in caplog.text


def test_channels_that_are_no_colours_are_refused(tmp_path, image):
    path = write_planes(tmp_path / "x.ome.tif", image, ["DAPI", "Cy3", "Cy5"])
    with pytest.raises(UnreadableSlideError, match=r"3 channels .uint8. as pages of their own"):
        open_slide(path)


def test_the_largest_page_is_the_slide_wherever_it_stands(tmp_path, image):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as tiff:
        for step in (2, 1):
            tiff.write(
                shrunk(image, step),
                tile=(64, 64),
                photometric="rgb",
                subfiletype=step - 1,
                metadata=None,
            )
    with open_slide(path, 0.5) as slide:
        assert slide.level_dimensions == ((192, 160), (96, 80))
        np.testing.assert_array_equal(slide.read_level((0, 0), 0, (192, 160)), image)
    with pytest.raises(UnreadableSlideError, match="first page has 96x80 px and page 1 has 192x"):
        open_slide(path, 0.5, reader="openslide")


@pytest.mark.parametrize("macro_cut", [{}, {"tile": (64, 64)}])
def test_a_photo_of_the_glass_before_the_scan_is_never_the_slide(tmp_path, image, macro_cut):
    path = tmp_path / "x.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        macro = np.full((300, 200, 3), 9, np.uint8)
        metadata = {"axes": "YXS", "Name": "macro image"}
        tiff.write(macro, photometric="rgb", metadata=metadata, **macro_cut)
        metadata = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
        metadata |= {"PhysicalSizeY": 250.0, "PhysicalSizeYUnit": "nm", "Name": "scan"}
        tile = {"tile": (64, 64), "photometric": "rgb"}
        tiff.write(image, subifds=1, metadata=metadata, **tile)
        tiff.write(image[::2, ::2], subfiletype=1, **tile)
    with open_slide(path) as slide:
        assert slide.slide_mpp.value == 0.25
        assert slide.level_dimensions == ((192, 160), (96, 80))
        np.testing.assert_array_equal(slide.read_level((0, 0), 1, (96, 80)), image[::2, ::2])
        assert slide.thumbnail(48).max() > 200
    for reader in ("openslide", "flat"):
        with pytest.raises(
            UnreadableSlideError, match=r"first page has|knows|no slide|not a slide"
        ):
            open_slide(path, reader=reader)
