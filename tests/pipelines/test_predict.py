"""predict: from raw slides to a CSV by a bundle, with the features its training had."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from slidenet.cli.main import main
from slidenet.core.errors import IdentityMismatchError
from slidenet.pipelines.begun.settings_from_identity import settings_from_identity
from slidenet.stores import open_features, read_features
from slidenet.tasks import BinaryTask, Calibration
from slidenet.testing import truncate_file, write_synthetic_slide
from slidenet.training import SlideClassifier, save_bundle

FLAGS = ["--target-mpp=0.5", "--segmenter=saturation", "--batch-size=8", "--engine=torch"]
TASK = BinaryTask(("label",), ("normal", "tumour"))


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
    identity = open_features(features / "one.h5").cohort_identity
    calibration = Calibration(threshold=0.5)
    save_bundle(
        root / "model.slidenet", module, features_identity=identity, calibration=calibration
    )
    return root, module


def rows_of(path):
    with path.open(newline="") as file:
        return {row["bag_id"]: row for row in csv.DictReader(file)}


def test_predictions_are_of_all_shards(capsys):
    flags = ["--bundle=b", "--slides=s", "--out=o", "--shard=1/2"]
    assert main(["predict", *flags]) == 2
    assert "--shard 1/2 for `slidenet predict`; expected all slides" in capsys.readouterr().err


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
    identity = dict(open_features(features / "one.h5").cohort_identity)
    identity["tiles"] = {**identity["tiles"], "stride_px": 128}
    save_bundle(tmp_path / "other.slidenet", module, features_identity=identity)
    capsys.readouterr()
    assert main(["predict", f"--bundle={tmp_path / 'other.slidenet'}", *flags]) == 2
    assert "predictions.csv is there already, made by something else" in capsys.readouterr().err
    flags[-1] = f"--out={tmp_path / 'other'}"
    assert main(["predict", f"--bundle={tmp_path / 'other.slidenet'}", *flags]) == 1
    assert "tiles.stride_px: 128 -> 256" in capsys.readouterr().out
    identity["tiles"] = {**identity["tiles"], "stride_px": 256}
    narrow = SlideClassifier(TASK, 8, "mean").eval()
    save_bundle(tmp_path / "narrow.slidenet", narrow, features_identity=identity)
    assert main(["predict", f"--bundle={tmp_path / 'narrow.slidenet'}", *flags]) == 1
    assert "1280 features per tile; expected the 8" in capsys.readouterr().out


@pytest.mark.slow
def test_tiles_that_could_not_be_read_are_counted_beside_the_predictions(world, tmp_path, capsys):
    root, _ = world
    features = tmp_path / "features"
    shutil.copytree(root / "out" / "tile_features" / "efficientnet_lite0", features)
    with h5py.File(features / "one.h5", "r+") as h5:
        h5["slidenet/status"][:2] = 1
        h5["features"][:2] = 0
        h5["slidenet"].attrs["num_unreadable"] = 2
        del h5["slidenet"].attrs["digests"]
        num_tiles = len(h5["coords"])
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id,slide_path,patient_id\none,a.tiff,p\ntwo,b.tiff,p\n")
    flags = [f"--bundle={root / 'model.slidenet'}", f"--slides={manifest}"]
    flags.append(f"--features={features}")
    assert main(["predict", *flags, f"--out={tmp_path / 'out'}"]) == 0
    said = capsys.readouterr().out
    assert f"2 tiles of 1 slide could not be read: one (2 of {num_tiles})" in said
    found = rows_of(tmp_path / "out" / "predictions.csv")
    assert {name: row["unreadable_tiles"] for name, row in found.items()} == {
        "one": "2",
        "two": "0",
    }
    slides = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]["predict"]["slides"]
    assert [slide["num_unreadable"] for slide in slides] == [2, 0]
    assert main(["predict", *flags, f"--out={tmp_path / 'by'}", "--by-patient=true"]) == 0
    (patient,) = rows_of(tmp_path / "by" / "predictions.csv").values()
    assert patient["unreadable_tiles"] == "2"


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
    assert patients["P"]["called"] in TASK.class_names
    mean = sum(float(row["prob_tumour"]) for row in slides.values()) / 2
    assert float(patients["P"]["prob_tumour"]) == pytest.approx(mean, abs=1e-6)


@pytest.mark.slow
def test_a_patient_is_not_predicted_from_some_of_the_slides(world, tmp_path, capsys):
    """By averaging, and by a model whose bags are patients: P lacks a slide, Q does not."""
    root, module = world
    manifest = tmp_path / "slides.csv"
    rows = [("one", "P"), ("broken", "P"), ("two", "Q")]
    lines = [f"{root / 'slides' / name}.tiff,{name},{patient}\n" for name, patient in rows]
    manifest.write_text("slide_path,slide_id,patient_id\n" + "".join(lines))
    identity = open_features(features_of(root) / "one.h5").cohort_identity
    save_bundle(
        tmp_path / "patients.slidenet",
        module,
        features_identity=identity,
        training={"bag": "patient"},
    )
    for bundle, more in ((root / "model.slidenet", ["--by-patient"]),
                         (tmp_path / "patients.slidenet", [])):  # fmt: skip
        out = tmp_path / f"out_{bundle.stem}"
        flags = [f"--bundle={bundle}", f"--slides={manifest}", f"--out={out}", "--batch-size=8"]
        assert main(["predict", *flags, *more]) == 1
        assert set(rows_of(out / "predictions.csv")) == {"Q"}
        said = capsys.readouterr().out
        assert "a slide of theirs failed: P" in said or "P      failed" in said


def test_unknown_patients_are_refused(world, tmp_path, capsys):
    root, _ = world
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id\none\ntwo\n")
    flags = [f"--bundle={root / 'model.slidenet'}", f"--slides={manifest}", "--by-patient"]
    flags.append(f"--features={features_of(root)}")
    assert main(["predict", *flags, f"--out={tmp_path / 'out'}"]) == 2
    assert "no slide has a patient_id" in capsys.readouterr().err
    manifest.write_text("slide_id,patient_id\none,P\ntwo,\n")
    assert main(["predict", *flags, f"--out={tmp_path / 'out'}"]) == 0
    assert "each a patient of its own: two" in capsys.readouterr().out
    assert set(rows_of(tmp_path / "out" / "predictions.csv")) == {"P", "two"}


def test_nothing_predicted_says_why_slide_by_slide(world, tmp_path, capsys):
    root, _ = world
    manifest = tmp_path / "slides.csv"
    manifest.write_text(f"slide_path\n{root / 'slides' / 'broken.tiff'}\n")
    flags = [f"--bundle={root / 'model.slidenet'}", f"--out={tmp_path / 'out'}"]
    assert main(["predict", *flags, f"--slides={manifest}"]) == 1
    said = capsys.readouterr().out
    assert "\nbroken  failed" in said
    assert said.rstrip().endswith("nothing could be predicted")
    manifest.write_text("slide_id\nx\ny\n")
    flags.append(f"--features={features_of(root)}")
    assert main(["predict", *flags, f"--slides={manifest}"]) == 1
    assert capsys.readouterr().out.count("holds no features of the slide") == 2


def test_what_other_tools_do_not_say_is_remembered(tmp_path):
    features = tmp_path / "clam"
    features.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        with h5py.File(features / f"{name}.h5", "w") as file:
            file["features"] = rng.normal(size=(6, 4)).astype(np.float32)
            file["coords"] = (np.stack([np.arange(6), np.zeros(6)], 1) * 512).astype(np.int32)
    given = {"slide_mpp": 0.25, "tile_size_px": 256, "target_mpp": 0.5}
    identity = open_features(features / "a.h5", **given).cohort_identity
    torch.manual_seed(0)
    save_bundle(
        tmp_path / "m.slidenet",
        SlideClassifier(TASK, 4, "mean").eval(),
        features_identity=identity,
        training={"bag": "slide", "given": given},
    )
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id\na\nb\n")
    flags = [f"--bundle={tmp_path / 'm.slidenet'}", f"--slides={manifest}"]
    assert main(["predict", *flags, f"--features={features}", f"--out={tmp_path / 'out'}"]) == 0
    assert set(rows_of(tmp_path / "out" / "predictions.csv")) == {"a", "b"}


def test_a_recipe_that_says_too_little_is_refused():
    with pytest.raises(IdentityMismatchError, match="not made by slidenet"):
        settings_from_identity(
            {"tiles": {"target_mpp": 0.5}, "tile_encoder": {"encoder": "x"}},
            source="model.slidenet",
        )


def features_of(root):
    return root / "out" / "tile_features" / "efficientnet_lite0"


def test_recipe_gives_back_its_settings(world):
    root, _ = world
    path = root / "out" / "tile_features" / "efficientnet_lite0" / "one.h5"
    preprocess, embed = settings_from_identity(
        open_features(path).cohort_identity, source="model.slidenet"
    )
    assert preprocess.segmenter == "saturation"
    assert preprocess.drop_blank
    assert (preprocess.target_mpp, preprocess.stride_px) == (0.5, 256)
    assert embed.encoder == "efficientnet_lite0"


def test_features_of_other_tools_cannot_be_made_from_slides():
    with pytest.raises(IdentityMismatchError, match="not made by slidenet"):
        settings_from_identity({"layout": "clam"}, source="model.slidenet")


def test_other_constants_are_refused(world):
    root, _ = world
    path = root / "out" / "tile_features" / "efficientnet_lite0" / "one.h5"
    identity = dict(open_features(path).cohort_identity)
    tissue = {**identity["tiles"]["tissue"], "smooth_um": 99.0}
    identity["tiles"] = {**identity["tiles"], "tissue": tissue}
    with pytest.raises(IdentityMismatchError, match=r"tissue\.smooth_um"):
        settings_from_identity(identity, source="model.slidenet")


def test_no_bundle_is_one_line(tmp_path, capsys):
    flags = [f"--bundle={tmp_path / 'none'}", f"--slides={tmp_path}", f"--out={tmp_path}"]
    assert main(["predict", *flags]) == 2
    assert "no slidenet bundle at" in capsys.readouterr().err
    assert not list(Path(tmp_path).iterdir())


@pytest.mark.slow
def test_a_model_is_judged_on_raw_slides(world, tmp_path, capsys):
    """The table of labels says where the slides lie, or another manifest does."""
    root, _ = world
    known = (("one", "Normal"), ("two", "tumour"), ("broken", "tumour"))
    places = [f"{root / 'slides' / name}.tiff,{name}" for name, _ in known]
    lines = [f"{place},{label}" for place, (_, label) in zip(places, known, strict=True)]
    labels, bare, manifest = (tmp_path / name for name in ("labels.csv", "bare.csv", "slides.csv"))
    labels.write_text("\n".join(["slide_path,slide_id,label", *lines]) + "\n")
    bare.write_text("slide_id,label\none,normal\ntwo,tumour\n")
    manifest.write_text("\n".join(["slide_path,slide_id", *places]) + "\n")
    flags = [f"--bundle={root / 'model.slidenet'}", "--num-bootstrap=10"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["evaluate", *flags, f"--labels={labels}", f"--out={first}"]) == 1
    said = capsys.readouterr().out
    assert "1 slide could not be predicted and is not judged: broken" in said
    assert "Normal as normal" in said
    found = rows_of(first / "predictions.csv")
    assert {name: row["label"] for name, row in found.items()} == {"one": "normal", "two": "tumour"}
    more = [f"--labels={bare}", f"--slides={manifest}", f"--out={second}"]
    assert main(["evaluate", *flags, *more]) == 0
    assert rows_of(second / "predictions.csv") == found
