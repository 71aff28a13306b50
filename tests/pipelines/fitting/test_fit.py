"""One fit: the model is made once, whoever calls, and the weights kept are those of its files."""

import functools
from collections import Counter
from pathlib import Path

import h5py
import pytest
import torch

from slidenet.cli.main import main
from slidenet.core.errors import ConfigError, StoreError, UnknownNameError
from slidenet.data.settings import DataSettings
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting.folds import FoldSettings
from slidenet.pipelines.fitting.plan import TrainSettings, read_arguments
from slidenet.pipelines.train import train
from slidenet.slide_encoders import LongNetConfig, LongNetViT
from slidenet.slide_encoders.longnet.checkpoint import save_checkpoint
from slidenet.testing import write_feature_cohort
from slidenet.training import SlideClassifier, load_bundle, load_classifier

SMALL = {"network": "mean", "max_epochs": 2, "accelerator": "cpu", "batch_size": 8}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    made = write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=4, feature_dim=8
    )
    return {"labels": str(made.labels), "features": made.features}


@pytest.fixture
def built(monkeypatch):
    """How many models are made."""
    counted = []
    make = SlideClassifier.__init__

    @functools.wraps(make)
    def counting(self, *args, **kwargs):
        counted.append(type(self).__name__)
        make(self, *args, **kwargs)

    monkeypatch.setattr(SlideClassifier, "__init__", counting)
    return counted


@pytest.fixture
def opened(monkeypatch):
    """Which h5 files are opened, and how many of them at once."""
    counted, most = Counter(), []
    plain = h5py.File

    class Counting(plain):
        def __init__(self, name, *args, **kwargs):
            super().__init__(name, *args, **kwargs)
            counted[Path(name).name] += 1
            most.append(h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE))

    monkeypatch.setattr(h5py, "File", Counting)
    return counted, most


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_whole_train_opens_a_features_file_twice_and_holds_none(
    cohort, tmp_path, opened, num_workers
):
    counted, most = opened
    train(tmp_path, **cohort, **SMALL, num_workers=num_workers)
    assert len(counted) == len(list(cohort["features"].glob("*.h5")))
    assert set(counted.values()) == {2}  # what it is, and its numbers
    assert set(most) == {1}
    assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE) == 0


def test_train_makes_one_model_and_keeps_the_weights_of_the_best_epoch(cohort, tmp_path, built):
    train(tmp_path, **cohort, **SMALL, learning_rate=0.05)
    assert len(built) == 1
    best, bundle = load_classifier(tmp_path / "best.ckpt"), load_bundle(tmp_path / "model.slidenet")
    for name, value in best.state_dict().items():
        assert torch.equal(bundle.module.state_dict()[name], value), name


def test_gigapath_reads_its_weights_once_and_leaves_a_bundle_without_them(
    cohort, tmp_path, monkeypatch
):
    shape = {
        "embed_dim": 16, "depth": 2, "num_heads": 4, "ffn_dim": 32, "segment_lengths": (4, 8),
        "dilation_rates": (1, 2),
    }  # fmt: skip
    weights = tmp_path / "slide_encoder.pth"
    save_checkpoint(weights, LongNetViT(LongNetConfig(feature_dim=8, **shape)).state_dict())
    read = []
    load = torch.load

    def counting(file, *args, **kwargs):
        read.append(str(file))
        return load(file, *args, **kwargs)

    monkeypatch.setattr(torch, "load", counting)
    settings = {"weights": str(weights), "layers": [2], **shape}
    small = SMALL | {"network": "gigapath", "network_settings": settings}
    train(tmp_path / "out", **cohort, **small)
    assert read.count(str(weights)) == 1
    weights.unlink()
    bundle = load_bundle(tmp_path / "out" / "model.slidenet")
    assert bundle.module.hparams["network"] == "gigapath"


def test_crossval_makes_one_model_to_check_and_one_per_fold(cohort, tmp_path, built):
    report = crossval(tmp_path, **cohort, **SMALL, num_folds=2)
    # Checked, trained, and read for the ensemble, which outlines a model before it takes memory.
    assert len(built) == 1 + 2 + 2 * 2
    assert set(report.folds) == {0, 1}
    table = report.to_pandas()
    assert list(table["fold"]) == [0, 1]
    assert "auroc" in table


