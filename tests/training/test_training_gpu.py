"""Training on a CUDA device, in every precision: every task learns."""

import pytest
import torch

from slidenet.training import SlideClassifier, load_classifier, seed_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ACCELERATOR = "gpu"
SHAPE = {
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 4,
    "ffn_dim": 32,
    "segment_lengths": (4, 16),
    "dilation_rates": (1, 2),
    "grid_size": 64,
}


def classifier(task, **settings):
    seed_run(0)
    if task.kind == "regression":
        settings = {"target_offset": 70.0, "target_scale": 6.0, **settings}
    return SlideClassifier(task, 6, **{"learning_rate": 0.03, "network": "mean", **settings})


def test_every_task_learns(task, cohort, quiet_trainer):
    loader, _ = cohort
    module = classifier(task)
    settings = {"accelerator": ACCELERATOR, "devices": 1}
    trainer = quiet_trainer(max_epochs=8, **settings)
    before = quiet_trainer(**settings).validate(module, loader(task), verbose=False)[0]
    trainer.fit(module, loader(task, shuffle=True), loader(task, n=17, seed=1))
    after = trainer.validate(module, loader(task), verbose=False)[0]
    assert after["val_loss"] < before["val_loss"]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_longnet_learns_in_every_precision(cohort, quiet_trainer, tmp_path, precision):
    loader, tasks = cohort
    task = tasks["binary"]
    module = classifier(task, network="longnet", network_settings=SHAPE, learning_rate=0.003)
    settings = {"accelerator": ACCELERATOR, "devices": 1, "precision": precision}
    trainer = quiet_trainer(max_epochs=6, **settings)
    before = quiet_trainer(**settings).validate(module, loader(task), verbose=False)[0]
    trainer.fit(module, loader(task, shuffle=True))
    after = trainer.validate(module, loader(task), verbose=False)[0]
    assert after["val_loss"] < before["val_loss"]
    path = tmp_path / "model.ckpt"
    trainer.save_checkpoint(path)
    batch = next(iter(loader(task)))
    with torch.no_grad():
        here = load_classifier(path).eval()(batch).logits
        there = module.eval().cpu()(batch).logits
    torch.testing.assert_close(here, there)
