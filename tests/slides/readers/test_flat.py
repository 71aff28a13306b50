import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from slidenet.core.errors import MissingMppError, SlideError, UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tile
from slidenet.slides.limits import ReadingLimits
from slidenet.slides.readers import flat

SIDE = 300


@pytest.fixture(scope="module")
def picture(noise_image):
    return Image.fromarray(noise_image[:SIDE, :SIDE])


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pixels_inside_and_outside(tmp_path, picture, suffix):
    path = tmp_path / f"flat.{suffix}"
    picture.save(path)
    wanted = np.full((SIDE + 40, SIDE + 60, 3), 255, np.uint8)
    wanted[20 : 20 + SIDE, 30 : 30 + SIDE] = np.asarray(picture)
    with open_slide(path, mpp=0.5) as slide:
        assert slide.level_downsamples == (1.0,)
        got = slide.read_region((-30, -20), 0, (SIDE + 60, SIDE + 40))
        inner = slide.read_region((10, 20), 0, (5, 7))
        far = [
            slide.read_region(place, 0, (4, 4))
            for place in ((-50, 0), (0, -50), (SIDE + 9, 0), (0, SIDE + 9))
        ]
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(inner, np.asarray(picture)[20:27, 10:15])
    assert all((pixels == 255).all() for pixels in far)


def test_tiles_of_a_flat_image(tmp_path, picture):
    picture.save(tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.25) as slide:
        plan = plan_tiles(slide, target_mpp=0.5, tile_size_px=64)
        tile = read_tile(slide, plan, (128, 0))
    mean = np.asarray(picture)[:128, 128:256].reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(tile - mean).max() <= 0.5


@pytest.mark.parametrize(
    ("tags", "mpp"),
    [
        ({"resolution_unit": 2, "x_resolution": 50800.0, "y_resolution": 50800.0}, 0.5),
        ({"resolution_unit": 3, "x_resolution": 20000.0, "y_resolution": 20000.0}, 0.5),
        ({"resolution_unit": 1, "x_resolution": 20000.0, "y_resolution": 20000.0}, None),
        ({"dpi": (72, 72)}, None),
        ({}, None),
    ],
)
def test_resolution_tags_of_tiff_count_where_they_have_a_unit(tmp_path, picture, tags, mpp):
    picture.save(tmp_path / "flat.tif", **tags)
    with open_slide(tmp_path / "flat.tif") as slide:
        assert slide.has_mpp is (mpp is not None)
        if mpp is not None:
            assert slide.slide_mpp.value == pytest.approx(mpp)
            assert slide.slide_mpp.source == "TIFF resolution tags"


@pytest.mark.parametrize(("number", "unit"), [(250, "nm"), (0.25, "µm")])
def test_the_size_of_a_pixel_in_ome_xml_counts(tmp_path, picture, number, unit):
    size = " ".join(f'PhysicalSize{i}="{number}" PhysicalSize{i}Unit="{unit}"' for i in "XY")
    pixels = f'<Pixels SizeX="{SIDE}" SizeY="{SIDE}" SizeC="3" Type="uint8" {size}/>'
    description = f'<OME xmlns="x"><Image ID="Image:0">{pixels}</Image></OME>'
    own = {"description": description.encode(), "metadata": None, "resolution": (300, 300)}
    tifffile.imwrite(tmp_path / "flat.ome.tif", np.asarray(picture), **own)
    with open_slide(tmp_path / "flat.ome.tif") as slide:
        assert slide.slide_mpp.value == pytest.approx(0.25)
        assert slide.slide_mpp.source == "OME PhysicalSize"


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_print_resolution_of_png_and_jpeg_is_no_resolution(tmp_path, picture, suffix):
    path = tmp_path / f"flat.{suffix}"
    picture.save(path, dpi=(50800, 50800))
    with open_slide(path) as slide, pytest.raises(MissingMppError, match="column `mpp`"):
        _ = slide.slide_mpp


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_other_modes_become_rgb(tmp_path, picture, mode):
    image = picture.convert(mode)
    image.save(tmp_path / "flat.tif")
    with open_slide(tmp_path / "flat.tif", mpp=0.5) as slide:
        got = slide.read_region((0, 0), 0, (SIDE, SIDE))
    np.testing.assert_array_equal(got, np.asarray(image.convert("RGB")))


