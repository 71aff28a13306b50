"""A folder of tile images as a slide: pixels, damage, pictures, fingerprints."""

import errno
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slidenet.core.errors import CoordinateError, PixelReadError, UnreadableSlideError
from slidenet.slides import open_slide, plan_tiles, read_tiles
from slidenet.slides.tile_images.declaration import TileDeclaration

NAMES = ["0_0.png", "32_0.png", "0_32.png"]
AT_HALF = {"mpp": 0.25, "tiles": TileDeclaration(0.5, "level0")}


def pixels_of(folder, name):
    return np.asarray(Image.open(folder / name))


@pytest.mark.parametrize("isolate", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_tiles_come_as_they_were_cut(make_folder, isolate):
    folder = make_folder(NAMES)
    with open_slide(folder, isolate=isolate, **AT_HALF) as slide:
        geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=16)
        (batch,) = read_tiles(slide, geometry, slide.cut_tiles.coords, batch_size=9)
        for name, tile in zip(["0_0.png", "32_0.png", "0_32.png"], batch.pixels, strict=True):
            assert (tile == pixels_of(folder, name)).all()
        assert (slide.read_cut_tile((32, 0)) == pixels_of(folder, "32_0.png")).all()
        with pytest.raises(CoordinateError, match="no tile image begins at x=5, y=5"):
            slide.read_cut_tile((5, 5))
        assert slide.thumbnail(32).shape == (32, 32, 3)


def test_a_picture_of_all_tiles_is_white_where_none_lies(make_folder):
    folder = make_folder(NAMES)
    with open_slide(folder, mpp=0.5, tiles=TileDeclaration(0.5, "level0")) as slide:
        picture = slide.thumbnail(10_000)
        assert picture.shape == (48, 48, 3)
        assert (picture[:16, 32:] == pixels_of(folder, "32_0.png")).all()
        assert (picture[16:32] == 255).all()
        small = slide.thumbnail(6)
        assert small.shape == (6, 6, 3)
        assert abs(int(small[0, 0, 0]) - picture[:8, :8, 0].mean()) <= 1


def test_copies_travel_and_a_moved_folder_keeps_its_fingerprint(make_folder, tmp_path):
    folder = make_folder(NAMES)
    with open_slide(folder, **AT_HALF) as slide:
        first = slide.fingerprint
        with pickle.loads(pickle.dumps(slide)) as copy:
            assert copy.cut_tiles.coords.tolist() == slide.cut_tiles.coords.tolist()
    moved = folder.rename(tmp_path / "other")
    with open_slide(moved, **AT_HALF) as slide:
        assert slide.fingerprint == first
    Image.new("RGB", (16, 16)).save(moved / "0_0.png")
    with open_slide(moved, **AT_HALF) as slide:
        assert slide.fingerprint != first


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "bomb", "link", "cmyk"])
def test_a_broken_image_is_a_tile_that_cannot_be_read(make_folder, damage):
    folder = make_folder(NAMES)
    path, data = folder / "32_0.png", (folder / "32_0.png").read_bytes()
    path.unlink()
    if damage == "link":
        path.symlink_to(folder / "gone.png")
    elif damage == "cmyk":
        Image.new("CMYK", (16, 16)).save(path, format="JPEG")
    else:
        bomb = data[:16] + (60_000).to_bytes(4, "big") * 2 + data[24:]
        path.write_bytes(
            {"cut": data[:200], "empty": b"", "text": b"no image", "bomb": bomb}[damage]
        )
    if damage == "bomb":
        with pytest.raises(UnreadableSlideError, match="1 of 60000 x 60000 px"):
            open_slide(folder, **AT_HALF)
        return
    with open_slide(folder, **AT_HALF) as slide:
        geometry = plan_tiles(slide, target_mpp=0.5, tile_size_px=16)
        (batch,) = read_tiles(slide, geometry, slide.cut_tiles.coords, batch_size=9)
        assert batch.status.tolist() == [0, 1, 0]
        assert "32_0.png cannot be decoded" in batch.reason
        slide.thumbnail(100)
        assert slide.unreadable_places == ((0.5, 0.0, 1.0, 0.5),)
        with pytest.raises(PixelReadError):
            slide.read_cut_tile((32, 0))


def test_a_disk_that_fails_does_not_change_the_fingerprint(make_folder, monkeypatch):
    folder, whole = make_folder(NAMES), Path.open

    def fails(path, *mode, **how):
        if path.name == "32_0.png":
            raise OSError(errno.EIO, "Input/output error")
        return whole(path, *mode, **how)

    with open_slide(folder, **AT_HALF) as slide:
        monkeypatch.setattr(Path, "open", fails)
        with pytest.raises(OSError, match="Input/output error"):
            assert slide.fingerprint


def test_a_folder_without_any_readable_image_is_refused(make_folder):
    folder = make_folder(NAMES)
    for name in NAMES:
        (folder / name).write_bytes(b"x")
    with pytest.raises(UnreadableSlideError, match="none of its 3 images can be read"):
        open_slide(folder, **AT_HALF)


def test_grey_turned_deep_and_transparent_tiles_become_rgb(make_folder):
    folder = make_folder([])
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(folder / "0_0.png")
    Image.fromarray(grey).convert("LA").save(folder / "16_0.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "32_0.png")
    Image.fromarray(np.dstack([grey] * 3)).save(folder / "48_0.tif")
    Image.fromarray(np.dstack([grey] * 3)).save(folder / "64_0.JPG", quality=100)
    with open_slide(folder, tiles=TileDeclaration(0.5, "tile")) as slide:
        for x in range(0, 80, 16):
            error = np.abs(slide.read_cut_tile((x, 0))[..., 1].astype(int) - grey)
            assert error.max() <= (3 if x == 64 else 0)


def test_a_folder_of_something_else_is_still_said_to_be_a_folder(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"x")
    (tmp_path / "label.png").write_bytes(b"x")
    with pytest.raises(UnreadableSlideError, match="it is a folder"):
        open_slide(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableSlideError, match="it is a folder"):
        open_slide(tmp_path / "empty")
