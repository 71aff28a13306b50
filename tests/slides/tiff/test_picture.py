"""Which pages are the slide, in files of several kinds; sizes only, so pixels are zeros."""

import numpy as np
import pytest
import tifffile

from slidenet.slides.tiff import TiffIndex


def zeros(width, height, samples=3, dtype=np.uint8):
    return np.zeros((height, width) if samples == 1 else (height, width, samples), dtype)


def write(path, *pages, **settings):
    """Pages are (width, height, settings); tiled RGB unless these say otherwise."""
    with tifffile.TiffWriter(path, **settings) as tiff:
        for width, height, own in pages:
            samples = 1 if own.get("photometric") == "minisblack" else 3
            dtype = own.pop("dtype", np.uint8)
            page = {"tile": (16, 16), "photometric": "rgb", "metadata": None, **own}
            tiff.write(zeros(width, height, samples, dtype), software=False, **page)
    return TiffIndex.read(path).picture


def sizes(pages):
    return [page.size for page in pages]


def test_a_small_page_that_comes_first_is_not_the_slide(tmp_path):
    picture = write(
        tmp_path / "x.tif",
        (48, 40, {"subfiletype": 1}),
        (96, 80, {"subfiletype": 0}),
        (70, 30, {"subfiletype": 0}),
    )
    assert sizes(picture.levels) == [(96, 80), (48, 40)]
    assert sizes(picture.others) == [(70, 30)]
    assert (picture.incomplete, picture.notes, picture.foreign) == (None, (), {})


def test_of_two_whole_pages_the_one_with_copies_is_the_slide(tmp_path):
    reduced = (48, 40, {"subfiletype": 1})
    picture = write(tmp_path / "x.tif", (96, 80, {}), (300, 100, {}), reduced)
    assert sizes(picture.levels) == [(96, 80), (48, 40)]
    assert picture.incomplete is None


@pytest.mark.parametrize("copies", [[], [(48, 40, {"subfiletype": 1})]])
def test_two_pages_of_other_shapes_are_in_doubt(tmp_path, copies):
    pages = [(96, 80, {}), (300, 100, {})]
    picture = write(tmp_path / "x.tif", *(pages[::-1] if copies else pages), *copies)
    assert "nothing says for sure which is the slide" in picture.incomplete


def test_a_level_of_other_pixels_is_foreign(tmp_path):
    grey = {"photometric": "minisblack", "subfiletype": 1}
    picture = write(tmp_path / "x.tif", (96, 80, {}), (48, 40, grey))
    assert sizes(picture.levels) == [(96, 80)]
    assert "another kind (1 x 8 bits" in picture.foreign[48, 40]


def test_channels_as_pages_are_not_the_whole_picture(tmp_path):
    grey = {"photometric": "minisblack"}
    picture = write(tmp_path / "x.tif", *((96, 80, dict(grey)) for _ in range(4)))
    assert "4 pages of 96x80 px with one sample per pixel" in picture.incomplete


def test_further_scans_are_told(tmp_path):
    picture = write(tmp_path / "x.tif", (96, 80, {}), (96, 80, {}))
    assert picture.incomplete is None
    assert "1 further page is at least as large" in picture.notes[0]


def test_imagej_stack(tmp_path):
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, np.zeros((3, 80, 96), np.uint8), imagej=True, metadata={"axes": "CYX"})
    assert "ImageJ stack of 3 images" in TiffIndex.read(path).picture.incomplete


def test_aperio_pages(tmp_path):
    head = "Aperio Image Library v12.0.16\n"
    strips = {"tile": None, "rowsperstrip": 16}
    picture = write(
        tmp_path / "x.svs",
        (96, 80, {"description": head + "96x80 [0,0 96x80] (16x16) JPEG/RGB Q=70|MPP = 0.5"}),
        (32, 26, {"description": head + "96x80 -> 32x26 - |AppMag = 20", **strips}),
        (48, 40, {"description": head + "96x80 (16x16) -> 48x40 JPEG/RGB Q=70"}),
        (20, 30, {"description": head + "label 20x30", "subfiletype": 1, **strips}),
        (60, 30, {"description": head, "subfiletype": 9, **strips}),
    )
    assert picture.family == "aperio"
    assert sizes(picture.levels) == [(96, 80), (48, 40)]
    associated = {kind: page.size for kind, page in picture.associated.items()}
    assert associated == {"thumbnail": (32, 26), "label": (20, 30), "macro": (60, 30)}


def ome_planes(path, names, *, dtype=np.uint8, levels=2):
    metadata = {"axes": "CYX", "PhysicalSizeX": 500.0, "PhysicalSizeXUnit": "nm"}
    if names:
        metadata["Channel"] = {"Name": names}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for level in range(levels):
            tiff.write(
                np.zeros((3, 80 >> level, 96 >> level), dtype),
                tile=(16, 16),
                photometric="minisblack",
                **({"subfiletype": 1} if level else {"subifds": levels - 1, "metadata": metadata}),
            )
    return TiffIndex.read(path).picture


def test_red_green_and_blue_pages_of_ome_are_colours(tmp_path):
    picture = ome_planes(tmp_path / "x.ome.tif", ["Red", "Green", "Blue"])
    assert picture.family == "ome"
    assert sizes(picture.levels) == [(96, 80), (48, 40)]
    assert [len(planes) for planes in picture.planes] == [3, 3]
    assert len({page.offset for planes in picture.planes for page in planes}) == 6
    assert picture.incomplete is None
    assert picture.ome[0].mpp == (0.5, None)


def test_channels_without_names_may_be_colours(tmp_path):
    picture = ome_planes(tmp_path / "x.ome.tif", None)
    assert picture.assumes_colours
    assert len(picture.planes[0]) == 3


def test_other_channels_of_ome_are_not_the_whole_picture(tmp_path):
    picture = ome_planes(tmp_path / "x.ome.tif", ["DAPI", "FITC", "Cy5"])
    assert not picture.assumes_colours
    assert "it holds 3 channels (uint8) as pages of their own" in picture.incomplete
    deep = ome_planes(tmp_path / "y.ome.tif", ["Red", "Green", "Blue"], dtype=np.uint16)
    assert "it holds 3 channels (uint16) as pages" in deep.incomplete


def test_label_and_macro_images_of_ome(tmp_path):
    path = tmp_path / "x.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for width, height, name in ((200, 100, "macro image"), (96, 80, "macrophages")):
            own = {"photometric": "rgb", "tile": (16, 16)}
            tiff.write(zeros(width, height), metadata={"axes": "YXS", "Name": name}, **own)
    picture = TiffIndex.read(path).picture
    assert sizes(picture.levels) == [(96, 80)]
    assert picture.associated["macro"].size == (200, 100)
    assert picture.ome[0].name == "macrophages"


def test_further_images_of_ome_are_told(tmp_path):
    path = tmp_path / "x.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for width, height, name in ((64, 48, "core 1"), (96, 80, "core 2")):
            own = {"photometric": "rgb", "tile": (16, 16)}
            tiff.write(zeros(width, height), metadata={"axes": "YXS", "Name": name}, **own)
    picture = TiffIndex.read(path).picture
    assert sizes(picture.levels) == [(96, 80)]
    assert picture.notes == ("its further images are not read: core 1",)