def test_transparency_of_a_png_becomes_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0] = (10, 20, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "flat.png")
    with open_slide(tmp_path / "flat.png", mpp=0.5) as slide:
        got = slide.read_region((0, 0), 0, (2, 2))
    assert got[0, 0].tolist() == [10, 20, 30]
    assert got[1, 0].tolist() == [255, 255, 255]


def test_images_above_pillows_guard_open(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("flat.png", "flat.tif"):
        picture.save(tmp_path / name)
        with open_slide(tmp_path / name, mpp=0.5) as slide:
            assert slide.thumbnail(100).shape == (100, 100, 3)
        assert Image.MAX_IMAGE_PIXELS == 100


def refusal(path):
    """Why an image is refused, at opening or at the first read."""
    with pytest.raises(UnreadableSlideError) as caught, open_slide(path, mpp=0.5) as slide:
        slide.read_region((0, 0), 0, (5, 5))
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 3), (40, 30, 4)])
def test_sixteen_bits_that_are_used_become_eight(tmp_path, shape):
    deep = np.random.default_rng(0).integers(0, 65536, shape, np.uint16)
    if shape[-1] == 4:
        deep[..., 3] = 65535
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    with open_slide(tmp_path / "deep.png", mpp=0.5) as slide:
        got = slide.read_region((0, 0), 0, (30, 40))
    wanted = np.round(deep / 257).astype(np.uint8)
    wanted = wanted[..., None] if wanted.ndim == 2 else wanted[..., :3]
    np.testing.assert_array_equal(got, np.broadcast_to(wanted, got.shape))


@pytest.mark.parametrize("bits", [12, 14])
def test_samples_of_fewer_bits_in_sixteen_are_refused(tmp_path, bits):
    deep = np.random.default_rng(0).integers(0, 2**bits, (40, 30, 3), np.uint16)
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(deep))
    message = refusal(tmp_path / "deep.png")
    assert f"samples of 16 bits reach only {deep.max():,}" in message
    assert "export it as 8-bit RGB" in message


@pytest.mark.parametrize(
    ("suffix", "orientation"), [*(("jpg", i) for i in range(1, 9)), ("png", 6), ("tif", 7)]
)
def test_orientation_is_applied(tmp_path, picture, suffix, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"turned.{suffix}"
    picture.crop((0, 0, 96, 64)).save(path, exif=exif)
    with Image.open(path) as stored:
        wanted = np.asarray(ImageOps.exif_transpose(stored))
    with open_slide(path, mpp=0.5) as slide:
        assert slide.level_dimensions == ((wanted.shape[1], wanted.shape[0]),)
        got = slide.read_region((0, 0), 0, slide.level_dimensions[0])
    np.testing.assert_array_equal(got, wanted)
    assert (wanted.shape == (64, 96, 3)) is (orientation < 5)


def test_inks_are_no_colours(tmp_path, picture):
    for name in ("flat.jpg", "flat.tif"):
        picture.convert("CMYK").save(tmp_path / name)
        assert "amounts of ink (CMYK)" in refusal(tmp_path / name)


def test_what_does_not_fit_into_memory_is_refused_by_its_header(tmp_path):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    path = tmp_path / "bomb.png"
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b""))
    message = refusal(path)
    assert "20,000 x 20,000 px must be decoded as a whole, which takes 2.94 GB" in message
    assert "raise the limit (--memory-limit-gb)" in message
    assert "vips tiffsave" in message
    with open_slide(path, limits=ReadingLimits(max_memory_bytes=10**10)) as slide:
        assert slide.level_dimensions == ((20_000, 20_000),)


