"""Trains nothing on a cohort, and writes down which bags each process was shown.

Run as a program it does so under DDP on two processes: `recording_run.py LABELS FEATURES OUT`. In a
fresh process, because forking one whose threads have worked may hang.
"""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer

from slidenet.data.datamodule import read_bags


class Recorder(LightningModule):
    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)
        self.layer = torch.nn.Linear(6, 1)
        self.seen = {"train": [[], []], "val": [[], []]}

    def training_step(self, batch, index):
        self.seen["train"][self.current_epoch] += batch.bag_ids
        return self.layer(batch.features).mean()

    def validation_step(self, batch, index):
        self.seen["val"][self.current_epoch] += batch.bag_ids

    def predict_step(self, batch, index):
        return batch.bag_ids

    def on_fit_end(self):
        path = self.folder / f"rank{self.global_rank}.json"
        path.write_text(json.dumps(self.seen))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, data, **settings):
    """Two epochs; what each process was shown, by rank."""
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(Recorder(folder), datamodule=data)
    return trainer


if __name__ == "__main__":
    labels, features, out = map(Path, sys.argv[1:])
    module = read_bags(labels=labels, features=features, batch_size=2)
    fit(out, module, devices=2, strategy="ddp_fork")
