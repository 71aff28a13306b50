import logging
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from slidenet.core.errors import UnreadableSlideError
from slidenet.slides import open_slide
from slidenet.slides.admission import check_whole_tiff

NOISE = np.random.default_rng(0).integers(0, 256, (160, 192, 3), dtype=np.uint8)
GREY = NOISE[..., 0]
DEEP = NOISE.astype(np.uint16)
PLANES = np.moveaxis(NOISE, -1, 0)


def write_tiff(path, *, big=False, order="<"):
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as tiff:
        for step in (1, 2):
            tiff.write(
                NOISE[::step, ::step],
                tile=(64, 64),
                compression="deflate",
                photometric="rgb",
                subfiletype=step - 1,
                metadata=None,
            )
    return path


def write_page(path, image, **settings):
    own = {"tile": (64, 64), "photometric": "rgb", "metadata": None, "compression": "deflate"}
    tifffile.imwrite(path, image, **(own | settings))
    return path


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_cut_is_found(tmp_path, big, order):
    path = write_tiff(tmp_path / "x.tif", big=big, order=order)
    assert check_whole_tiff(path) is not None
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[-1]
        end_of_pixels = max(
            o + n for o, n in zip(last.dataoffsets, last.databytecounts, strict=True)
        )
    for size in [*range(20, end_of_pixels, 9973), end_of_pixels - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(UnreadableSlideError, match=f"the file ends at {size}"):
            check_whole_tiff(path)


def test_strips_count_only_when_asked(tmp_path):
    path = write_tiff(tmp_path / "x.tif")
    tifffile.imwrite(path, NOISE, append=True, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[2].tags["StripByteCounts"].overwrite(10**6)
    assert check_whole_tiff(path) is not None
    with pytest.raises(UnreadableSlideError, match="pixel data should reach byte 1"):
        check_whole_tiff(path, strips=True)


@pytest.mark.parametrize("content", [b"", b"II", b"GIF89a" + bytes(100), bytes(100)])
def test_what_is_no_tiff_is_not_judged(tmp_path, content):
    path = tmp_path / "x"
    path.write_bytes(content)
    assert check_whole_tiff(path) is None


def patch_list(path: Path, name: str, change) -> None:
    """Changes the list of offsets or byte counts of the first page in place."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tag = tiff.pages[0].tags[name]
        values = np.array(tag.value, np.uint32)
        change(values)
        tag.overwrite(tuple(values.tolist()))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("TileOffsets", lambda v: v.__setitem__(slice(2, 4), 0), "2 tiles should lie in the head"),
        ("TileOffsets", lambda v: v.__setitem__(0, v[1] - 99), "bytes of 1 tile overlap"),
        ("TileOffsets", lambda v: v.__setitem__(slice(0, 8), v[1:9].copy()), "overlap those"),
        ("TileByteCounts", lambda v: v.__setitem__(slice(None), 0), "no byte of its 192x160 px"),
        ("TileByteCounts", lambda v: v.__setitem__(3, 2**30), "pixel data should reach byte 1"),
    ],
)
def test_lists_of_tiles_that_cannot_be(tmp_path, name, change, words):
    path = write_tiff(tmp_path / "x.tif")
    patch_list(path, name, change)
    with pytest.raises(UnreadableSlideError, match=words):
        check_whole_tiff(path)


def test_a_tile_over_the_index_cannot_be(tmp_path):
    path = write_tiff(tmp_path / "x.tif")
    patch_list(path, "TileOffsets", lambda v: v.__setitem__(8, 12))
    patch_list(path, "TileByteCounts", lambda v: v.__setitem__(8, 99))
    with pytest.raises(UnreadableSlideError, match="where the file's own lists lie"):
        check_whole_tiff(path)


def test_tiles_without_bytes_are_lawful(tmp_path):
    path = write_tiff(tmp_path / "x.tif")
    patch_list(path, "TileByteCounts", lambda v: v.__setitem__(slice(0, 8), 0))
    index = check_whole_tiff(path)
    assert (index.picture.levels[0].byte_counts == 0).sum() == 8


def test_uncompressed_tiles_must_hold_their_pixels(tmp_path):
    path = write_page(tmp_path / "x.tif", NOISE, compression=None)
    assert check_whole_tiff(path) is not None
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["TileLength"].overwrite(72)  # 160 px still take three rows of tiles
    with pytest.raises(UnreadableSlideError, match="9 tiles without compression hold other"):
        check_whole_tiff(path)


@pytest.mark.parametrize("side", [2**15, 2**31 - 16])
def test_tiles_have_a_sane_side(tmp_path, side):
    path = write_page(tmp_path / "x.tif", NOISE[:60, :60])
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["TileWidth"].overwrite(side)
    with pytest.raises(UnreadableSlideError, match=f"{side}x64 px, more than 8192 .limit max_tile"):
        open_slide(path)


@pytest.mark.parametrize(
    ("image", "settings", "words"),
    [
        (DEEP * 16, {}, "samples of 16 bits reach only about [34],"),
        (DEEP * 64, {}, "samples of 16 bits reach only about 16,"),
        (DEEP * 257, {"extratags": [(281, "H", 1, 16383, True)]}, "16 bits use 14 of them"),
        (GREY.astype(np.uint16) * 257, {"photometric": "minisblack"}, "grey with samples of 16"),
        (GREY.astype(np.int8), {"photometric": "minisblack"}, "signed numbers of 8 bits"),
        (NOISE / np.float32(255), {}, "floating-point numbers of 32 bits"),
        (np.dstack([NOISE, GREY]), {"photometric": "separated"}, "amounts of ink"),
        (np.dstack([NOISE, GREY]), {"extrasamples": ["unspecified"]}, "fourth sample of unknown"),
        (np.dstack([NOISE, NOISE]), {}, "6 samples per pixel where RGB has 3"),
        (PLANES, {"photometric": "minisblack"}, "3 pages of 192x160 px with one sample"),
        (np.dstack([NOISE, GREY * 0]), {"extrasamples": ["unassalpha"]}, "all of it transparent"),
    ],
    ids=["12 bits", "14 bits", "said 14", "grey16", "signed", "float", "cmyk", "fourth",
         "six", "channels", "unseen"],
)  # fmt: skip
@pytest.mark.parametrize("tiled", [True, False])
def test_pixels_of_another_meaning_are_refused_alike(tmp_path, image, settings, words, tiled):
    cut = {} if tiled else {"tile": None, "rowsperstrip": 32}
    path = write_page(tmp_path / "x.tif", image, **(settings | cut))
    with pytest.raises(UnreadableSlideError, match=words):
        open_slide(path, 0.5)


@pytest.mark.parametrize("orientation", [2, 6])
def test_turned_pictures_are_upright_or_refused(tmp_path, orientation):
    turned = {"extratags": [(274, "H", 1, orientation, True)]}
    upright = NOISE[:, ::-1] if orientation == 2 else np.rot90(NOISE, -1)
    strips = write_page(tmp_path / "x.tif", NOISE, tile=None, rowsperstrip=32, **turned)
    size = upright.shape[1], upright.shape[0]
    with open_slide(strips, 0.5) as slide:
        assert slide.level_dimensions[0] == size
        np.testing.assert_array_equal(slide.read_region((0, 0), 0, size), upright)
    tiled = write_page(tmp_path / "y.tif", NOISE, **turned)
    with pytest.raises(UnreadableSlideError, match=f"tag Orientation {orientation}"):
        open_slide(tiled, 0.5, reader="openslide")


def test_the_slide_must_be_the_page_that_is_read(tmp_path):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as tiff:
        for step in (4, 1):
            tiff.write(NOISE[::step, ::step], photometric="rgb", metadata=None)
    with pytest.raises(UnreadableSlideError, match="first page has 48x40 px and page 1 has 192x"):
        open_slide(path, 0.5)


def test_scans_that_are_not_read_are_told(tmp_path, caplog):
    path = tmp_path / "x.tif"
    for cut in ({}, {"tile": (64, 64)}):
        tifffile.imwrite(path, np.stack([NOISE, NOISE]), photometric="rgb", metadata=None, **cut)
        with caplog.at_level(logging.WARNING, "slidenet"), open_slide(path, 0.5) as slide:
            assert "'x.tif': 1 further page is at least as large" in caplog.text
            assert "1 further page is at least as large" in slide.reader_note
        caplog.clear()


def test_16_bits_that_are_used_are_read(tmp_path):
    path = write_page(tmp_path / "x.tif", DEEP * 257)
    with open_slide(path, 0.5) as slide:
        np.testing.assert_array_equal(slide.read_region((0, 0), 0, (192, 160)), NOISE)


def test_a_damaged_page_that_nobody_reads_harms_nobody(tmp_path):
    path = write_tiff(tmp_path / "x.tif")
    tifffile.imwrite(path, NOISE[:20], append=True, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[2].tags["BitsPerSample"].overwrite((8, 8, 9))
    with open_slide(path, 0.5) as slide:
        assert len(slide.levels) == 2


def pyramid(path, *pages, **settings):
    with tifffile.TiffWriter(path) as tiff:
        for number, page in enumerate(pages):
            own = {"tile": (64, 64), "photometric": "rgb", "metadata": None}
            tiff.write(page, subfiletype=int(number > 0), **(own | settings))
    return path


@pytest.mark.parametrize("reader", [None, "openslide"])
def test_a_label_flagged_as_a_level_is_never_the_overview(tmp_path, reader):
    tissue = np.kron(NOISE[:40, :48] // 2, np.ones((16, 16, 1), np.uint8))
    smaller = tissue[::4, ::4].copy()
    label = np.full_like(smaller, 255)
    label[10:30, 20:120] = 0
    path = pyramid(tmp_path / "x.tif", tissue, smaller, label[::4, ::4])
    with open_slide(path, 0.5, reader=reader) as slide:
        assert [level.problem is None for level in slide.levels] == [True, True, False]
        assert "another picture than level 0" in slide.levels[2].problem
        assert slide.thumbnail(48).max() < 140


def test_smaller_levels_of_zeros_are_not_used(tmp_path):
    path = pyramid(tmp_path / "x.tif", NOISE, NOISE[::2, ::2], compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[1]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    with path.open("r+b") as file:
        for offset, length in places:
            file.seek(offset)
            file.write(bytes(length))
    with open_slide(path, 0.5) as slide:
        assert slide.levels[1].problem == "its tiles should be compressed by JPEG, but hold zeros"


@pytest.mark.parametrize(
    ("tag", "value", "words"),
    [
        ("Compression", 8, "should be compressed by deflate, but hold something else"),
        ("Compression", 34712, "should be compressed by JPEG 2000, but hold something else"),
        ("PhotometricInterpretation", 2, "says RGB, but the chroma of its JPEG data is subsampled"),
        ("TileWidth", 72, "JPEG tiles have 64x64 px, its header says 72x64 px"),
    ],
)
def test_headers_that_contradict_the_tiles(tmp_path, tag, value, words):
    settings = {"compression": "jpeg", "photometric": "ycbcr", "subsampling": (2, 2)}
    path = write_page(tmp_path / "x.tif", NOISE, **settings)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags[tag].overwrite(value)
    with pytest.raises(UnreadableSlideError, match=words):
        check_whole_tiff(path)


def jpeg_page(path, *, rgb: bool, photometric: int):
    """A page of JPEG tiles of RGB or YCbCr, which say so, under any tag."""
    space = "RGB" if rgb else "YCBCR"
    encoding = {"colorspace": "RGB", "outcolorspace": space, "subsampling": "444"}
    tile = imagecodecs.jpeg8_encode(np.ascontiguousarray(NOISE[:64, :64]), level=95, **encoding)
    settings = {"tile": (64, 64), "photometric": "ycbcr", "subsampling": (2, 2), "metadata": None}
    tifffile.imwrite(
        path, iter([tile]), shape=(64, 64, 3), dtype="u1", compression="jpeg", **settings
    )
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["PhotometricInterpretation"].overwrite(photometric)
    return path


@pytest.mark.parametrize("reader", [None, "openslide", "flat"])
@pytest.mark.parametrize(
    ("rgb", "photometric", "words"),
    [
        (False, 2, r"says its colours are RGB .* but its JPEG tiles are YCbCr .*set the tag to 6"),
        (True, 6, r"says its colours are YCbCr .* but its JPEG tiles are RGB .*set the tag to 2"),
    ],
)
def test_colours_that_contradict_the_jpeg_tiles_are_refused(
    tmp_path, rgb, photometric, words, reader
):
    path = jpeg_page(tmp_path / "x.tif", rgb=rgb, photometric=photometric)
    with pytest.raises(UnreadableSlideError, match=words):
        open_slide(path, 0.5, reader=reader)


def test_jpeg_tiles_of_rgb_that_say_so_are_read(tmp_path):
    path = jpeg_page(tmp_path / "x.tif", rgb=True, photometric=2)
    with open_slide(path, 0.5) as slide:
        pixels = slide.read_region((0, 0), 0, (64, 64))
    assert np.abs(pixels.astype(int) - NOISE[:64, :64]).mean() < 6


@pytest.mark.parametrize("tiled", [True, False])
def test_one_channel_of_a_set_of_files_is_not_the_slide(tmp_path, tiled):
    text = '<OME xmlns="x"><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:1"/></OME>'
    cut = {} if tiled else {"tile": None}
    path = write_page(tmp_path / "x.tif", GREY, photometric="minisblack", description=text, **cut)
    with pytest.raises(UnreadableSlideError, match=r"stands in another file \(a\.companion\.ome\)"):
        open_slide(path, 0.5)


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd", "packbits", "jpeg"])
@pytest.mark.parametrize("width", [192 - 64, 192 + 1])
def test_strips_of_another_width_are_found(tmp_path, compression, width):
    path = write_page(
        tmp_path / "x.tif", NOISE, tile=None, rowsperstrip=32, compression=compression
    )
    assert check_whole_tiff(path, strips=True) is not None
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["ImageWidth"].overwrite(width)
    with pytest.raises(UnreadableSlideError, match=r"decompresses to|JPEG data is 192 px wide"):
        check_whole_tiff(path, strips=True)


def test_descriptions_have_a_sane_length(tmp_path, monkeypatch):
    path = write_page(tmp_path / "x.tif", NOISE, description="x" * 200)
    assert check_whole_tiff(path) is not None
    monkeypatch.setattr("slidenet.slides.tiff.structure.MOST_CHARACTERS", 100)
    with pytest.raises(UnreadableSlideError, match="description has 200 characters, more than 100"):
        check_whole_tiff(path)