@pytest.mark.parametrize("suffix", ["png", "mpo"])
def test_further_pictures_of_the_same_size_are_named(tmp_path, picture, suffix):
    path = tmp_path / f"many.{suffix}"
    other = Image.fromarray(255 - np.asarray(picture))
    picture.save(path, save_all=True, append_images=[other])
    assert "it holds 2 pictures, 1 further ones as large as the first" in refusal(path)


def test_a_small_preview_beside_the_picture_is_no_reason_to_refuse(tmp_path, picture):
    path = tmp_path / "photo.jpg"
    picture.save(path, "MPO", save_all=True, append_images=[picture.resize((20, 20))])
    with open_slide(path, mpp=0.5) as slide:
        assert slide.level_dimensions == (picture.size,)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_image_fails_as_a_slide_not_as_a_tile(tmp_path, picture, suffix):
    path = tmp_path / f"cut.{suffix}"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:20000])
    with open_slide(path, mpp=0.5) as slide:
        for _ in range(2):
            with pytest.raises(UnreadableSlideError, match=r"cut.*data cannot be decoded"):
                slide.read_region((0, 0), 0, (5, 5))


def test_strips_without_bytes_are_refused(tmp_path, picture):
    path = tmp_path / "holes.tif"
    tifffile.imwrite(path, np.asarray(picture), rowsperstrip=60, photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name in ("StripOffsets", "StripByteCounts"):
            values = list(tiff.pages[0].tags[name].value)
            tiff.pages[0].tags[name].overwrite((*values[:2], 0, *values[3:]))
    assert "of its 5 strips 1 have no bytes in the file" in refusal(path)


@pytest.mark.parametrize("size", [20, 35, 60])
def test_an_image_cut_in_its_header_is_refused(tmp_path, picture, size):
    path = tmp_path / "cut.png"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:size])
    assert refusal(path)


def test_truncated_flat_tiff(tmp_path, picture):
    path = tmp_path / "cut.tif"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UnreadableSlideError, match="truncated"):
        open_slide(path, mpp=0.5)


def test_reading_after_close(tmp_path, picture):
    picture.save(tmp_path / "flat.png")
    slide = open_slide(tmp_path / "flat.png", mpp=0.5)
    slide.close()
    with pytest.raises(SlideError, match="closed"):
        slide.read_region((0, 0), 0, (5, 5))


def test_what_pillow_raises_at_a_strange_header_is_a_refusal(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.new("RGB", (8, 8)).save(path)
    monkeypatch.setattr(flat, "upright_size", lambda image: image.info["no such entry"])
    with pytest.raises(UnreadableSlideError, match="header cannot be understood"):
        open_slide(path)


@pytest.mark.parametrize("kind", ["jpg", "jpeg", "deflate"])
def test_zeros_in_place_of_data_are_no_pixels(tmp_path, kind):
    """A copy that was broken off: Pillow shows half of the image as something, without an error."""
    pixels = cv2.GaussianBlur(np.random.default_rng(0).random((300, 260, 3)), (0, 0), 2)
    pixels = (255 * pixels).astype(np.uint8)
    path = tmp_path / ("x.jpg" if kind == "jpg" else "x.tif")
    if kind == "jpg":
        Image.fromarray(pixels).save(path)
        start, count = 0, path.stat().st_size
    else:
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=64, compression=kind)
        with tifffile.TiffFile(path) as tiff:
            start, count = tiff.pages[0].dataoffsets[2], tiff.pages[0].databytecounts[2]
    with open_slide(path) as slide:
        whole = slide.read_level((0, 0), 0, (260, 300))
        assert np.abs(whole.astype(int) - pixels).mean() < 6
    data = bytearray(path.read_bytes())
    data[start + count // 2 : start + count] = bytes(count - count // 2)
    path.write_bytes(data)
    with open_slide(path) as slide, pytest.raises(UnreadableSlideError, match="cannot be decoded"):
        slide.read_level((0, 0), 0, (260, 300))
