import dataclasses
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from slidenet.core.errors import CoordinateError, PixelReadError
from slidenet.slides import open_slide, plan_tiles, read_tile, read_tiles
from slidenet.slides.pyramid import check_levels
from slidenet.slides.tiles import BATCHES_AHEAD, level_location
from slidenet.testing import corrupt_tile, plain, write_pyramid
from slidenet.testing.layouts import write_layout


@pytest.fixture
def slide(noise_slide):
    with open_slide(noise_slide) as slide:
        yield slide


def test_native_tile_is_the_stored_pixels(slide, noise_image):
    plan = plan_tiles(slide, target_mpp=0.25, tile_size_px=224)
    tile = read_tile(slide, plan, (301, 77))
    assert tile.dtype == np.uint8
    np.testing.assert_array_equal(tile, noise_image[77 : 77 + 224, 301 : 301 + 224])


def test_shrunk_tile_is_the_area_average(slide, noise_image):
    plan = plan_tiles(slide, target_mpp=0.5, tile_size_px=256)
    tile = read_tile(slide, plan, np.array([512, 256]))
    square = noise_image[256:768, 512:1024].astype(float)
    mean = square.reshape(256, 2, 256, 2, 3).mean((1, 3))
    assert np.abs(tile - mean).max() <= 0.5


def test_coarser_level_is_read_pixel_for_pixel(slide):
    plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=100)
    assert (plan.level, plan.read_size_px) == (1, 100)
    level = slide.read_region((0, 0), 1, slide.level_dimensions[1])
    np.testing.assert_array_equal(read_tile(slide, plan, (400, 800)), level[200:300, 100:200])


@pytest.mark.parametrize("place", [(400, 800), (401, 803), (402, 799), (403, 802)])
def test_tiles_are_as_sharp_wherever_they_start(slide, place):
    plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=100)
    level = slide.read_region((0, 0), 1, slide.level_dimensions[1])
    x, y = round(place[0] / 4), round(place[1] / 4)
    tile = read_tile(slide, plan, place)
    np.testing.assert_array_equal(tile, level[y : y + 100, x : x + 100])
    blended = read_tile(slide, dataclasses.replace(plan, reading=1), place)
    np.testing.assert_array_equal(blended, slide.read_region(place, 1, (100, 100)))
    assert (blended == tile).all() == (place == (400, 800))


@pytest.mark.parametrize("stride", [25.7, 1013.3])
def test_whole_pixels_do_not_drift_over_a_thousand_tiles(stride):
    levels = check_levels([(1_040_048, 517), (260_012, 129)])  # openslide's mean would be 4.004
    slide = SimpleNamespace(levels=levels)
    plan = SimpleNamespace(level=1)
    x = np.rint(np.arange(1000) * stride).astype(np.int64)
    places = [level_location(slide, plan, (one, 0))[0] for one in x]
    errors = np.array(places) * 4.0 - x
    assert np.abs(errors).max() <= 2
    assert abs(np.polyfit(np.arange(1000), errors, 1)[0]) * 1000 < 0.3


def test_a_long_thin_slide_is_read_where_its_tiles_lie(tmp_path):
    x = np.arange(16003)
    full = np.zeros((131, 16003, 3), np.uint8)
    full[..., 0], full[..., 1] = x // 4 % 256, x // 1024
    path = write_layout(tmp_path / "thin.tif", [full, full[:128:4, :16000:4]])
    with open_slide(path, mpp=0.25) as slide:
        plan = plan_tiles(slide, target_mpp=1.0, tile_size_px=16)
        assert plan.level == 1
        found = [read_tile(slide, plan, (place, 8))[0, 0] for place in (0, 4096, 15360)]
        drifted = read_tile(slide, dataclasses.replace(plan, reading=1), (15360, 8))[0, 0]
    columns = [int(red) + 256 * int(green) for red, green, _ in found]
    assert columns == [0, 1024, 3840]
    assert abs(int(drifted[0]) + 256 * int(drifted[1]) - 3840) > 40  # by openslide's mean


@pytest.mark.parametrize(
    ("shrinking", "size_px", "calls"),
    [
        ("area", 64, [("read_shrunk", 128, 2, False)]),
        ("jpeg", 64, [("read_shrunk", 128, 2, True)]),
        ("jpeg", 30, [("read_shrunk", 60, 2, True)]),
        ("area", 50, [("read_shrunk", 100, 2, False)]),
    ],
)
def test_the_reader_shrinks_by_whole_factors(slide, monkeypatch, shrinking, size_px, calls):
    plan = plan_tiles(slide, target_mpp=0.5, tile_size_px=size_px, shrinking=shrinking)
    seen = []
    original = type(slide).read_shrunk

    def shrunk(self, place, level, size, factor, *, scaled_jpeg=False, out=None):
        seen.append(("read_shrunk", size[0], factor, scaled_jpeg))
        return original(self, place, level, size, factor, scaled_jpeg=scaled_jpeg, out=out)

    monkeypatch.setattr(type(slide), "read_shrunk", shrunk)
    assert read_tile(slide, plan, (12, 8)).shape == (size_px, size_px, 3)
    assert seen == calls


