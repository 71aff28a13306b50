import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from slidenet.core.errors import MissingMppError, UnreadableSlideError
from slidenet.slides import READERS, SLIDE_SUFFIXES, Slide, damage_note, mark_places, open_slide
from slidenet.slides.readers.handles import SharedHandle
from slidenet.testing import corrupt_tile, plain, truncate_file, write_pyramid

GREY = plain((128, 128, 128))


def refusal(path) -> str:
    with pytest.raises(UnreadableSlideError) as caught:
        open_slide(path)
    message = str(caught.value)
    assert path.name in message
    assert ". To fix: " in message
    assert "\n" not in message
    return message


def test_suffixes_are_lower_case_and_sorted():
    assert list(SLIDE_SUFFIXES) == sorted(set(SLIDE_SUFFIXES))
    assert set(READERS["flat"].suffixes) < set(SLIDE_SUFFIXES)
    assert {".svs", ".tif", ".ndpi", ".mrxs", ".scn", ".vms", ".bif", ".dcm", ".czi"} < set(
        SLIDE_SUFFIXES
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.svs", b"", "zero bytes"),
        ("b.svs", b"slide_id,slide_path\n1,2\n", "not a slide but plain text"),
        ("c.tif", b"<!DOCTYPE html><html>login</html>", "a web page (often a failed download)"),
        ("d.svs", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("d.tif", b"version https://git-lfs.github.com/spec/v1\n", "To fix: fetch the file itself"),
        ("e.tif", b"\x1f\x8b" + bytes(100), "a gzip archive"),
        ("e.svs", b"PK\x03\x04" + bytes(100), "To fix: unpack it and give the slide inside"),
        ("e.ndpi", b"PK\x03\x04" + bytes(100), "a ZIP archive"),
        ("f.png", b"%PDF-1.7", "a PDF document"),
        ("f.svs", b"%PDF-1.7", "this is not the slide; look at what the path points to"),
        ("f.ndpi", b"\x89HDF\r\n\x1a\n", "this is not the slide; look at what the path"),
        ("g.svs", bytes(range(256)), "this is not the slide; look at what the path"),
        ("g.mrxs", bytes(range(256)), "the folder 'g' with its pixels is not beside it"),
        ("g.tif", bytes(range(256)), "data of an unknown kind"),
        ("h.tif", b"II*\x00", "a TIFF file"),
        ("i.dcm", bytes(128) + b"DICM" + bytes(100), "a DICOM file"),
        ("j.jpg", b"\xff\xd8\xff", "a JPEG image"),
    ],
)
def test_not_a_slide(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"compression": "jpegxl"}, "a TIFF file whose strips no reader here can decode: JPEG XL"),
        ({"compression": "webp"}, "a TIFF file whose strips no reader here can decode: WebP"),
        ({"compression": "png"}, "a TIFF file whose strips no reader here can decode: PNG"),
    ],
)
def test_a_codec_that_nobody_has_is_named(tmp_path, noise_image, settings, says):
    tifffile.imwrite(tmp_path / "x.tif", noise_image[:64, :64], photometric="rgb", **settings)
    assert says in refusal(tmp_path / "x.tif")


def test_kinds_of_image_that_nobody_reads_are_named(tmp_path, noise_image):
    deep = noise_image[:64, :64].astype(np.uint16) * 16
    kinds = {
        "x.jpg": (imagecodecs.jpeg8_encode(deep, bitspersample=12), "a JPEG image of 12 bits"),
        "x.tif": (imagecodecs.jpeg2k_encode(noise_image[:64, :64]), "a JPEG 2000 image"),
        "x.png": (imagecodecs.webp_encode(noise_image[:64, :64]), "a WebP image"),
    }
    for name, (content, says) in kinds.items():
        (tmp_path / name).write_bytes(content)
        assert says in refusal(tmp_path / name)


def test_gif_is_no_slide(tmp_path):
    Image.new("P", (10, 10)).save(tmp_path / "x.gif")
    assert "a GIF image" in refusal(tmp_path / "x.gif")


