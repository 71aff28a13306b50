"""Same seed, same weights: on the CPU, and whether or not the fit was interrupted."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

_EPOCH, _BATCH = 1_000_003, 7_919
"""Primes that keep the streams of epochs, batches and ranks apart."""


def seed_run(seed: int) -> None:
    """Seeds Python, numpy, torch and the data workers; call it before the model is made."""
    seed_everything(seed, workers=True, verbose=False)


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
        self._seed(trainer, trainer.current_epoch, 0)
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
        self._seed(trainer, trainer.current_epoch, 1 + batch_idx)

    def _seed(self, trainer: Trainer, epoch: int, step: int) -> None:
        # By the bags a rank sees: ranks that share a slide draw alike what each of them computes.
        rank = (trainer.distributed_sampler_kwargs or {}).get("rank", trainer.global_rank)
        stream = self.seed + _EPOCH * (1 + epoch) + _BATCH * step + rank
        torch.manual_seed(stream)
