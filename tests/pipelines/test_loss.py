"""Tiles that could not be read: counted, limited, read again, and healed to the last byte."""

import shutil

import numpy as np
import pytest

import slidenet
from slidenet.core.errors import PixelReadError
from slidenet.pipelines.cohort.loss import most_unreadable
from slidenet.slides.readers.tiled.reader import TiledReader
from slidenet.stores import open_features, read_tile_set, validate_file
from slidenet.testing.layouts import halved_levels, write_layout

NUM_TILES = 64
TILING = {"segmenter": "all", "tile_size_px": 64, "target_mpp": 0.5, "mpp": 0.5, "isolate": False}


@pytest.fixture(scope="module")
def undisturbed(noise_path, tmp_path_factory, colour_encoder):
    out = tmp_path_factory.mktemp("undisturbed")
    preprocess(noise_path, out)
    assert embed(noise_path, out, colour_encoder).status == "done"
    return out


@pytest.fixture
def out(noise_path, tmp_path):
    preprocess(noise_path, tmp_path / "out")
    return tmp_path / "out"


def preprocess(path, out):
    assert slidenet.preprocess([path], out, drop_blank=False, **TILING).exit_code == 0


def embed(path, out, encoder, **settings):
    settings = {"batch_size": 8, "isolate": False, "num_readers": 1, **settings}
    (outcome,) = slidenet.embed_tiles([path], out, tile_encoder=encoder, **settings).outcomes
    return outcome


def features(out):
    return out / "tile_features" / "colour" / "s.h5"


def test_one_lost_tile_is_counted_and_only_it_is_read_again(
    noise_path, out, undisturbed, disk, colour_encoder
):
    disk.lost = {20}
    outcome = embed(noise_path, out, colour_encoder)
    assert (outcome.status, outcome.num_tiles, outcome.num_unreadable) == ("done", NUM_TILES, 1)
    assert sorted(disk.asked) == sorted([*range(NUM_TILES), 20])  # once more on a fresh handle
    first = features(out).read_bytes()
    disk.asked.clear()
    outcome = embed(noise_path, out, colour_encoder)
    assert (outcome.status, outcome.num_unreadable, disk.asked) == ("already done", 1, [20])
    assert features(out).read_bytes() == first
    disk.lost = set()
    outcome = embed(noise_path, out, colour_encoder)
    assert (outcome.status, outcome.num_unreadable, disk.asked) == ("done", 0, [20, 20])
    assert "1 of them could not be read before" in outcome.detail
    assert features(out).read_bytes() == features(undisturbed).read_bytes()
    assert [p.name for p in features(out).parent.glob("*s.h5*")] == ["s.h5"]


def test_beyond_the_limit_the_slide_fails_and_what_was_read_stays(
    noise_path, out, undisturbed, disk, colour_encoder
):
    disk.lost = {9, 10}
    outcome = embed(noise_path, out, colour_encoder)
    assert outcome.status == "failed"
    assert outcome.detail.startswith(
        "slide 's': 2 of its first 16 tiles (of 64) could not be read: tile 9 is on a bad sector; "
        "expected at most 1 unreadable tile (--max-unreadable 0.01). To fix: see that its disk"
    )
    assert not features(out).exists()
    disk.asked.clear()
    disk.lost = {10}
    outcome = embed(noise_path, out, colour_encoder)
    assert (outcome.status, outcome.num_unreadable) == ("done", 1)
    assert sorted(disk.asked) == sorted([9, 10, *range(16, NUM_TILES)])
    disk.lost = set()
    embed(noise_path, out, colour_encoder)
    assert features(out).read_bytes() == features(undisturbed).read_bytes()


@pytest.mark.slow
def test_what_is_done_stays_done_where_its_slide_was_put_away(
    noise_path, tmp_path, disk, colour_encoder
):
    path = tmp_path / "s.tif"
    shutil.copy(noise_path, path)
    preprocess(path, tmp_path / "out")
    disk.lost = {20}
    embed(path, tmp_path / "out", colour_encoder)
    path.unlink()
    outcome = embed(path, tmp_path / "out", colour_encoder)
    assert (outcome.status, outcome.num_unreadable) == ("already done", 1)
    assert "1 tiles unreadable; their slide cannot be read now" in outcome.detail


@pytest.mark.slow
def test_an_outage_and_then_a_healthy_run_leave_no_trace(
    noise_path, out, undisturbed, disk, colour_encoder
):
    disk.fails_until = 100
    assert embed(noise_path, out, colour_encoder).status == "failed"
    disk.fails_until = 0
    assert embed(noise_path, out, colour_encoder).status == "done"
    assert features(out).read_bytes() == features(undisturbed).read_bytes()


def test_a_short_outage_is_over_when_the_slide_is_opened_anew(
    noise_path, out, undisturbed, disk, colour_encoder
):
    disk.fails_until = 8
    outcome = embed(noise_path, out, colour_encoder)
    assert (outcome.status, outcome.num_unreadable) == ("done", 0)
    assert features(out).read_bytes() == features(undisturbed).read_bytes()