def test_missing_file(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.svs")


def test_folder(tmp_path):
    message = refusal(tmp_path)
    assert "it is a folder" in message
    assert ".dcm" in message


def test_file_that_cannot_be_opened(tmp_path):
    path = tmp_path / "circle.svs"
    path.symlink_to(path)
    assert "cannot be opened (Too many levels of symbolic links)" in refusal(path)


def test_a_link_to_a_slide_that_is_away_says_where_it_was(tmp_path):
    path = tmp_path / "a.svs"
    path.symlink_to("/archive/a.svs")
    assert "is a link to /archive/a.svs, which is not there" in refusal(path)


@pytest.mark.parametrize("fraction", [0.0001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_pyramid(tmp_path, noise_image, fraction):
    def paint(x, y, width, height):
        return noise_image[y : y + height, x : x + width]

    path = write_pyramid(tmp_path / "cut.tif", 1500, 1500, 0.5, paint)
    truncate_file(path, fraction)
    message = refusal(path)
    assert ("truncated" in message) == (path.stat().st_size > 400)


def test_extension_is_not_trusted(tmp_path):
    pyramid = write_pyramid(tmp_path / "pyramid.jpg", 300, 300, 0.5, GREY)
    assert open_slide(pyramid).vendor == "generic-tiff"
    Image.new("RGB", (30, 20), (1, 2, 3)).save(tmp_path / "flat.jpg", "PNG")
    with open_slide(str(tmp_path / "flat.jpg"), mpp=0.5) as slide:
        assert (slide.vendor, slide.level_dimensions) == ("png", ((30, 20),))


def test_slide_without_resolution_opens_but_has_no_mpp(tmp_path):
    path = write_pyramid(tmp_path / "bare.tif", 600, 500, None, GREY)
    slide: Slide = open_slide(path)
    assert slide.level_dimensions == ((600, 500), (150, 125))
    assert not slide.has_mpp
    with pytest.raises(MissingMppError, match=r"bare.tif.*does not say.*manifest column `mpp`"):
        _ = slide.slide_mpp
    assert open_slide(path, mpp=0.25).slide_mpp.source == "override"


def test_72_dpi_is_refused(tmp_path):
    path = write_pyramid(tmp_path / "dpi.tif", 300, 300, 25400 / 72, GREY)
    slide = open_slide(path)
    assert not slide.has_mpp
    with pytest.raises(MissingMppError, match=r"352\.778 \(TIFF resolution tags\)"):
        _ = slide.slide_mpp


@pytest.mark.parametrize("mpp", [0, -0.5, float("nan"), 1000])
def test_declared_nonsense_is_refused_at_once(noise_slide, mpp):
    with pytest.raises(MissingMppError, match=r"by you\); expected a number from 0\.05 to 50"):
        open_slide(noise_slide, mpp=mpp)


def test_regions_without_pixels_and_levels_that_are_not_there(noise_slide):
    with open_slide(noise_slide) as slide:
        with pytest.raises(Exception, match="a region of 0x5 px"):
            slide.read_region((0, 0), 0, (0, 5))
        with pytest.raises(Exception, match="expected a level from 0 to 1"):
            slide.read_region((0, 0), 2, (5, 5))


def test_thumbnail_is_the_area_average(noise_slide, noise_image):
    with open_slide(noise_slide) as slide:
        small = slide.thumbnail(500)
        assert slide.thumbnail(9999).shape == (1500, 1500, 3)
    mean = noise_image.reshape(500, 3, 500, 3, 3).mean((1, 3))
    assert np.abs(small - mean).max() <= 0.5 + 1e-9


def test_thumbnail_of_a_slide_without_a_pyramid_is_read_in_blocks(tmp_path):
    rows = np.arange(5000) // 100
    image = np.broadcast_to((rows[:, None, None] * 5).astype(np.uint8), (5000, 3000, 3))

    def paint(x, y, width, height):
        return image[y : y + height, x : x + width]

    path = write_pyramid(tmp_path / "flat.tif", 3000, 5000, 0.5, paint, num_levels=1)
    with open_slide(path) as slide:
        thumbnail = slide.thumbnail(50)
    assert thumbnail.shape == (50, 30, 3)
    assert thumbnail[:, 0, 0].tolist() == [5 * i for i in range(50)]


def test_thumbnail_goes_round_a_damaged_level(tmp_path, caplog):
    path = write_pyramid(tmp_path / "hurt.tif", 3000, 3000, 0.5, GREY)
    corrupt_tile(path, (10, 10), level=1)
    corrupt_tile(path, (10, 10), level=2)
    with open_slide(path) as slide:
        assert (slide.thumbnail(100) == 128).all()
    assert caplog.text.count("using finer ones") == 1


def test_thumbnail_paints_over_what_no_level_can_show(tmp_path, caplog):
    path = write_pyramid(tmp_path / "hurt.tif", 1024, 1024, 0.5, GREY, num_levels=1)
    corrupt_tile(path, (300, 300))  # the file's own tile from 256 to 512
    with open_slide(path) as slide:
        slide.thumbnail(512)
        picture = slide.thumbnail(1024)
    hurt = np.zeros((1024, 1024), bool)
    hurt[256:512, 256:512] = True
    assert (picture[hurt] == 255).all()
    places = slide.unreadable_places
    assert (picture[~hurt] == 128).all()
    np.testing.assert_array_equal(mark_places(places, (1024, 1024)), hurt)
    assert damage_note(places) == "up to 6.2% of its overview cannot be decoded"
    assert caplog.text.count("6.2% of its overview") == len(caplog.records) == 1
    assert "'hurt.tif'" in caplog.text


def test_a_damaged_part_of_a_level_is_taken_from_a_finer_one(tmp_path, noise_image):
    def paint(x, y, width, height):
        return noise_image[y : y + height, x : x + width]

    path = write_pyramid(tmp_path / "hurt.tif", 600, 600, 0.5, paint, downsample=2)
    with open_slide(path) as slide:
        whole = slide.thumbnail(300)
    corrupt_tile(path, (10, 10), level=1)
    with open_slide(path) as slide:
        picture = slide.thumbnail(300)
    np.testing.assert_array_equal(picture, whole)


def test_a_slide_without_one_good_tile_is_given_up_early_with_the_reason(tmp_path, monkeypatch):
    path = write_pyramid(tmp_path / "dead.tif", 1024, 1024, 0.5, GREY)
    for level, tiles in ((0, 4), (1, 1)):
        for index in range(tiles * tiles):
            corrupt_tile(path, (index % tiles * 256, index // tiles * 256), level=level)
    opened = []
    original = SharedHandle._open
    monkeypatch.setattr(SharedHandle, "_open", lambda self: opened.append(1) or original(self))
    with (
        open_slide(path, reader="openslide") as slide,
        pytest.raises(
            UnreadableSlideError, match=r"none of its pixels can be decoded .*Decod|none .*TIFF"
        ),
    ):
        slide.thumbnail(1024)
    assert len(opened) <= 70  # thousands before


def test_levels_that_are_no_copies_are_not_the_overview(tmp_path, noise_image):
    path = tmp_path / "macro.tif"
    with tifffile.TiffWriter(path) as tiff:
        common = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
        tiff.write(noise_image[:1024], subfiletype=0, **common)
        tiff.write(np.zeros((300, 640, 3), np.uint8), subfiletype=1, **common)
    with open_slide(path, reader="openslide") as slide:
        assert len(slide.levels) == 2
        assert "another picture" in slide.levels[1].problem
        assert slide.thumbnail(600).mean() > 100


def test_the_work_of_an_overview_follows_what_is_stored(tmp_path, monkeypatch):
    def paint(x, y, width, height):
        return np.full((height, width, 3), 90, np.uint8) if (x, y) == (4096, 2048) else None

    path = write_pyramid(tmp_path / "sparse.tif", 8192, 8192, 0.5, paint, num_levels=1)
    reads = []
    with open_slide(path) as slide:
        original = type(slide).read_level
        monkeypatch.setattr(
            type(slide),
            "read_level",
            lambda self, *asked: reads.append(asked) or original(self, *asked),
        )
        picture = slide.thumbnail(512)
    assert [asked[0] for asked in reads] == [(4096, 2048)]
    assert (picture[128:144, 256:272] == 90).all()
    assert (picture == 255).mean() > 0.99


def test_what_only_slidenet_decodes_is_refused_for_its_own_reason(tmp_path):
    path = tmp_path / "x.tif"
    own = {"photometric": "rgb", "extrasamples": ["unassalpha"], "tile": (64, 64)}
    tifffile.imwrite(path, np.zeros((64, 64, 4), np.uint8), compression="webp", **own)
    with pytest.raises(UnreadableSlideError, match=r"by WebP .* not tiled: .*\(alpha\)"):
        open_slide(path)


@pytest.mark.parametrize("reader", ["tiled", "openslide"])
def test_a_reader_that_does_not_read_the_file_is_left_out(tmp_path, noise_image, reader):
    Image.fromarray(noise_image[:64, :64]).save(tmp_path / "x.png")
    with pytest.raises(UnreadableSlideError, match=f"'{reader}' does not read it.*leave out --re"):
        open_slide(tmp_path / "x.png", reader=reader)


def test_the_flat_reader_asked_for_a_scanners_file_is_left_out(tmp_path):
    path = write_pyramid(tmp_path / "x.svs", 512, 512, 0.5, GREY)
    with pytest.raises(UnreadableSlideError, match=r"'flat' does not read it.*leave out --reader"):
        open_slide(path, reader="flat")


def test_a_preview_with_the_name_of_a_scanner_is_not_recommended(tmp_path, noise_image):
    Image.fromarray(noise_image[:64, :64]).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / "x.svs")
    with pytest.raises(UnreadableSlideError, match="not a slide but a PNG image"):
        open_slide(tmp_path / "x.svs", reader="openslide")