def test_tiles_without_stored_bytes_are_empty_but_not_in_the_old_reading(slide, monkeypatch):
    plan = plan_tiles(slide, target_mpp=0.25, tile_size_px=64)
    monkeypatch.setattr(
        type(slide), "has_stored", lambda self, place, level, size: place != (64, 0)
    )
    coords = np.array([(0, 0), (64, 0), (128, 0)])
    (batch,) = read_tiles(slide, plan, coords, batch_size=8)
    assert batch.status.tolist() == [0, 2, 0]
    assert (batch.pixels[1] == slide.background_rgb).all()
    assert batch.reason is None
    (old,) = read_tiles(slide, dataclasses.replace(plan, reading=1), coords, batch_size=8)
    assert old.status.tolist() == [0, 0, 0]


def test_enlarged_tile_is_bicubic(slide, noise_image):
    plan = plan_tiles(slide, target_mpp=0.125, tile_size_px=256, allow_upsampling=True)
    assert plan.read_size_px == 128
    wanted = cv2.resize(noise_image[:128, :128], (256, 256), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(read_tile(slide, plan, (0, 0)), wanted)


def test_a_tile_over_the_edge_is_filled_with_background(slide, noise_image):
    plan = plan_tiles(slide, target_mpp=0.25, tile_size_px=256)
    tile = read_tile(slide, plan, (1400, 1300))
    np.testing.assert_array_equal(tile[:200, :100], noise_image[1300:, 1400:])
    assert (tile[200:] == 255).all()
    assert (tile[:, 100:] == 255).all()


def test_a_slide_smaller_than_a_tile_gives_one_filled_up_tile(tmp_path):
    path = write_pyramid(tmp_path / "tiny.tif", 50, 40, 0.5, plain((10, 20, 30)))
    with open_slide(path) as slide:
        tile = read_tile(slide, plan_tiles(slide), (0, 0))
    assert (tile[:40, :50] == (10, 20, 30)).all()
    assert (tile[40:] == 255).all()
    assert (tile[:, 50:] == 255).all()


def test_geometry_of_another_slide_is_refused(slide):
    plan = dataclasses.replace(plan_tiles(slide), level0_width=999)
    with pytest.raises(CoordinateError, match=r"1500x1500 px; expected 999x1500 px"):
        read_tile(slide, plan, (0, 0))


def test_an_unreadable_tile_leaves_its_neighbours_readable(tmp_path):
    path = write_pyramid(tmp_path / "hurt.tif", 1280, 1280, 0.5, plain((200, 100, 150)))
    corrupt_tile(path, (600, 600))
    with open_slide(path) as slide:
        plan = plan_tiles(slide)
        for _ in range(2):
            with pytest.raises(PixelReadError, match=r"hurt\.tif.*256x256 px at \(512, 512\)"):
                read_tile(slide, plan, (512, 512))
            for x in (0, 256, 768, 1024):
                assert (read_tile(slide, plan, (x, 512)) == (200, 100, 150)).all()


def coords_of(num_tiles):
    return np.array([(37 * i, 1200 - 91 * i) for i in range(num_tiles)], dtype=np.int64)


@pytest.mark.parametrize("num_readers", [1, 4])
@pytest.mark.parametrize("start", [0, 8])
def test_tiles_come_in_order_and_in_the_same_batches(slide, num_readers, start):
    plan, coords = plan_tiles(slide), coords_of(11)
    found = list(
        read_tiles(slide, plan, coords, batch_size=4, num_readers=num_readers, start=start)
    )
    assert [(b.start, len(b.pixels)) for b in found] == [(0, 4), (4, 4), (8, 3)][start // 4 :]
    for batch in found:
        assert not batch.status.any()
        for number, tile in enumerate(batch.pixels, batch.start):
            np.testing.assert_array_equal(tile, read_tile(slide, plan, coords[number]))


def test_tiles_are_read_a_few_batches_ahead_only(slide, monkeypatch):
    plan, seen = plan_tiles(slide), []

    def read(slide, plan, row, out):
        seen.append(tuple(row))

    monkeypatch.setattr("slidenet.slides.tiles.read_tile", read)
    batches = read_tiles(slide, plan, coords_of(13), batch_size=1, num_readers=1)
    next(batches)
    time.sleep(0.1)
    assert len(seen) == 1 + BATCHES_AHEAD
    batches.close()
    assert len(seen) == 1 + BATCHES_AHEAD


@pytest.mark.parametrize("batch_size", [1, 40])
def test_blocks_of_tiles_are_one_batch(slide, batch_size):
    plan, coords = plan_tiles(slide, target_mpp=0.25, tile_size_px=16), coords_of(40) % 1400
    batches = list(read_tiles(slide, plan, coords, batch_size=batch_size, num_readers=3))
    assert [len(batch.status) for batch in batches] == [batch_size] * (40 // batch_size)
    found = np.concatenate([batch.pixels for batch in batches])
    np.testing.assert_array_equal(found, [read_tile(slide, plan, place) for place in coords])


def test_an_unreadable_tile_has_its_status_among_its_neighbours(tmp_path):
    path = write_pyramid(tmp_path / "hurt.tif", 1280, 1280, 0.5, plain((200, 100, 150)))
    corrupt_tile(path, (600, 600))
    coords = np.array([(256, 512), (512, 512), (768, 512)])
    with open_slide(path) as slide:
        (batch,) = read_tiles(slide, plan_tiles(slide), coords, batch_size=8)
    assert batch.start == 0
    assert batch.status.tolist() == [0, 1, 0]
    assert (batch.pixels[2] == (200, 100, 150)).all()
    assert (batch.pixels[1] == 255).all()
    assert "cannot be decoded" in batch.reason