@pytest.mark.slow
def test_the_loss_that_is_accepted_is_a_setting(noise_path, out, disk, colour_encoder):
    disk.lost = {1, 2, 3, 4}
    assert embed(noise_path, out, colour_encoder, max_unreadable=0.0625).num_unreadable == 4
    assert validate_file(features(out)) == []
    # Asked again with less patience, the same file is not enough.
    outcome = embed(noise_path, out, colour_encoder)
    assert outcome.status == "failed"
    assert "4 of its 64 tiles could not be read: tile 1 is on a bad sector" in outcome.detail
    assert open_features(features(out)).num_unreadable == 4
    disk.lost = {1}
    assert embed(noise_path, out, colour_encoder, max_unreadable=0).status == "failed"


@pytest.mark.slow
def test_a_slide_without_a_readable_tile_is_never_done(noise_path, out, disk, colour_encoder):
    disk.lost = set(range(NUM_TILES))
    outcome = embed(noise_path, out, colour_encoder, max_unreadable=1)
    assert outcome.status == "failed"
    assert "none of its 64 tiles could be read (tile 0 is on a bad sector)" in outcome.detail
    assert not features(out).exists()


def chosen(path, out, **settings):
    settings = {"drop_blank": False, **settings}
    (outcome,) = slidenet.preprocess([path], out, **{**TILING, **settings}).outcomes
    return outcome


@pytest.mark.slow
def test_tiles_that_a_filter_could_not_see_are_chosen_again(noise_path, tmp_path, disk):
    outs = [tmp_path / "a", tmp_path / "b"]
    for out in outs:
        disk.lost = {20} if out == outs[1] else set()
        outcome = chosen(noise_path, out, drop_blurred=True)
        assert outcome.status == "done"
    assert outcome.num_unreadable == 1
    whole, hurt = (out / "tiles" / "s.h5" for out in outs)
    assert read_tile_set(hurt).read_again
    assert not read_tile_set(whole).read_again
    assert validate_file(hurt) == []
    first = hurt.read_bytes()
    assert chosen(noise_path, outs[1], drop_blurred=True).status == "already done"
    assert hurt.read_bytes() == first
    disk.lost = set()
    assert chosen(noise_path, outs[1], drop_blurred=True).status == "done"
    assert hurt.read_bytes() == whole.read_bytes()
    disk.asked.clear()
    assert chosen(noise_path, outs[1], drop_blurred=True).status == "already done"
    assert disk.asked == []


@pytest.mark.slow
def test_tiles_are_not_chosen_where_too_many_are_lost(noise_path, tmp_path, disk):
    disk.lost = {20, 21}
    outcome = chosen(noise_path, tmp_path, drop_blurred=True)
    assert outcome.status == "failed"
    assert "2 of its 64 tiles could not be read: tile 20 is on a bad sector" in outcome.detail
    assert chosen(noise_path, tmp_path, drop_blurred=True, max_unreadable=0.5).num_unreadable == 2


@pytest.mark.slow
def test_a_slide_of_which_no_tile_can_be_read_has_no_tiles(noise_path, tmp_path, disk):
    disk.lost = set(range(NUM_TILES))
    for filters in ({}, {"drop_blank": True}, {"drop_blurred": True}):
        outcome = chosen(noise_path, tmp_path, **filters)
        assert outcome.status == "failed"
        assert "none of its 64 tiles could be read (tile" in outcome.detail
    assert not (tmp_path / "tiles" / "s.h5").exists()


@pytest.mark.slow
def test_what_a_damaged_level_cannot_show_a_filter_sees_in_the_tiles_own_pixels(
    tmp_path, monkeypatch
):
    picture = np.random.default_rng(5).integers(60, 190, (512, 512, 3), dtype=np.uint8)
    picture[:64, :192] = 255  # three blank tiles
    path = write_layout(tmp_path / "s.tif", halved_levels(picture, 3))
    whole = chosen(path, tmp_path / "whole", drop_blank=True)
    read_shrunk = TiledReader.read_shrunk

    def of_level_0(self, location, level, size, *more, **settings):
        if level:
            raise PixelReadError("the level is gone")
        return read_shrunk(self, location, level, size, *more, **settings)

    monkeypatch.setattr(TiledReader, "read_shrunk", of_level_0)
    hurt = chosen(path, tmp_path / "hurt", drop_blank=True)
    assert "64 on tissue, -3 blank, 61 kept" in whole.detail
    assert (hurt.num_tiles, hurt.num_unreadable) == (61, None)
    files = [read_tile_set(tmp_path / out / "tiles" / "s.h5") for out in ("whole", "hurt")]
    assert [one.read_again for one in files] == [False, True]


@pytest.mark.slow
def test_an_overview_with_a_gap_is_made_again(noise_path, tmp_path, monkeypatch):
    chosen(noise_path, tmp_path / "whole")
    read_level, calls = TiledReader.read_level, []

    def once(self, *where):
        calls.append(where)
        if where[-1] == (512, 512) and calls.count(where) == 1:
            raise PixelReadError("the share hiccups")
        return read_level(self, *where)

    monkeypatch.setattr(TiledReader, "read_level", once)
    out = tmp_path / "hurt"
    assert chosen(noise_path, out).status == "done"
    assert read_tile_set(out / "tiles" / "s.h5").read_again
    assert chosen(noise_path, out).status == "done"
    for name in ("tiles/s.h5", "overlays/s.jpg", "tissue/s.json"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("num_tiles", "share", "most"),
    [(1, 0.01, 1), (50, 0.01, 1), (299, 0.01, 2), (300, 0.01, 3), (10, 0, 0), (10, 1, 10)],
)
def test_one_tile_or_a_share_may_be_lost(num_tiles, share, most):
    assert most_unreadable(num_tiles, share) == most
