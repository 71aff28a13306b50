"""What a user declares about slides (resolution, digest), from the manifest to the tiles."""

import hashlib

import numpy as np
import pytest
import tifffile

import slidenet
from slidenet.cli.main import main
from slidenet.pipelines.inspection.info import info
from slidenet.stores import read_tile_set

SIDE = 256
SETTINGS = {"segmenter": "all", "tile_size_px": 64, "target_mpp": 1.0, "drop_blank": False}


def write_slide(path, x=None, y=None, level=None):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    common = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    if x is not None:
        common |= {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(pixels, subfiletype=0, **common)
        if level is not None:
            tiff.write(pixels[: level[1], : level[0]], subfiletype=1, **common)
    return path


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Five slides: without resolution, not square, and of the digest they should have or not."""
    folder = tmp_path_factory.mktemp("declared")
    write_slide(folder / "bare.tif")
    for name in ("long", "long_one", "long_both"):
        write_slide(folder / f"{name}.tif", 0.5, 0.55)
    digest = hashlib.sha256((folder / "bare.tif").read_bytes()).hexdigest()
    (folder / "slides.csv").write_text(
        "slide_id,slide_path,mpp,mpp_x,mpp_y,sha256\n"
        f"bare,bare.tif,,,,{digest}\n"
        "own,bare.tif,0.25,,,\n"
        f"rotten,bare.tif,,,,{'0' * 64}\n"
        "long,long.tif,,,,\n"
        "long_one,long_one.tif,0.5,,,\n"
        "long_both,long_both.tif,,0.5,0.5,\n"
    )
    report = slidenet.preprocess(folder / "slides.csv", folder / "out", mpp=0.5, **SETTINGS)
    return folder, {outcome.slide_id: outcome for outcome in report.outcomes}


@pytest.mark.parametrize(("slide_id", "mpp"), [("bare", 0.5), ("own", 0.25), ("long_both", 0.5)])
def test_what_is_declared_is_used(cohort, slide_id, mpp):
    folder, outcomes = cohort
    assert outcomes[slide_id].status == "done", outcomes[slide_id].detail
    found = read_tile_set(folder / "out" / "tiles" / f"{slide_id}.h5").geometry.slide_mpp
    assert (found.value, found.source) == (mpp, "override")


@pytest.mark.parametrize(
    ("slide_id", "says"),
    [
        ("rotten", "the manifest says 000000000000"),
        ("long", "0.5 in x and 0.55 in y"),
        ("long_one", "0.5 in x and 0.55 in y"),
    ],
)
def test_what_is_contradicted_is_refused(cohort, slide_id, says):
    _, outcomes = cohort
    assert outcomes[slide_id].status == "failed"
    assert says in outcomes[slide_id].detail


def test_info_says_what_is_not_used_and_what_is_contradicted(tmp_path):
    path = write_slide(tmp_path / "padded.tif", 0.5, 0.5, level=(128, 150))
    rows = dict(info(path, mpp=0.25, **SETTINGS).rows)
    assert "not used: its width is 1/2 and its height 1/1.70667" in rows["level 1"]
    assert rows["reader"].startswith("tiled: uncompressed tiles of 128x128 px, decoded directly")
    assert rows["mpp"] == "0.25 (about 40x), given by you"
    assert rows["also says"] == (
        "TIFF resolution tags: 0.5 mpp, but 0.25 mpp given by you are used"
    )
    assert rows["read from"].startswith("level 0 at 0.25 mpp")


@pytest.mark.parametrize(("reader", "words"), [("openslide", "px off its pixels"), (None, "")])
def test_info_says_where_levels_cannot_be_read_at_whole_pixels(
    tmp_path, reader, words, colour_encoder
):
    path = write_slide(tmp_path / "odd.tif", 0.5, 0.5, level=(85, 85))
    rows = dict(info(path, reader=reader, **SETTINGS).rows)
    assert rows["reader"].partition(":")[0] == (reader or "tiled")
    assert rows["level 1"].startswith("85 x 85 px, 1/3, 1.5 mpp")
    assert ("px off its pixels" in rows["level 1"]) == bool(words)
    tiling = SETTINGS | {"target_mpp": 1.5, "tile_size_px": 32, "isolate": False}
    (outcome,) = slidenet.preprocess([path], tmp_path / "out", reader=reader, **tiling).outcomes
    assert ("px off whole pixels, so blended" in outcome.detail) == bool(words)
    (outcome,) = slidenet.embed_tiles(
        [path], tmp_path / "out", tile_encoder=colour_encoder, reader="flat", isolate=False
    ).outcomes
    assert f"--reader flat is given; expected {'--reader openslide' if reader else 'none'}, as" in (
        outcome.detail
    )
    assert outcome.detail.endswith("`slidenet preprocess --overwrite --reader flat`")


def test_info_fails_on_a_slide_and_names_its_reader_for_every_kind(tmp_path, capsys):
    cut = write_slide(tmp_path / "cut.tif", 0.5, 0.5)
    cut.write_bytes(cut.read_bytes()[:5000])
    assert main(["info", str(cut), "--no-isolate"]) == 1  # a slide, and no wrong command
    assert main(["info", str(tmp_path / "lost.tif")]) == 1
    assert f"{tmp_path / 'lost.tif'} cannot be opened" in capsys.readouterr().err
    assert main(["info", str(cut), "--cpu-limit-s=-1"]) == 2
    assert "--cpu-limit-s is -1" in capsys.readouterr().err
    tifffile.imwrite(tmp_path / "flat.tif", np.full((64, 64, 3), 90, np.uint8))
    twice = write_slide(tmp_path / "twice.tif", 0.5, 0.5, level=(SIDE, SIDE))
    for path, reader in ((tmp_path / "flat.tif", "flat"), (twice, "openslide (not tiled: ")):
        rows = dict(info(path, isolate=True, **SETTINGS).rows)
        assert rows["reader"].startswith(reader)
