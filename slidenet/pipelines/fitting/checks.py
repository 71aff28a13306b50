"""Settings of a fit that cannot end with a model, refused before anything is written or read."""

import math

import numpy as np
import torch
from lightning.pytorch import Trainer

from slidenet.core.errors import ConfigError, SplitError
from slidenet.data.datamodule import BagDataModule
from slidenet.pipelines.fitting.trainer import limited
from slidenet.tasks import MultiTask, SurvivalTask
from slidenet.training.optimiser import check_precision


def check_fit(trainer: Trainer, data: BagDataModule, *, by_validation: bool) -> None:
    """Refuses a Trainer that would end without an epoch to keep, and batches that cannot be used.

    Args:
        trainer: As it will fit.
        data: The bags and their split.
        by_validation: Whether the epoch to keep is chosen by val.

    Raises:
        ConfigError: Naming the setting.
    """
    check_precision(trainer.precision)
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside its class
        raise ConfigError(
            "--trainer.fast-dev-run leaves no weights",
            expected="a fit that ends with a model",
            remedy="give --trainer.max-epochs 1 --trainer.limit-train-batches 2 for a quick look",
        )
    loader = data.train_dataloader()
    batches = limited(trainer.limit_train_batches, len(loader))
    for name, none_left in (
        ("max-epochs", trainer.max_epochs == 0),
        ("max-steps", trainer.max_steps == 0),
        ("limit-train-batches", batches == 0),
    ):
        if none_left:
            raise ConfigError(
                f"--trainer.{name} leaves nothing to train",
                expected=f"at least one epoch of {len(loader)} batches, or a part of it",
                remedy=f"raise --trainer.{name}",
            )
    if len(data.bags("train")) <= len(loader):
        data.task_record.check_batch_size(1)
    if by_validation:
        _check_validation(trainer, data, batches)


def check_monitor(data: BagDataModule, monitor: str) -> None:
    """Refuses a choice of epochs by a value that is not defined on val: the first would be kept.

    Args:
        data: The bags and their split.
        monitor: The logged value that chooses.

    Raises:
        SplitError: No two bags of val have times that can be compared, a target that no bag of val
            has, or too few classes among those that have it.
    """
    task, targets = data.task_record, data.targets("val")
    if monitor == "val_c_index" and isinstance(task, SurvivalTask):
        defined, lack = task.can_compare(targets), "has no event before the time of another bag"
    else:
        # Whether it is defined follows from the targets; any predictions that differ will do.
        logits = torch.randn(
            len(targets), task.num_outputs, generator=torch.Generator().manual_seed(0)
        )
        values = task.compute_metrics(task.predict(logits), targets)
        if isinstance(task, MultiTask):
            values |= task.target_losses(logits, torch.from_numpy(np.array(targets)))
        value = values.get(monitor.removeprefix("val_"), 0.0)
        defined, lack = not math.isnan(value), f"has labels on which {monitor} is not defined"
    if not defined:
        raise SplitError(
            f"the val split of {len(targets)} bags {lack}",
            expected=f"bags on which {monitor}, which chooses the epoch, is a number",
            remedy="use another split or seed, a larger share for val, or --monitor val_loss",
        )


def _check_validation(trainer: Trainer, data: BagDataModule, batches: int) -> None:
    if limited(trainer.limit_val_batches, len(data.val_dataloader())) == 0:
        raise _never_validated("--trainer.limit-val-batches leaves no bag to validate on")
    # At the least: how many devices share the bags is known when the fit begins.
    shared = batches // (trainer.num_devices * trainer.num_nodes)
    steps = math.ceil(shared / trainer.accumulate_grad_batches)
    every_step = trainer.val_check_interval != 1.0 or trainer.check_val_every_n_epoch is None
    if 0 < trainer.max_steps < steps and not every_step:
        raise _never_validated(
            f"--trainer.max-steps {trainer.max_steps} ends before the first epoch of {steps} steps"
        )
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every is not None and epochs is not None and 0 < epochs < every:
        raise _never_validated(
            f"--trainer.check-val-every-n-epoch {every} with {epochs} epochs never validates"
        )


def _never_validated(found: str) -> ConfigError:
    return ConfigError(
        found,
        expected="at least one validated epoch, whose weights are the model",
        remedy="change it, or give --keep last to do without validation",
    )
