"""Loggers by one word: where they write, what they send, and what a missing package says."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch import loggers as of_lightning

from slidenet.core.errors import ConfigError, MissingExtraError
from slidenet.pipelines.fitting.loggers import MetricsFileOnly, loggers_of
from slidenet.pipelines.fitting.trainer import TrainerFactory


@pytest.fixture
def called(monkeypatch):
    """Loggers of packages that need not be here, as the arguments they get."""
    found = {}
    for name in ("WandbLogger", "MLFlowLogger"):
        monkeypatch.setattr(
            of_lightning, name, lambda *args, _name=name, **given: found.update({_name: given})
        )
    for package in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, package, SimpleNamespace())
    for variable in ("MLFLOW_TRACKING_URI", "WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.delenv(variable, raising=False)
    return found


def test_words_write_into_the_folder_of_the_fit_and_send_nothing(called, tmp_path, monkeypatch):
    folder = tmp_path / "fold_00"
    loggers_of("wandb", folder)
    assert called["WandbLogger"]["offline"] is True
    assert called["WandbLogger"]["save_dir"] == folder / "logs"
    assert called["WandbLogger"]["name"] == "fold_00"
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    loggers_of("wandb-online", folder)
    assert called["WandbLogger"]["offline"] is False
    loggers_of("mlflow", folder)
    assert called["MLFlowLogger"]["tracking_uri"] == f"file:{folder / 'logs' / 'mlflow'}"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.hospital")
    loggers_of("mlflow", folder)
    assert called["MLFlowLogger"]["tracking_uri"] == "http://tracking.hospital"


def test_a_list_of_words_and_what_is_no_word(tmp_path):
    first, second = loggers_of(["csv", "tensorboard"], tmp_path)
    assert Path(first.log_dir) == tmp_path / "logs" / "csv"
    assert Path(second.log_dir) == tmp_path / "logs" / "tensorboard"
    own = of_lightning.CSVLogger(tmp_path)
    assert loggers_of([own], tmp_path) == [own]
    assert loggers_of(False, tmp_path) is False
    for nothing in (None, True):
        assert isinstance(loggers_of(nothing, tmp_path), MetricsFileOnly)
    with pytest.raises(ConfigError, match=r"trainer.logger 'wanddb'; expected one of csv, tens"):
        loggers_of("wanddb", tmp_path)


@pytest.mark.parametrize("word", ["wandb", "wandb-online", "mlflow", "tensorboard"])
def test_a_missing_package_is_one_line(word, tmp_path, monkeypatch):
    package = word.partition("-")[0]
    monkeypatch.setitem(
        sys.modules, package, None
    )  # what an import then says is that there is none
    with pytest.raises(MissingExtraError) as raised:
        TrainerFactory({"logger": word}).make(tmp_path, [])
    extra = "'slidenet[tensorboard]'"  # the others are large, and few want them
    assert raised.value.remedy == f"pip install {extra if package in extra else package}"
    assert str(raised.value).startswith(f"--trainer.logger {word} needs the package {package!r}")


def test_a_word_is_no_part_of_what_a_run_is(tmp_path):
    assert TrainerFactory({"logger": "csv"}).identity == TrainerFactory({}).identity
