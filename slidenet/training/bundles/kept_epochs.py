"""The two checkpoints of a fit: its best epoch, and its last one to go on from.

Neither says where it lies, so that a folder can be moved, renamed or copied between two epochs.
They are two files, and a copy made while a fit goes on may hold a later `last.ckpt` than
`best.ckpt`; `check_best` finds that.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from slidenet.core.errors import StoreError
from slidenet.stores.atomic import atomic_path
from slidenet.training.bundles.restoring import CHECKPOINT, read_torch_file

BEST_NAME, LAST_NAME = "best.ckpt", "last.ckpt"

_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
_STATE_KEY = ModelCheckpoint.__qualname__


class FromEpoch(Callback):
    """Mixed into a callback that goes by a value of each epoch: it sees none before `least_epochs`.

    Attributes:
        least_epochs: The first epoch that counts, from 1.
    """

    least_epochs: int

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the value of the epoch."""
        if trainer.current_epoch + 1 >= self.least_epochs:
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the value of the epoch."""
        if trainer.current_epoch + 1 >= self.least_epochs:
            super().on_train_epoch_end(trainer, pl_module)


class BestCheckpoint(FromEpoch, ModelCheckpoint):
    """Writes `best.ckpt` whenever an epoch is the best so far, of those late enough to be kept.

    Lightning's own forgets the best epoch of a fit that goes on in a folder of another name, and
    takes the first epoch after that for the best.

    Args:
        folder: Where it goes.
        monitor: Logged value that decides.
        mode: "min" or "max": which value is the best.
        least_epochs: The first epoch that may be kept, counted from 1.
    """

    def __init__(
        self, folder: str | Path, monitor: str, mode: str, *, least_epochs: int = 1
    ) -> None:
        name = Path(BEST_NAME).stem
        super().__init__(folder, name, monitor=monitor, mode=mode, enable_version_counter=False)
        self.least_epochs = least_epochs

    @property
    def state_key(self) -> str:
        """The key of Lightning's own, under which older versions left its state."""
        return super().state_key.replace(type(self).__qualname__, _STATE_KEY, 1)

    def state_dict(self) -> dict[str, Any]:
        """What goes into the checkpoint, with names in the place of paths."""
        state = super().state_dict()
        state |= {name: os.path.basename(state[name]) for name in _PATHS}
        scores = state["best_k_models"].items()
        state["best_k_models"] = {os.path.basename(path): score for path, score in scores}
        return {**state, "dirpath": None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best epoch so far, of this folder whatever it was called."""
        here = str(self.dirpath)

        def placed(path: str) -> str:
            return os.path.join(here, os.path.basename(path)) if path else ""

        scores = state_dict["best_k_models"].items()
        super().load_state_dict(
            {
                **state_dict,
                **{name: placed(state_dict[name]) for name in _PATHS},
                "best_k_models": {placed(path): score for path, score in scores},
                "dirpath": self.dirpath,
            }
        )


class LastCheckpoint(Checkpoint):
    """Writes `last.ckpt` after every epoch, to go on from.

    `ModelCheckpoint(save_last=True)` writes it only when an epoch was the best, so that a resumed
    fit would repeat all epochs since.

    Args:
        folder: Where it goes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / LAST_NAME

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file; runs after every other callback."""
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside its class
            trainer.save_checkpoint(self.path)


class CheckpointFiles(TorchCheckpointIO):
    """How a Trainer reads and writes checkpoints: whole or not at all, and never running code.

    Lightning's own writes into the folder for temporary files and moves them from there, which is
    a copy where that is another disk.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        """Writes a checkpoint.

        Raises:
            OutputError: The folder is read-only or full.
        """
        assert storage_options is None, "a local file has none"
        with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads a checkpoint on the CPU, without running code whatever `weights_only` says.

        Raises:
            StoreError: It is damaged, holds more than plain values, or is none of a fit.
        """
        return read_last(Path(path))


def read_last(path: Path) -> dict[str, Any]:
    """A checkpoint that a fit can go on from.

    Raises:
        StoreError: It is damaged, holds more than plain values, or is none of a fit.
    """
    content = read_torch_file(
        path,
        what=CHECKPOINT,
        remedy="delete it to train anew; a callback of your own must keep plain values in its "
        "state",
    )
    needed = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "epoch")
    missing = [name for name in (*needed, "hyper_parameters") if name not in content]
    if missing or not isinstance(content["callbacks"], Mapping):
        raise StoreError(
            f"{path} lacks {', '.join(missing) or 'the state of its callbacks'}",
            expected="a last.ckpt of slidenet",
            remedy="delete it to train anew",
        )
    return content


def best_score(content: Mapping[str, Any]) -> float | None:
    """The monitored value of the best epoch so far, as a checkpoint knows it; None without one."""
    for key, state in content.get("callbacks", {}).items():
        if str(key).startswith(_STATE_KEY) and isinstance(state, Mapping):
            path, score = state.get("best_model_path"), state.get("best_model_score")
            if path and os.path.basename(str(path)) == BEST_NAME and score is not None:
                return float(score)
    return None


def check_best(folder: Path) -> str:
    """Why a fit cannot go on from the checkpoints of a folder; empty where it can.

    A fit goes on exactly as it would have if `best.ckpt` is the best epoch that `last.ckpt` knows,
    or a later one, which it will come to again.

    Args:
        folder: Of a fit whose model is its best epoch, with a `last.ckpt`.

    Raises:
        StoreError: A checkpoint is damaged, or none of a fit.
    """
    last = read_last(folder / LAST_NAME)
    wanted, path = best_score(last), folder / BEST_NAME
    if wanted is None:
        return ""
    if not path.is_file():
        return f"{path} is missing"
    best = read_last(path)
    if best["epoch"] > last["epoch"] or best_score(best) == wanted:
        return ""
    return f"{path} is older than the {LAST_NAME} beside it, as in a copy made during a fit"
