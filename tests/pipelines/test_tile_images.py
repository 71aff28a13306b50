"""Folders of tile images: from the files of other tools to features and to a trained model."""

import io

import numpy as np
import pytest
from PIL import Image

import slidenet
from slidenet.cli.main import main
from slidenet.core.errors import MissingMppError
from slidenet.core.provenance import cohort_identity
from slidenet.slide_encoders import LongNetEncoder, LongNetViT
from slidenet.slide_encoders.recipes import RECIPES
from slidenet.stores import open_features, read_slide_embedding, read_tile_set, validate_file

SIDE = 32
ISOLATED = {"isolate": False}


def paint(folder, names, *, red=150, seed=0):
    """Noise around a colour, so that folders of two colours can be told apart."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for name in names:
        noise = rng.normal((red, 90, 160), 25, (SIDE, SIDE, 3)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, colour_encoder):
    """A slide of 3 x 2 tiles cut at half the resolution of level 0, one broken, and a bag."""
    root = tmp_path_factory.mktemp("cut")
    names = [f"{x}_{y}.png" for y in (640, 704) for x in (64, 128, 192)]
    paint(root / "tiles" / "placed.v1", names)
    (root / "tiles" / "placed.v1" / names[4]).write_bytes(b"\x89PNG\r\n\x1a\n")
    paint(root / "tiles" / "bag", [f"lung{n}.png" for n in range(5)])
    (root / "slides.csv").write_text(
        "slide_path,mpp,tile_mpp,tile_frame\ntiles/placed.v1,0.25,0.5,level0\ntiles/bag,,0.5,\n"
    )
    slides, out = root / "slides.csv", root / "out"
    report = slidenet.preprocess(slides, out, **ISOLATED)
    assert report.exit_code == 0, report.table()
    (root / "said.txt").write_text(report.table())
    embedded = slidenet.embed_tiles(slides, out, tile_encoder=colour_encoder, **ISOLATED)
    assert embedded.exit_code == 0, embedded.table()
    return root


def features_of(cohort, slide_id):
    return open_features(cohort / "out" / "tile_features" / "colour" / f"{slide_id}.h5")


def test_tiles_are_taken_where_and_as_they_were_cut(cohort):
    tiles = read_tile_set(cohort / "out" / "tiles" / "placed.v1.h5")
    places = [[x, y] for y in (640, 704) for x in (64, 128, 192)]
    assert tiles.coords.tolist() == places
    geometry = tiles.geometry
    assert (geometry.slide_mpp.value, geometry.target_mpp, geometry.tile_size_px) == (0.25, 0.5, 32)
    assert (geometry.stride_px, geometry.tile_size_level0) == (32, 64)
    assert tiles.tissue_fraction.tolist() == [1.0] * 6
    file = features_of(cohort, "placed.v1")
    assert file.status.tolist() == [0, 0, 0, 0, 1, 0]
    assert file.placed
    first = np.asarray(Image.open(cohort / "tiles" / "placed.v1" / "64_640.png"))
    mean = first.mean(axis=(0, 1)) / 255
    assert np.allclose(file.features[0][:3], mean, atol=2e-3)
    for name in ("tiles/placed.v1", "tiles/bag", "tile_features/colour/bag"):
        assert validate_file(cohort / "out" / f"{name}.h5") == []


def test_a_bag_without_places_says_so(cohort):
    file = features_of(cohort, "bag")
    assert (file.num_tiles, file.placed, file.geometry.tile_frame) == (5, False, "none")
    assert not (cohort / "out" / "tissue" / "bag.geojson").exists()
    assert "without places, so no outline for QuPath" in (cohort / "said.txt").read_text()
    assert (cohort / "out" / "overlays" / "bag.jpg").exists()


def test_a_finished_folder_is_left_as_it_is_and_a_changed_one_is_noticed(cohort, colour_encoder):
    again = slidenet.preprocess(cohort / "slides.csv", cohort / "out", **ISOLATED)
    assert {o.status for o in again.outcomes} == {"already done"}
    path = cohort / "tiles" / "bag" / "lung0.png"
    before = path.read_bytes()
    Image.new("RGB", (SIDE, SIDE)).save(path)
    try:
        changed = slidenet.embed_tiles(
            cohort / "slides.csv", cohort / "out", tile_encoder=colour_encoder, overwrite=True,
            **ISOLATED,
        )  # fmt: skip
    finally:
        path.write_bytes(before)
    assert "is not the file its tiles were made from" in changed.outcomes[1].detail


def test_longnet_refuses_a_bag_without_places_and_poolings_take_it(cohort):
    net = LongNetViT(feature_dim=6, embed_dim=32, depth=1, num_heads=16, ffn_dim=32)
    encoder = LongNetEncoder("small", net, RECIPES["gigapath"])
    out, slides = cohort / "out", [cohort / "tiles" / "bag"]
    report = slidenet.embed_slides(
        slides, out, encoder="colour", recipe="gigapath", slide_encoder=encoder
    )
    assert "recipe 'gigapath' goes by where tiles lie" in report.outcomes[0].detail
    assert slidenet.embed_slides(slides, out, encoder="colour", recipe="mean").exit_code == 0
    path = out / "slide_embeddings" / "colour" / "mean" / "bag.h5"
    assert len(read_slide_embedding(path).slide_embedding) == 6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tile_size_px": 64}, "32 px at 0.5 mpp, and --tile-size-px 64 was asked for"),
        ({"target_mpp": 1.0}, "--target-mpp 1 was asked for"),
        ({"reader": "openslide"}, "the slide is a folder of tile images"),
        ({"segmenter": "saturation"}, "have no places, which --segmenter needs"),
    ],
)
def test_what_contradicts_tiles_that_are_cut_is_refused(cohort, tmp_path, settings, words):
    slides = [cohort / "tiles" / "bag"]
    report = slidenet.preprocess(slides, tmp_path, tile_mpp=0.5, **settings, **ISOLATED)
    assert words in report.outcomes[0].detail


def test_the_folder_of_one_slide_is_no_cohort_of_its_tiles(cohort, tmp_path, capsys):
    arguments = ["--slides", str(cohort / "tiles" / "bag"), "--out", str(tmp_path)]
    assert main(["preprocess", *arguments, "--tile-mpp", "0.5"]) == 2
    said = capsys.readouterr().err
    assert "--tile-mpp is given, and none of the 5 slides is a folder of tile images" in said


def test_folders_that_were_cut_alike_go_together_whatever_steps_they_show(tmp_path):
    paint(tmp_path / "in" / "overlapping", ["0_0.png", "16_0.png"])
    paint(tmp_path / "in" / "apart", ["0_0.png", "32_0.png"], red=252)
    (tmp_path / "in" / "apart" / "0_32.png").write_bytes(_white())
    settings = {"tile_mpp": 0.5, "tile_frame": "tile", "segmenter": "all"}
    report = slidenet.preprocess(tmp_path / "in", tmp_path / "out", **settings, **ISOLATED)
    assert "tiles as cut: 32 px at 0.5 mpp, not 256 px at 0.5 mpp" in report.table()
    sets = [read_tile_set(tmp_path / "out" / "tiles" / f"{o.slide_id}.h5") for o in report.outcomes]
    assert {s.geometry.stride_px for s in sets} == {16, 32}
    assert sets[0].identity != sets[1].identity
    assert cohort_identity(sets[0].identity) == cohort_identity(sets[1].identity)
    assert sorted(s.num_tiles for s in sets) == [2, 3], "a white tile was cut, so it stays"


def _white():
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), "white").save(buffer, "png")
    return buffer.getvalue()


def test_a_resolution_that_all_folders_lack_is_one_error(cohort, tmp_path):
    with pytest.raises(MissingMppError, match=r"of 2 folders .*give --tile-mpp \(of the images\)"):
        slidenet.preprocess(cohort / "tiles", tmp_path, **ISOLATED)
    with pytest.raises(MissingMppError, match=r"give --mpp \(of level 0\), or"):
        slidenet.preprocess(
            cohort / "tiles", tmp_path, tile_mpp=0.5, tile_frame="level0", **ISOLATED
        )


def test_a_segmenter_that_is_named_judges_tiles_with_places(cohort, tmp_path):
    slides = [cohort / "tiles" / "placed.v1"]
    settings = {"mpp": 0.25, "tile_mpp": 0.5, "tile_frame": "level0", "min_area_um2": 0.0}
    report = slidenet.preprocess(slides, tmp_path, segmenter="otsu", **settings, **ISOLATED)
    assert report.outcomes[0].status == "done", report.table()
    identity = read_tile_set(tmp_path / "tiles" / "placed.v1.h5").identity
    assert identity["tissue"]["segmenter"] == "otsu"


@pytest.mark.slow
def test_a_folder_of_folders_is_a_cohort_and_flags_declare_what_its_tiles_are(
    cohort, tmp_path, capsys, caplog
):
    (cohort / "tiles" / "empty").mkdir(exist_ok=True)
    arguments = ["--slides", str(cohort / "tiles"), "--out", str(tmp_path)]
    declared = ["--tile-mpp", "0.5", "--tile-frame", "none"]
    assert main(["preprocess", *arguments, "--no-isolate", *declared]) == 0
    said = capsys.readouterr().out
    assert "bag" in said
    assert "placed.v1" in said
    assert "left out 1 subfolder without tile images (empty)" in caplog.text
    assert main(["info", str(cohort / "tiles" / "bag"), "--tile-mpp", "0.5", "--no-isolate"]) == 0
    said = capsys.readouterr().out
    assert "5 of 32 px at 0.5 mpp, without places" in said
    assert "tiles as they were cut" in said


@pytest.mark.slow
def test_bags_without_places_train_a_model_that_goes_without(tmp_path, colour_encoder, capsys):
    rows = ["slide_id,slide_path,patient_id,label,tile_mpp"]
    for n in range(16):
        paint(tmp_path / f"S{n}", [f"t{i}.png" for i in range(4)], red=100 + 60 * (n % 2), seed=n)
        rows.append(f"S{n},S{n},P{n},{n % 2},0.5")
    slides, out = tmp_path / "slides.csv", tmp_path / "out"
    slides.write_text("\n".join(rows))
    assert slidenet.preprocess(slides, out).exit_code == 0
    assert slidenet.embed_tiles(slides, out, tile_encoder=colour_encoder).exit_code == 0
    arguments = [
        f"--data.labels={slides}", f"--data.features={out}", "--data.batch-size=4",
        "--model.learning-rate=0.05", "--trainer.max-epochs=8", "--trainer.accelerator=cpu",
        f"--out={tmp_path / 'model'}",
    ]  # fmt: skip
    assert main(["train", *arguments, "--model.network=longnet"]) == 2
    said = capsys.readouterr().err
    assert "the bag model 'longnet' goes by where tiles lie" in said
    assert "take abmil" in said
    assert main(["train", *arguments, "--model.network=abmil"]) == 0
    predictions = (tmp_path / "model" / "predictions_test.csv").read_text().splitlines()
    assert len(predictions) > 1
    report = capsys.readouterr().out
    assert "auroc" in report
