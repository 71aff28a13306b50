"""Tiles as image files and shards: every pixel back again, the same bytes, resumed, by region."""

import dataclasses
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

import slidenet
from slidenet.cli.main import main
from slidenet.core.errors import ConfigError
from slidenet.core.records import TileRegions
from slidenet.pipelines.exporting.parts import _folder_names
from slidenet.slides import open_slide, read_tiles
from slidenet.stores import read_tile_set, write_tile_set
from slidenet.testing import corrupt_tile
from slidenet.testing.layouts import halved_levels, write_layout

ISOLATED = {"isolate": False}
TILING = {"segmenter": "all", "tile_size_px": 64, "target_mpp": 1.0, "mpp": 0.5, **ISOLATED}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A slide of 2 x 3 tiles of 64 px at half its resolution."""
    root = tmp_path_factory.mktemp("export")
    picture = np.random.default_rng(5).integers(60, 190, (384, 256, 3), dtype=np.uint8)
    slide = write_layout(root / "S.1.tif", halved_levels(picture, 2))
    assert slidenet.preprocess([slide], root / "out", **TILING).exit_code == 0
    return root


def export(cohort, to, **settings):
    return slidenet.export_tiles(
        [cohort / "S.1.tif"], cohort / "out", to=to, **settings, **ISOLATED
    )


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def tiles_of(cohort):
    tile_set = read_tile_set(cohort / "out" / "tiles" / "S.1.h5")
    with open_slide(cohort / "S.1.tif", mpp=0.5) as slide:
        (batch,) = read_tiles(slide, tile_set.geometry, tile_set.coords, batch_size=64)
        return tile_set.coords, batch.pixels.copy()


def test_a_png_folder_is_a_slide_of_the_same_pixels_and_places(cohort, tmp_path):
    report = export(cohort, tmp_path / "t")
    assert report.outcomes[0].detail == "6 tiles"
    coords, pixels = tiles_of(cohort)
    for (x, y), tile in zip(coords.tolist(), pixels, strict=True):
        assert (np.asarray(Image.open(tmp_path / "t" / "S.1" / f"{x}_{y}.png")) == tile).all()
    again = slidenet.preprocess(tmp_path / "t", tmp_path / "again", drop_blank=False, **ISOLATED)
    assert again.exit_code == 0, again.table()
    old, new = (
        read_tile_set(out / "tiles" / "S.1.h5") for out in (cohort / "out", tmp_path / "again")
    )
    assert old.coords.tolist() == new.coords.tolist()
    for name in ("target_mpp", "tile_size_px", "stride_px", "level0_width", "level0_height"):
        assert getattr(old.geometry, name) == getattr(new.geometry, name), name
    assert old.geometry.slide_mpp.value == new.geometry.slide_mpp.value
    with open_slide(tmp_path / "t" / "S.1") as slide:
        (batch,) = read_tiles(slide, new.geometry, new.coords, batch_size=64)
        assert (batch.pixels == pixels).all()


def test_an_export_that_was_killed_ends_with_the_same_bytes(cohort, tmp_path):
    export(cohort, tmp_path / "one")
    export(cohort, tmp_path / "two")
    folder = tmp_path / "two" / "S.1"
    record = json.loads((folder / "tiles.json").read_text())
    (folder / "tiles.json").write_text(json.dumps(record | {"complete": False}))
    (folder / "128_256.png").unlink()
    (folder / "tiles.csv").unlink()
    report = export(cohort, tmp_path / "two")
    assert report.outcomes[0].status == "done"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert export(cohort, tmp_path / "two").outcomes[0].status == "already done"
    (folder / "0_0.png").unlink()  # lost since
    assert export(cohort, tmp_path / "two").outcomes[0].status == "done"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.slow
def test_another_export_is_refused_and_overwritten_when_asked(cohort, tmp_path):
    export(cohort, tmp_path)
    refused = export(cohort, tmp_path, image_format="jpeg").outcomes[0]
    assert "image_format: 'png' -> 'jpeg'" in refused.detail
    assert export(cohort, tmp_path, image_format="jpeg", overwrite=True).exit_code == 0
    assert {p.suffix for p in (tmp_path / "S.1").iterdir()} == {".jpg", ".json", ".csv"}
    (tmp_path / "b" / "S.1").mkdir(parents=True)
    (tmp_path / "b" / "S.1" / "mine.txt").write_text("x")
    assert "holds files, and no tiles.json" in export(cohort, tmp_path / "b").outcomes[0].detail
    # Another tool's file of that name gives no leave to remove images.
    (tmp_path / "b" / "S.1" / "tiles.json").write_text('{"identity": {}}')
    (tmp_path / "b" / "S.1" / "mine.png").write_bytes(b"x")
    outcome = export(cohort, tmp_path / "b", overwrite=True).outcomes[0]
    assert "holds files, and no tiles.json of an export" in outcome.detail
    assert (tmp_path / "b" / "S.1" / "mine.png").is_file()


@pytest.mark.slow
def test_shards_hold_samples_up_to_a_size_and_go_on_behind_the_last_whole_one(cohort, tmp_path):
    export(cohort, tmp_path / "one", shards=True, shard_mb=0.03)
    names = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert len(names) > 2
    _, pixels = tiles_of(cohort)
    samples = {}
    for name in names[:-1]:
        assert (tmp_path / "one" / name).stat().st_size <= 30_000
        with tarfile.open(tmp_path / "one" / name) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
                samples[member.name] = tar.extractfile(member).read()
    assert len(samples) == 12
    facts = json.loads(samples["S.1/0_0.json"])
    assert (facts["slide_id"], facts["x"], facts["y"], facts["target_mpp"]) == ("S.1", 0, 0, 1.0)
    (tmp_path / "first.png").write_bytes(samples["S.1/0_0.png"])
    assert (np.asarray(Image.open(tmp_path / "first.png")) == pixels[0]).all()

    export(cohort, tmp_path / "two", shards=True, shard_mb=0.03)
    index = json.loads((tmp_path / "two" / "S.1.json").read_text())
    index |= {"complete": False, "shards": index["shards"][:2]}
    (tmp_path / "two" / "S.1.json").write_text(json.dumps(index))
    for name in names[1:-1]:
        (tmp_path / "two" / name).unlink()
    assert export(cohort, tmp_path / "two", shards=True, shard_mb=0.03).exit_code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def with_regions(cohort, out):
    tiles = read_tile_set(cohort / "out" / "tiles" / "S.1.h5")
    index = np.array([0, 0, 1, 0, 1, 0], np.uint16)
    regions = TileRegions(("Tumor", "Stroma", "Fat"), index, np.full(6, 0.5, np.float32), "class")
    write_tile_set(out / "tiles" / "S.1.h5", dataclasses.replace(tiles, regions=regions))


@pytest.mark.slow
def test_tiles_are_chosen_and_parted_by_region(cohort, tmp_path):
    (tmp_path / "out" / "tiles").mkdir(parents=True)
    with_regions(cohort, tmp_path / "out")

    def of_regions(**settings):
        return slidenet.export_tiles([cohort / "S.1.tif"], tmp_path / "out", **settings, **ISOLATED)

    both = of_regions(region_classes=["Tumour", "Stroma"], to=tmp_path / "both").outcomes[0]
    assert both.detail == "2 tiles; no tile lies in Tumour"
    assert of_regions(region_classes=["Stroma"]).outcomes[0].detail == "2 tiles"
    folder = tmp_path / "out" / "tile_images" / "S.1"
    assert sorted(p.name for p in folder.glob("*.png")) == ["0_128.png", "0_256.png"]
    rows = (folder / "tiles.csv").read_text().splitlines()
    assert rows[:2] == [
        "tile,x,y,tissue_fraction,region,region_share", "0_128.png,0,128,1.0,Stroma,0.5",
    ]  # fmt: skip
    back = slidenet.preprocess(
        tmp_path / "out" / "tile_images", tmp_path / "back", drop_blank=False, **ISOLATED
    )
    assert "2 kept (2 Stroma); tiles as cut: 64 px at 1 mpp" in back.outcomes[0].detail
    again = read_tile_set(tmp_path / "back" / "tiles" / "S.1.h5").regions
    assert (again.names, again.share.tolist()) == (("Stroma",), [0.5, 0.5])
    parted = of_regions(by_region=True, to=tmp_path / "parted").outcomes[0]
    assert parted.detail == "6 tiles (4 Tumor, 2 Stroma)"
    assert len(list((tmp_path / "parted" / "Tumor" / "S.1").glob("*.png"))) == 4
    wrong = of_regions(region_classes=["Tumour"], to=tmp_path / "c").outcomes[0]
    assert "no tile lies in Tumour; expected some of the regions of this slide: Tumor, Stroma" in (
        wrong.detail
    )


def test_names_of_regions_become_names_of_folders_on_any_disk():
    names = _folder_names(["Tumor: Necrosis", "Stroma", "..", "A/B?"])
    assert list(names.values()) == ["Tumor_ Necrosis", "Stroma", "_", "A_B_"]
    with pytest.raises(ConfigError, match="'A:B' and 'a/b' would share the folder 'a_b'"):
        _folder_names(["A:B", "a/b"])


def test_regions_that_were_not_recorded_and_bad_settings_are_refused(cohort, tmp_path, capsys):
    outcome = export(cohort, tmp_path, by_region=True).outcomes[0]
    assert "does not say in which drawn regions its tiles lie" in outcome.detail
    flags = ["export-tiles", "--slides", str(cohort / "S.1.tif"), "--out", str(cohort / "out")]
    assert main([*flags, "--quality", "101"]) == 2
    assert "a whole number from 1 to 100" in capsys.readouterr().err
    assert main([*flags, "--shard-mb", "0"]) == 2


@pytest.mark.slow
def test_what_cannot_be_read_is_left_out_and_counted(tmp_path):
    picture = np.random.default_rng(5).integers(60, 190, (256, 256, 3), dtype=np.uint8)
    slide = write_layout(tmp_path / "S.tif", halved_levels(picture, 2))
    settings = {**TILING, "target_mpp": 0.5, "drop_blank": False}
    assert slidenet.preprocess([slide], tmp_path / "out", **settings).exit_code == 0
    # The same tiles of a slide that is damaged since: by size and first blocks the same file.
    corrupt_tile(slide, (200, 200))
    tiles = tmp_path / "out" / "tiles" / "S.h5"
    with open_slide(slide, mpp=0.5) as hurt:
        write_tile_set(
            tiles, dataclasses.replace(read_tile_set(tiles), fingerprint=hurt.fingerprint)
        )
    for name, more in (("folder", {}), ("shards", {"shards": True})):
        report = slidenet.export_tiles(
            [slide], tmp_path / "out", to=tmp_path / name, **more, **ISOLATED
        )
        detail = report.outcomes[0].detail
        assert detail == "15 tiles; warning: 1 tiles cannot be read and were left out"
        again = slidenet.export_tiles(
            [slide], tmp_path / "out", to=tmp_path / name, **more, **ISOLATED
        )
        assert (again.outcomes[0].status, again.outcomes[0].detail) == ("already done", detail)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 1}', '{"complete": true, "num_tiles": "x"}']
)
def test_damaged_records_of_an_export_are_one_line(cohort, tmp_path, text):
    (tmp_path / "S.1").mkdir()
    (tmp_path / "S.1" / "tiles.json").write_text(text)
    (tmp_path / "S.1.json").write_text(text)
    for more in ({}, {"shards": True}):
        outcome = export(cohort, tmp_path, **more).outcomes[0]
        assert outcome.status == "failed"
        assert "internal error" not in outcome.detail
