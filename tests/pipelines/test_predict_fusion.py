"""predict makes every feature set a model takes from the slides themselves."""

import csv

import numpy as np
import pytest
import torch

from slidenet.cli.main import main
from slidenet.mil.covariates import fit_column
from slidenet.stores import open_features
from slidenet.tasks import BinaryTask
from slidenet.testing import write_synthetic_slide
from slidenet.training import SlideClassifier, save_bundle

pytestmark = pytest.mark.slow

ENCODER = "efficientnet_lite0"


def probability(folder):
    (row,) = csv.DictReader((folder / "predictions.csv").open())
    return float(row["prob_tumour"])


def test_two_scales_of_a_slide_are_cut_and_encoded(tmp_path, capsys):
    slides = tmp_path / "slides"
    slides.mkdir()
    write_synthetic_slide(slides / "one.tiff", 1024, 1024, 0.5, seed=0)
    folders = []
    for mpp in (0.5, 1.0):
        out = tmp_path / f"at_{mpp}"
        flags = [f"--target-mpp={mpp}", "--segmenter=saturation", "--engine=torch"]
        assert main(["run", f"--slides={slides}", f"--out={out}", "--batch-size=8", *flags]) == 0
        folders.append(out / "tile_features" / ENCODER)
    first, second = (open_features(folder / "one.h5").cohort_identity for folder in folders)
    torch.manual_seed(0)
    age = fit_column("age", np.array([50, 60, 70], np.float32))
    module = SlideClassifier(
        BinaryTask(("label",), ("normal", "tumour")), 1280, "mean", feature_scaling="none",
        covariates=[age], more_feature_dims=[1280],
    )  # fmt: skip
    torch.nn.init.constant_(module.fusion.covariates.linear.weight, 0.3)
    bundle = tmp_path / "model.slidenet"
    save_bundle(bundle, module, features_identity=first, training={"more_features": [second]})
    manifest = tmp_path / "slides.csv"
    manifest.write_text(f"slide_path,age\n{slides / 'one.tiff'},80\n")
    call = ["predict", f"--bundle={bundle}", f"--slides={manifest}", "--device=cpu"]
    given = [f"--features={folders[0]}", f"--more-features={folders[1]}"]
    assert main([*call, *given, f"--out={tmp_path / 'given'}"]) == 0
    assert main([*call, "--batch-size=8", f"--out={tmp_path / 'made'}"]) == 0
    assert (tmp_path / "made" / "features_2" / "tile_features" / ENCODER / "one.h5").is_file()
    assert probability(tmp_path / "made") == pytest.approx(probability(tmp_path / "given"))
    manifest.write_text(f"slide_path,age\n{slides / 'one.tiff'},50\n")
    assert main([*call, *given, f"--out={tmp_path / 'young'}"]) == 0
    assert probability(tmp_path / "young") < probability(tmp_path / "given")
    capsys.readouterr()
    assert main(["predict", f"--bundle={bundle}", f"--slides={slides}", f"--out={tmp_path}"]) == 2
    assert "no column 'age', a covariate the model was trained with" in capsys.readouterr().err
