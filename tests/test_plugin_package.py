"""A package from outside (`tests/plugin_package`), installed without a network and used as a user
would: from the command line and from Python, one plug-in of each kind."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slidenet.attention import make_attention
from slidenet.cli.main import main
from slidenet.core.errors import PluginError
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.predict import predict
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.train import train
from slidenet.slides import open_slide
from slidenet.stores import open_features, read_slide_embeddings, read_tile_set
from slidenet.tasks import BinaryTask
from slidenet.testing import write_feature_cohort
from slidenet.training import SlideClassifier, save_bundle

SOURCE = Path(__file__).parent / "plugin_package"
BY_NAME = {
    "reader": "toy_ppm",
    "segmenter": "toy_dark",
    "encoder": "toy_means",
    "recipe": "toy_extremes",
}
BY_PATH = {
    "reader": "slidenet_toy.reader.PpmReader",
    "segmenter": "slidenet_toy.segmenter.DarkSegmenter",
    "encoder": "slidenet_toy.tile_encoder.mean_colours",
    "recipe": "slidenet_toy.slide_encoder.ExtremesEncoder",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as an installer lays it down; on the path while this file is tested."""
    place = tmp_path_factory.mktemp("plugins")
    shutil.copytree(SOURCE, place / "source")  # building writes beside the source
    site = place / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-build-isolation", "--no-deps", "--target", str(site)]
    subprocess.run([*pip, *offline, str(place / "source")], check=True)
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    yield site
    sys.path.remove(str(site))
    for name in [name for name in sys.modules if name.startswith("slidenet_toy")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """A folder with one dark square of tissue on white glass, in a format slidenet cannot read."""
    folder = tmp_path_factory.mktemp("slides")
    pixels = np.full((512, 640, 3), 245, np.uint8)
    pixels[128:384, 128:512] = np.random.default_rng(0).integers(90, 160, (256, 384, 3))
    Image.fromarray(pixels).save(folder / "square.ppm")
    return folder


def test_slides_to_slide_embeddings_by_name_from_the_command_line(installed, slides, tmp_path):
    flags = [f"--{flag}={name}" for flag, name in BY_NAME.items()]
    flags += [f"--slides={slides}", f"--out={tmp_path}", "--tile-size-px=64"]
    assert main(["run", *flags]) == 0
    slide_ids, matrix = read_slide_embeddings(
        tmp_path / "slide_embeddings" / "toy_means" / "toy_extremes"
    )
    assert slide_ids == ["square"]
    assert matrix.shape == (1, 24)
    features = open_features(tmp_path / "tile_features" / "toy_means" / "square.h5").features[:]
    assert np.allclose(matrix[0, :12], features.max(0), atol=1e-6)


def test_what_made_them_is_in_the_files(installed, slides, tmp_path):
    preprocess(slides, tmp_path, tile_size_px=64, segmenter="toy_dark", reader="toy_ppm")
    embed_tiles(slides, tmp_path, encoder="toy_means", reader="toy_ppm")
    identity = open_features(tmp_path / "tile_features" / "toy_means" / "square.h5").identity
    brought = {"distribution": "slidenet-toy", "version": "1.2.0"}
    assert identity["tiles"]["tissue"]["plugin"].items() >= brought.items()
    assert identity["tiles"]["reader"]["plugin"].items() >= brought.items()
    assert identity["tile_encoder"]["plugin"].items() >= brought.items()


def test_slides_to_slide_embeddings_by_import_path_from_python(installed, slides, tmp_path):
    out = tmp_path / "out"
    tiling = {"segmenter": BY_PATH["segmenter"], "reader": BY_PATH["reader"]}
    assert preprocess(slides, out, tile_size_px=64, **tiling).exit_code == 0
    assert read_tile_set(out / "tiles" / "square.h5").num_tiles == 24
    encoding = {"encoder": BY_PATH["encoder"], "reader": BY_PATH["reader"]}
    assert embed_tiles(slides, out, **encoding).exit_code == 0
    rows = [slides / "square.ppm"]
    report = embed_slides(rows, out, recipe=BY_PATH["recipe"], encoder=BY_PATH["encoder"])
    assert report.exit_code == 0
    again = embed_slides(rows, out, recipe=BY_PATH["recipe"], encoder=BY_PATH["encoder"])
    assert [outcome.status for outcome in again.outcomes] == ["already done"]


def test_without_its_name_a_reader_is_not_asked(installed, slides):
    with pytest.raises(Exception, match="not a slide"):
        open_slide(slides / "square.ppm")
    with open_slide(slides / "square.ppm", reader="toy_ppm") as slide:
        assert slide.level_dimensions == ((640, 512),)


def test_a_classifier_trains_and_predicts_with_a_network_from_outside(installed, tmp_path, capsys):
    cohort = write_feature_cohort(tmp_path / "cohort", num_patients=12, num_tiles=6, feature_dim=8)
    data = {"labels": cohort.labels, "features": cohort.features}
    train(
        tmp_path / "run",
        data=data,
        network="toy_median",
        network_settings={"scale": 2.0},
        max_epochs=1,
        accelerator="cpu",
    )
    bundle = tmp_path / "run" / "model.slidenet"
    with pytest.raises(PluginError, match=r"'toy_median', which is code outside.*--allow-code"):
        predict(bundle, data["labels"], tmp_path / "new", features=data["features"])
    command = ["predict", f"--bundle={bundle}", f"--slides={data['labels']}"]
    command += [f"--out={tmp_path / 'new'}", f"--features={data['features']}"]
    assert main(command) == 2
    assert "--allow-code" in capsys.readouterr().err
    assert main([*command, "--allow-code"]) == 0
    assert (tmp_path / "new" / "predictions.csv").is_file()


@pytest.mark.parametrize("names", [BY_NAME, BY_PATH], ids=["by name", "by path"])
def test_predict_makes_the_features_of_new_slides_with_the_same_plugins(
    installed, slides, tmp_path, names
):
    out = tmp_path / "out"
    preprocess(slides, out, tile_size_px=64, segmenter=names["segmenter"], reader=names["reader"])
    embed_tiles(slides, out, encoder=names["encoder"], reader=names["reader"])
    features = open_features(out / "tile_features" / names["encoder"] / "square.h5")
    task = BinaryTask(("label",), ("no", "yes"))
    model = SlideClassifier(task.identity(), feature_dim=12, network="mean")
    save_bundle(tmp_path / "a.slidenet", model, features_identity=features.cohort_identity)
    new = [slides / "square.ppm"]
    with pytest.raises(PluginError, match="--allow-code"):
        predict(tmp_path / "a.slidenet", new, tmp_path / "new")
    report = predict(tmp_path / "a.slidenet", new, tmp_path / "new", allow_code=True)
    assert report.exit_code == 0
    assert report.predictions.bag_ids == ("square",)


def test_longnet_attends_by_a_pattern_from_outside(installed):
    q, k, v = (torch.randn(1, 5, 2, 4, generator=torch.manual_seed(seed)) for seed in range(3))
    by_name, _ = make_attention("toy_previous")(q, k, v)
    by_path, _ = make_attention("slidenet_toy.attention.PreviousToken")(q, k, v)
    assert torch.equal(by_name, by_path)
    assert torch.allclose(by_name[:, 0], v[:, 0])


def test_a_broken_plugin_is_named_and_stops_nothing_else(installed, slides, tmp_path, capsys):
    command = ["embed-tiles", f"--slides={slides}", f"--out={tmp_path}", "--encoder=toy_broken"]
    assert main([*command, "--reader=toy_ppm"]) == 2
    assert "slidenet_toy.broken:Nothing of slidenet-toy 1.2.0 cannot be" in capsys.readouterr().err


def test_doctor_lists_plugins_without_loading_them(installed, capsys):
    main(["doctor"])
    printed = capsys.readouterr().out
    assert "slidenet-toy 1.2.0" in printed
    for name in ("toy_previous", "toy_median", "toy_dark", "toy_extremes", "toy_ppm", "toy_means"):
        assert name in printed
    assert "slidenet_toy.broken" not in sys.modules
