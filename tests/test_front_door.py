"""`import slidenet` as a guest uses it: what it offers, and a notebook through all of it."""

import importlib
import inspect
import pkgutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import slidenet
from slidenet.testing import write_feature_cohort, write_synthetic_slide

NAMES = [
    "SlidenetError", "__version__", "audit", "crossval", "describe_attention", "embed_slides",
    "embed_tiles", "ensemble", "evaluate", "explain", "export_tiles", "feature_maps",
    "load_slide_encoder", "load_tile_encoder", "manifest", "neighbours", "open_slide", "plan",
    "predict", "preprocess", "read_features", "read_slide_embeddings", "report", "run", "train",
]  # fmt: skip


def test_it_offers_these_names_and_loads_nothing_for_them():
    code = (
        "import sys, slidenet; print(dir(slidenet)); print(slidenet.__version__);"
        "print([m for m in ('torch', 'numpy', 'lightning', 'jsonargparse') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [str(slidenet.__all__), slidenet.__version__, "[]"]
    assert slidenet.__all__ == sorted(slidenet.__all__)
    assert set(NAMES) <= set(slidenet.__all__)


def test_editors_know_the_same_names():
    source = inspect.getsource(slidenet)
    names = set(slidenet.__all__) - {"__version__"}
    assert all(f"import {name} as {name}\n" in source for name in names)


def test_the_notebooks_below_call_every_name():
    source = Path(__file__).read_text()
    names = set(slidenet.__all__) - {"SlidenetError", "__version__"}
    assert [name for name in sorted(names) if f"slidenet.{name}(" not in source] == []


def test_rooms_are_imported_on_demand_and_nothing_else_is_invented():
    assert isinstance(slidenet.tiling, types.ModuleType)
    for name in ("tilings", "_repr_html_"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(slidenet, name)


@pytest.fixture(scope="module")
def _every_module():
    """Every module imported, so that one that shadowed a function would be seen."""
    for module in pkgutil.walk_packages(slidenet.__path__, "slidenet."):
        try:
            importlib.import_module(module.name)
        except ImportError:
            assert ".dilated.triton." in module.name, module.name  # needs Triton


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("one", "two")):
        write_synthetic_slide(folder / f"{name}.tiff", 1024, 1024, 0.5, seed=seed)
    return folder


@pytest.mark.usefixtures("_every_module")
def test_every_verb_is_still_its_function():
    for name in set(slidenet.__all__) - {"SlidenetError", "__version__"}:
        function = getattr(slidenet, name)
        assert inspect.isfunction(function), name
        assert name not in inspect.signature(function).parameters


@pytest.mark.slow
@pytest.mark.usefixtures("_every_module")
def test_a_notebook_from_slides_to_slide_embeddings(slides, tmp_path):
    with slidenet.open_slide(slides / "one.tiff") as slide:
        assert slide.slide_mpp.value == pytest.approx(0.5)

    # Step by step ...
    out = tmp_path / "out"
    tiles = slidenet.preprocess(slides, out, tile_size_px=128)
    print(tiles.table())
    features = slidenet.embed_tiles(slides, out, batch_size=16, engine="torch")
    assert list(features.to_pandas()["status"]) == ["done", "done"]
    images = slidenet.export_tiles(slides, out, image_format="jpeg")
    assert images.exit_code == 0
    embeddings = slidenet.embed_slides(slides, out, recipe="mean_std")
    assert embeddings.exit_code == 0

    # ... or all at once, which finds the tiles and features done already.
    report = slidenet.run(
        [slides / "one.tiff", slides / "two.tiff"], str(out), tile_size_px=128, batch_size=16
    )
    found = report.to_pandas().set_index(["verb", "slide_id"])
    assert found.loc[("embed-tiles", "one"), "status"] == "already done"
    assert found.loc[("embed-slides", "one"), "status"] == "done"

    with slidenet.read_features(out / "tile_features" / "efficientnet_lite0" / "one.h5") as file:
        mean = file.features[:].astype(np.float32).mean(axis=0)
    folder = out / "slide_embeddings" / "efficientnet_lite0" / "mean"
    names, matrix = slidenet.read_slide_embeddings(folder)
    assert names == ["one", "two"]
    np.testing.assert_allclose(matrix[0], mean, atol=1e-3)

    encoder = slidenet.load_tile_encoder("efficientnet_lite0")
    pooling = slidenet.load_slide_encoder("mean")
    assert encoder.feature_dim == matrix.shape[1]
    assert pooling.identity()["name"] == "mean"
    assert slidenet.plan(slides, out, largest=True, shape="longnet-small").to_pandas().shape[0] >= 2
    assert slidenet.plan(num_tiles=100_000).exit_code == 0
    assert len(slidenet.describe_attention("dense", layers=2).to_pandas()) == 2

    with pytest.raises(slidenet.SlidenetError, match="did you mean efficientnet_lite0"):
        slidenet.embed_tiles(slides, out, encoder="efficientnet_lite")


@pytest.mark.slow
@pytest.mark.usefixtures("_every_module")
def test_a_notebook_from_features_to_predictions(tmp_path):
    cohort = write_feature_cohort(tmp_path, num_patients=30, num_tiles=4, feature_dim=8)
    data = {"labels": cohort.labels, "features": cohort.features}

    listed = tmp_path / "gdc_manifest.txt"
    listed.write_text(
        "id\tfilename\n0f8fad5b-d9cb-469f-a165-70867728950e\tTCGA-AN-A0FL-01Z-00-DX1.svs\n"
    )
    slides = slidenet.manifest("gdc", tmp_path / "slides.csv", portal_file=listed, offline=True)
    assert list(slides.to_pandas()["patient_id"]) == ["TCGA-AN-A0FL"]

    findings = slidenet.audit(**data)
    assert findings.exit_code == 0
    assert set(findings.to_pandas()["severity"]) <= {"note"}

    small = {"network": "mean", "batch_size": 8, "max_epochs": 1, "accelerator": "cpu"}
    trained = slidenet.train(tmp_path / "run", **data, **small, learning_rate=0.05, seed=1)
    assert set(trained.metrics) == {"val", "test"}
    folds = slidenet.crossval(tmp_path / "cv", **data, **small, num_folds=2)
    assert list(folds.to_pandas()["fold"]) == [0, 1]
    together = slidenet.ensemble([tmp_path / "cv"], tmp_path / "both.slidenet")
    assert len(together.model.members) == 2

    judged = slidenet.evaluate(
        tmp_path / "cv" / "predictions.csv", tmp_path / "report", num_bootstrap=20
    )
    print(judged.table())
    assert "auroc" in set(judged.to_pandas()["metric"])

    about = {"features": cohort.features, "slides": cohort.labels}
    maps = slidenet.feature_maps(out=tmp_path / "looks", **about, projection="pca", num_clusters=2)
    assert maps.exit_code == 0
    near = slidenet.neighbours(out=tmp_path / "looks", slide="slide_000", **about, num=3)
    assert len(near.to_pandas()) == 3

    predicted = slidenet.predict(
        tmp_path / "run" / "model.slidenet",
        cohort.labels,
        tmp_path / "new",
        features=cohort.features,
    )
    assert len(predicted.to_pandas()) == 40

    explained = slidenet.explain(
        tmp_path / "run" / "model.slidenet",
        cohort.labels,
        tmp_path / "new",
        features=cohort.features,
        formats=["csv"],
    )
    assert set(explained.to_pandas()["status"]) == {"done"}

    page = slidenet.report(tmp_path / "new", tmp_path / "run", num_bootstrap=20)
    assert page.path == tmp_path / "new" / "report.html"
