"""What surrounds a usual fit: seeds, best checkpoint, early stopping, one quiet bar.

Same seed, same weights: on the CPU, and whether or not the fit was interrupted.
"""

import logging
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ProgressBar
from tqdm import tqdm

from slidenet.core.errors import ConfigError
from slidenet.tasks import Task
from slidenet.training.bundles.kept_epochs import BestCheckpoint, FromEpoch, LastCheckpoint
from slidenet.training.learning_curve import LearningCurve

_EPOCH, _BATCH = 1_000_003, 7_919
"""Primes that keep the streams of epochs, batches and ranks apart."""

NOT_FOR_BAGS = (
    # A bag is one read of an h5 file; workers cost more than they bring until bags are large.
    r"The '\w+' does not have many workers",
    # A resumed fit writes into the folder it began in, which is what the user asked for.
    r"Checkpoint directory .* exists and is not empty",
    r"Experiment logs directory .* exists and is not empty",
    # A fit without a validation set is a choice, and said once by the verb.
    r"You defined a `validation_step` but have no `val_dataloader`",
    r"Total length of `list` across ranks is zero",
    # Most runs are no jobs of a scheduler, on machines that have one too.
    r"The `srun` command is available on your system but is not used",
    # Of Lightning's own code, not of its user's.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def seed_run(seed: int) -> None:
    """Seeds Python, numpy, torch and the data workers; call it before the model is made."""
    seed_everything(seed, workers=True, verbose=False)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Within it, Lightning says what is wrong and nothing else.

    Hardware listings and tips are left out with the warnings above; other warnings are shown.
    """
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOT_FOR_BAGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        logger.setLevel(before)


def default_callbacks(
    task: Task,
    folder: str | Path,
    *,
    seed: int,
    monitor: str | None = None,
    patience: int | None = 20,
    least_epochs: int = 1,
    progress: bool = True,
) -> list[Callback]:
    """What a usual fit needs.

    Args:
        task: What is predicted.
        folder: Where `best.ckpt`, `last.ckpt`, `metrics.csv` and `learning_curve.png` go.
        seed: Of the fit; see `EpochSeeding`.
        monitor: Logged value that chooses the best epoch; `task.monitor` where None.
        patience: Epochs without improvement after which the fit stops; None = never.
        least_epochs: The first epoch that may be kept, and from which patience counts, is this one.
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
        BestCheckpoint(folder, name, mode, least_epochs=least_epochs),
        LastCheckpoint(folder),
    ]
    if patience is not None:
        callbacks.append(
            ResumableEarlyStopping(name, mode=mode, patience=patience, least_epochs=least_epochs)
        )
    return [EpochProgress(name), *callbacks] if progress else callbacks


class EpochSeeding(Callback):
    """Seeds torch at each epoch and batch by their number, so that a resumed fit goes on alike.

    A Lightning checkpoint does not hold the state of random number generators. With this callback
    the order of an epoch's bags and a batch's dropout depend on the seed and their number only, not
    on what ran before.

    Args:
        seed: Of the fit.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._first = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remembers that the next epoch is the first of this process."""
        self._first = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seeds the order of the epoch's bags."""
        self._seed(trainer, 0)
        if self._first:
            # Lightning begins to iterate before it knows which epoch it resumes, and only begins
            # again for later epochs. Workers would already hold the wrong epoch's bags. No public
            # call of Lightning begins anew without making the loaders anew.
            fetcher = trainer.fit_loop._data_fetcher
            assert fetcher is not None
            iter(fetcher)
        self._first = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seeds dropout."""
        self._seed(trainer, 1 + batch_idx)

    def _seed(self, trainer: Trainer, step: int) -> None:
        # By the bags a rank sees: ranks that share a slide draw alike what each of them computes.
        rank = (trainer.distributed_sampler_kwargs or {}).get("rank", trainer.global_rank)
        epoch = 1 + trainer.current_epoch
        torch.manual_seed(self.seed + _EPOCH * epoch + _BATCH * step + rank)


class ResumableEarlyStopping(FromEpoch, EarlyStopping):
    """Early stopping that also holds for a fit resumed after it had stopped.

    Lightning would train such a fit for one epoch more, and on from there if that one is better.

    Args:
        monitor: Logged value that must improve.
        least_epochs: The first epoch that counts, from 1.
        **settings: Of `EarlyStopping`.
    """

    def __init__(self, monitor: str, *, least_epochs: int = 1, **settings: Any) -> None:
        super().__init__(monitor, **settings)
        self.least_epochs = least_epochs

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
