"""predict: from raw slides to a CSV by a bundle, with the features its training had."""

import csv
from pathlib import Path

import pytest
import torch

from slidenet.cli.main import main
from slidenet.core.errors import RecipeMismatchError
from slidenet.core.tasks import Task
from slidenet.pipelines.settings_from_recipe import settings_from_recipe
from slidenet.stores import read_features
from slidenet.stores.interop import open_bag_features
from slidenet.testing import truncate_file, write_synthetic_slide
from slidenet.training import SlideClassifier, save_bundle

FLAGS = ["--target-mpp=0.5", "--tile-size-px=256", "--segmenter=saturation", "--batch-size=8"]
TASK = Task("binary", ("label",), ("normal", "tumour"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two good slides and a broken one, features of the good ones, and a model of their recipe."""
    root = tmp_path_factory.mktemp("world")
    slides = root / "slides"
    slides.mkdir()
    for seed, name in enumerate(("one", "two", "broken")):
        write_synthetic_slide(slides / f"{name}.tiff", 1024, 1024, 0.5, seed=seed)
    truncate_file(slides / "broken.tiff", 0.1)
    assert main(["run", f"--slides={slides}", f"--out={root / 'out'}", *FLAGS]) == 1
    features = root / "out" / "tile_features" / "efficientnet_lite0"
    torch.manual_seed(0)
    module = SlideClassifier(TASK, 1280, "mean").eval()
    recipe = open_bag_features(features / "one.h5").recipe
    save_bundle(root / "model.slidenet", module, features_recipe=recipe, threshold=0.5)
    return root, module


def rows_of(path):
    with path.open(newline="") as file:
        return {row["bag_id"]: row for row in csv.DictReader(file)}


def test_slides_become_predictions_and_a_broken_one_is_named(world, tmp_path, capsys):
    root, module = world
    flags = [f"--bundle={root / 'model.slidenet'}", f"--slides={root / 'slides'}"]
    assert main(["predict", *flags, f"--out={tmp_path}", "--batch-size=8"]) == 1
    said = capsys.readouterr().out
    assert "2 predicted" in said
    assert "broken" in said
    found = rows_of(tmp_path / "predictions.csv")
    assert set(found) == {"one", "two"}
    with read_features(root / "out" / "tile_features" / "efficientnet_lite0" / "one.h5") as file:
        tiles = torch.from_numpy(file.features[:]).float()[None]
    mask = torch.ones(tiles.shape[:2], dtype=torch.bool)
    output = module.network(tiles, torch.zeros(*tiles.shape[:2], 2, dtype=torch.int64), mask)
    expected = output.logits.sigmoid().item()
    assert float(found["one"]["prob_tumour"]) == pytest.approx(expected, abs=1e-6)


def test_features_made_before_are_used_and_others_refused(world, tmp_path, capsys):
    root, module = world
    features = root / "out" / "tile_features" / "efficientnet_lite0"
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id,slide_path\none,gone.tiff\n")
    flags = [f"--slides={manifest}", f"--features={features}", f"--out={tmp_path / 'out'}"]
    assert main(["predict", f"--bundle={root / 'model.slidenet'}", *flags]) == 0
    assert set(rows_of(tmp_path / "out" / "predictions.csv")) == {"one"}
    recipe = dict(open_bag_features(features / "one.h5").recipe)
    recipe["tiles"] = {**recipe["tiles"], "stride_px": 128}
    save_bundle(tmp_path / "other.slidenet", module, features_recipe=recipe)
    capsys.readouterr()
    assert main(["predict", f"--bundle={tmp_path / 'other.slidenet'}", *flags]) == 2
    assert "tiles.stride_px: 128 -> 256" in capsys.readouterr().err


def test_slides_of_a_patient_are_averaged_where_asked(world, tmp_path):
    root, _ = world
    features = root / "out" / "tile_features" / "efficientnet_lite0"
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id,slide_path,patient_id\none,gone.tiff,P\ntwo,gone.tiff,P\n")
    flags = [
        f"--bundle={root / 'model.slidenet'}",
        f"--slides={manifest}",
        f"--features={features}",
    ]
    assert main(["predict", *flags, f"--out={tmp_path / 'slides'}"]) == 0
    assert main(["predict", *flags, f"--out={tmp_path / 'patients'}", "--by-patient"]) == 0
    slides = rows_of(tmp_path / "slides" / "predictions.csv")
    patients = rows_of(tmp_path / "patients" / "predictions.csv")
    assert set(patients) == {"P"}
    mean = sum(float(row["prob_tumour"]) for row in slides.values()) / 2
    assert float(patients["P"]["prob_tumour"]) == pytest.approx(mean, abs=1e-6)


def test_recipe_gives_back_its_settings(world):
    root, _ = world
    path = root / "out" / "tile_features" / "efficientnet_lite0" / "one.h5"
    preprocess, embed = settings_from_recipe(open_bag_features(path).recipe)
    assert preprocess.segmenter == "saturation"
    assert preprocess.drop_blank
    assert (preprocess.target_mpp, preprocess.stride_px) == (0.5, 256)
    assert embed.encoder == "efficientnet_lite0"


def test_features_of_other_tools_cannot_be_made_from_slides():
    with pytest.raises(RecipeMismatchError, match="not made by slidenet"):
        settings_from_recipe({"layout": "clam"})


def test_other_constants_are_refused(world):
    root, _ = world
    path = root / "out" / "tile_features" / "efficientnet_lite0" / "one.h5"
    recipe = dict(open_bag_features(path).recipe)
    tissue = {**recipe["tiles"]["tissue"], "smooth_um": 99.0}
    recipe["tiles"] = {**recipe["tiles"], "tissue": tissue}
    with pytest.raises(RecipeMismatchError, match=r"tissue\.smooth_um"):
        settings_from_recipe(recipe)


def test_no_bundle_is_one_line(tmp_path, capsys):
    flags = [f"--bundle={tmp_path / 'none'}", f"--slides={tmp_path}", f"--out={tmp_path}"]
    assert main(["predict", *flags]) == 2
    assert "no file" in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())
