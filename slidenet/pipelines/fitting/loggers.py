"""Loggers of a fit by one word: `--trainer.logger wandb`, `mlflow` or `tensorboard`.

They write into the folder of the fit and send nothing anywhere, unless asked: `wandb-online`, or
for MLflow the environment variable MLFLOW_TRACKING_URI. Other loggers are given by `class_path`.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from lightning.pytorch import Trainer, loggers
from lightning.pytorch.loggers import Logger

from slidenet.core.errors import ConfigError
from slidenet.core.extras import require_extra

LoggerWord = Literal["csv", "tensorboard", "wandb", "wandb-online", "mlflow"]
"""What `--trainer.logger` takes by one word; `csv` is Lightning's file of every step."""

GivenLogger = LoggerWord | Logger
LoggerSetting = GivenLogger | list[GivenLogger] | bool | None
"""The type of the setting, in place of Lightning's own."""

PROJECT = "slidenet"


class MetricsFileOnly(Logger):
    """No logger beside `metrics.csv`, for callbacks (learning rate, device) that ask for one.

    What they log is among the values that `LearningCurve` writes.

    Args:
        folder: Of the fit; profilers write there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    @property
    def name(self) -> None:
        """None."""

    @property
    def version(self) -> None:
        """None."""

    @property
    def save_dir(self) -> str:
        """The folder of the fit."""
        return str(self._folder)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Nothing."""

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def loggers_of(given: Any, folder: Path) -> Any:
    """What Lightning's Trainer takes as `logger`, from the setting.

    Args:
        given: A word, a logger, a list of them, a bool or None.
        folder: Of the fit.

    Raises:
        MissingExtraError: The package of a word is not installed.
        ConfigError: A word nobody knows.
    """
    if given in (None, True):
        return MetricsFileOnly(folder)
    if isinstance(given, str):
        return _logger(given, folder)
    if isinstance(given, Sequence):
        return [_logger(one, folder) if isinstance(one, str) else one for one in given]
    return given


def _logger(word: str, folder: Path) -> Logger:
    logs = folder / "logs"
    if word == "csv":
        return loggers.CSVLogger(logs, name="csv", version="")
    if word == "tensorboard":
        require_extra("tensorboard", extra="tensorboard", purpose="--trainer.logger tensorboard")
        return loggers.TensorBoardLogger(logs, name="tensorboard", version="")
    if word == "mlflow":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        require_extra("mlflow", extra=None, purpose="--trainer.logger mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"file:{(logs / 'mlflow').resolve()}"
        return loggers.MLFlowLogger(PROJECT, run_name=folder.name, tracking_uri=uri)
    if word in ("wandb", "wandb-online"):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        require_extra("wandb", extra=None, purpose=f"--trainer.logger {word}")
        logs.mkdir(parents=True, exist_ok=True)  # wandb would take a temporary folder instead
        return loggers.WandbLogger(
            name=folder.name, save_dir=logs, project=PROJECT, offline=word == "wandb"
        )
    raise ConfigError(
        f"trainer.logger {word!r}",
        expected=f"one of {', '.join(get_args(LoggerWord))}, or the class_path of a logger",
    )


class LoggedTrainer(Trainer):
    """Lightning's Trainer, whose loggers may be words; it is asked for its arguments, not made.

    Args:
        logger: One word, `class_path` of a logger, or a list of them; metrics.csv alone by default.
        **settings: Of Lightning's Trainer.
    """

    def __init__(self, *, logger: LoggerSetting = None, **settings: Any) -> None:
        super().__init__(logger=logger, **settings)  # type: ignore[arg-type]  # words are no loggers
