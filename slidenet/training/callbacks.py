"""The callbacks of a usual fit: best checkpoint, early stopping, one quiet bar, learning curve."""

import math
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping, ModelCheckpoint, ProgressBar
from tqdm import tqdm

from slidenet.core.errors import ConfigError
from slidenet.tasks import Task
from slidenet.training.learning_curve import LearningCurve
from slidenet.training.seeding import EpochSeeding

BEST, LAST = "best", "last"


def default_callbacks(
    task: Task,
    folder: str | Path,
    *,
    seed: int,
    monitor: str | None = None,
    patience: int | None = 20,
    progress: bool = True,
) -> list[Callback]:
    """What a usual fit needs.

    Args:
        task: What is predicted.
        folder: Where `best.ckpt`, `last.ckpt`, `metrics.csv` and `learning_curve.png` go.
        seed: Of the fit; see `EpochSeeding`.
        monitor: Logged value that chooses the best epoch; `task.monitor` where None.
        patience: Epochs without improvement after which the fit stops; None = never.
        progress: Whether to show a bar over the epochs.

    Raises:
        ConfigError: If the task logs no such value.
    """
    name = monitor or task.monitor
    mode = "min" if task.lower_is_better(name) else "max"
    callbacks = [
        EpochSeeding(seed),
        MonitorGuard(name),
        LearningCurve(folder, name),
        ModelCheckpoint(folder, BEST, monitor=name, mode=mode, enable_version_counter=False),
        LastCheckpoint(folder),
    ]
    if patience is not None:
        callbacks.append(ResumableEarlyStopping(name, mode=mode, patience=patience))
    return [EpochProgress(name), *callbacks] if progress else callbacks


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` after every epoch, to go on from.

    `ModelCheckpoint(save_last=True)` writes it only when an epoch was the best, so that a resumed
    fit would repeat all epochs since.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / f"{LAST}.ckpt"

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file; runs after every other callback."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside its class
            trainer.save_checkpoint(self.path)


class ResumableEarlyStopping(EarlyStopping):
    """Early stopping that also holds for a fit resumed after it had stopped.

    Lightning would train such a fit for one epoch more, and on from there if that one is better.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops at once where the checkpoint says that patience had run out."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class MonitorGuard(Callback):
    """Ends a fit whose monitored value is missing or no number, and says why.

    Args:
        monitor: Name of the logged value.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the value of the epoch.

        Raises:
            ConfigError: If it is NaN or infinite.
        """
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None or math.isfinite(value):
            return
        loss = trainer.callback_metrics.get("val_loss")
        diverged = loss is not None and not math.isfinite(loss)
        raise ConfigError(
            f"{self.monitor} is {float(value)} in epoch {trainer.current_epoch}",
            expected="a number, to choose the best checkpoint by",
            remedy="lower the learning rate (the loss is no number either)"
            if diverged
            else "give the validation set bags of every class, or events; or monitor val_loss",
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks whether a first epoch that should have been validated was.

        Raises:
            ConfigError: If it was cut short before that.
        """
        if trainer.check_val_every_n_epoch == 1 and self.monitor not in trainer.callback_metrics:
            raise ConfigError(
                f"epoch {trainer.current_epoch} ended after {trainer.global_step} steps, before "
                f"its validation, so that there is no {self.monitor}",
                expected="at least one validated epoch, whose weights are the model",
                remedy="raise --trainer.max-steps or --trainer.max-time",
            )


class EpochProgress(ProgressBar):
    """One bar over the epochs with the latest losses; nothing where the output is no terminal.

    Args:
        monitor: Logged value shown beside the training loss.
    """

    def __init__(self, monitor: str) -> None:
        super().__init__()
        self.monitor = monitor
        self._bar: tqdm[Any] | None = None
        self._enabled = sys.stderr.isatty()

    def disable(self) -> None:
        """Shows nothing; Lightning calls this on ranks other than 0."""
        self._enabled = False

    def enable(self) -> None:
        """Shows the bar, on a terminal."""
        self._enabled = sys.stderr.isatty()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar."""
        self._bar = tqdm(
            total=trainer.max_epochs if (trainer.max_epochs or -1) > 0 else None,
            initial=trainer.current_epoch,
            desc="train",
            unit=" epochs",
            dynamic_ncols=True,
            disable=not self._enabled,
        )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the values of the epoch."""
        assert self._bar is not None
        shown = {
            name: f"{float(trainer.callback_metrics[name]):.4f}"
            for name in ("train_loss", self.monitor)
            if name in trainer.callback_metrics
        }
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Closes the bar."""
        self.on_train_end(trainer, pl_module)