def test_python_and_the_command_line_make_the_same_files(cohort, tmp_path):
    flags = ["--model.network=mean", "--trainer.max-epochs=2", "--trainer.accelerator=cpu"]
    flags += [f"--data.{name}={value}" for name, value in cohort.items()]
    flags += ["--data.batch-size=8", "--seed=3", "--patience=null", f"--out={tmp_path / 'flags'}"]
    assert main(["train", *flags]) == 0
    train(tmp_path / "words", **cohort, **SMALL, seed=3, patience=None)
    train(
        str(tmp_path / "groups"),
        TrainSettings(seed=3, patience=None),
        data=DataSettings(**cohort, batch_size=8),
        model={"network": "mean"},
        trainer={"max_epochs": 2, "accelerator": "cpu"},
    )
    names = {"plan.json", "model.slidenet", "predictions_test.csv", "metrics.csv"}
    for name in names:
        wanted = (tmp_path / "flags" / name).read_bytes()
        assert (tmp_path / "words" / name).read_bytes() == wanted, name
        assert (tmp_path / "groups" / name).read_bytes() == wanted, name


def test_the_steps_of_a_trained_model(cohort, tmp_path):
    report = train(tmp_path, **cohort, **SMALL)
    assert list(report.to_pandas()["split"]) == ["val", "test"]
    again = train(tmp_path / "again", **cohort, step="test", bundle=tmp_path / "model.slidenet")
    assert again.metrics["test"] == report.metrics["test"]
    assert not again.sections, "its own test split is new to it"
    model = tmp_path / "model.slidenet"
    other = train(tmp_path / "other", **cohort, step="test", bundle=model, seed=5)
    assert "on them it is no test" in other.table()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"max_epoch": 3}, UnknownNameError, "did you mean max_epochs"),
        ({"max_epochs": "many"}, ConfigError, r"trainer settings: .*max_epochs.*many"),
        ({"batch_size": 1.5}, ConfigError, r"data settings: .*batch_size.*1.5"),
        ({"data": {"batchsize": 1}}, UnknownNameError, "unknown data setting 'batchsize'"),
        ({"data": {"batch_size": 2}, "batch_size": 3}, ConfigError, "batch_size is given twice"),
        ({"features": None}, ConfigError, "features"),
        ({"step": "fitt"}, ConfigError, "step is 'fitt'; expected one of fit"),
        ({"num_folds": 2}, UnknownNameError, "unknown setting 'num_folds'"),
        ({"trainer": {"default_root_dir": "x"}}, UnknownNameError, "default_root_dir"),
    ],
)
def test_settings_are_refused_before_anything_is_written(cohort, tmp_path, settings, error, words):
    with pytest.raises(error, match=words):
        train(tmp_path / "out", **{**cohort, **settings})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"keep": "bst"}, "keep"),
        ({"threshold_rule": "yuden"}, "threshold_rule"),
        ({"seed": "seven"}, "seed"),
        ({"settings": TrainSettings(keep="bst")}, "keep"),
        ({"label_columns": "label"}, "label_columns"),
    ],
)
def test_values_of_another_type_are_refused(cohort, tmp_path, settings, words):
    for verb in (train, crossval):
        with pytest.raises(ConfigError, match=words):
            verb(tmp_path / "out", **cohort, **SMALL, **settings)
    assert not (tmp_path / "out").exists()


def test_the_settings_of_folds_are_a_mapping_too(cohort, tmp_path):
    folds = {"num_folds": "2", "only_folds": [0], "search": {"learning_rate": [1e-3]}}
    report = crossval(tmp_path / "out", folds=folds, **cohort, **{**SMALL, "max_epochs": 1})
    assert report.exit_code == 0
    assert (tmp_path / "out" / "fold_00" / "fold.json").is_file()
    assert not (tmp_path / "out" / "fold_02").exists()
    for given, error, words in (
        ({"num_folds": "many"}, ConfigError, "num_folds"),
        ({"num_fold": 2}, UnknownNameError, "num_folds"),
        ({"fold_seed": 1}, ConfigError, "fold_seed is given twice"),
    ):
        with pytest.raises(error, match=words):
            crossval(tmp_path / "other", folds=given, fold_seed=2, **cohort, **SMALL)


def test_texts_to_search_among_stay_texts(cohort):
    search = {"network_settings.pooling": ["off", "1", 1]}
    call = {"data": cohort, "model": None, "trainer": None, "folds_type": FoldSettings}
    for folds, keywords in (({"search": search}, {}), (None, {"search": search})):
        _, _, cut = read_arguments(None, keywords, folds=folds, **call)
        assert cut.search == search


def test_a_checkpoint_that_holds_objects_is_refused_by_name(cohort, tmp_path):
    train(tmp_path, **cohort, **SMALL)
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    content["callbacks"]["of another"] = {"where": Path("here")}
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(
        StoreError, match=r"last\.ckpt .*holds more than tensors .*plain values"
    ) as refused:
        train(tmp_path, **cohort, **SMALL)
    assert "weights_only" not in str(refused.value)
