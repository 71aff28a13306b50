"""The torchmetrics objects: batches, resets, ranks of unequal size; and how fast a bootstrap is."""

import os
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from slidenet.tasks import DiscreteTimeTask, MulticlassTask, PredictionArrays
from slidenet.training import EpochMetrics, SlideClassifier, seed_run

BINS = DiscreteTimeTask(("time", "event"), time_edges=(2.0, 4.0, 6.0))


def example(n=30):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 3, generator=generator)
    time = torch.randint(1, 9, (n,), generator=generator)
    event = torch.rand(n, generator=generator) < 0.6
    return logits, torch.stack([time, event], 1).float()


def wanted_of(logits, target):
    metrics = BINS.compute_metrics(BINS.predict(logits), target.numpy())
    return {"loss": float(BINS.loss(logits, target)), **metrics}


def test_batches_add_up_and_reset_forgets():
    logits, target = example()
    metrics = EpochMetrics(BINS)
    for _ in range(2):
        for part, truth in zip(logits.split(7), target.split(7), strict=True):
            metrics.update(part, truth)
        assert metrics.compute() == pytest.approx(wanted_of(logits, target))
        metrics.reset()


def test_no_bag_gives_nan(task):
    with pytest.warns(UserWarning, match="before"):
        found = EpochMetrics(task).compute()
    assert set(found) == {"loss", *task.metric_names()}
    assert all(np.isnan(v) for v in found.values())


def test_states_are_not_part_of_a_checkpoint(task):
    module = SlideClassifier(task, 6, "mean")
    assert all(name.startswith(("network.", "scaling.")) for name in module.state_dict())


def _rank(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    logits, target = example()
    part = slice(0, 11) if rank == 0 else slice(11, None)
    metrics = EpochMetrics(BINS)
    metrics.update(logits[part], target[part])
    torch.save(metrics.compute(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_with_unequal_numbers_of_bags_agree_on_the_whole(tmp_path, free_port):
    # Forked, not spawned: importing torch again takes longer than the test.
    mp.start_processes(_rank, (free_port, str(tmp_path)), nprocs=2, start_method="fork")
    logits, target = example()
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(wanted_of(logits, target))


def test_two_processes_log_the_metrics_of_all_bags(cohort, quiet_trainer):
    loader, tasks = cohort
    seed_run(0)
    module = SlideClassifier(tasks["binary"], 6, "mean")
    alone = quiet_trainer().validate(module, loader(tasks["binary"]), verbose=False)[0]
    trainer = quiet_trainer(strategy="ddp_fork", devices=2, max_epochs=1)
    together = trainer.validate(module, loader(tasks["binary"]), verbose=False)[0]
    assert together == pytest.approx(alone, rel=1e-5)
    trainer.fit(module, loader(tasks["binary"]), loader(tasks["binary"]))
    assert float(trainer.callback_metrics["val_loss"]) < alone["val_loss"]


def test_a_bootstrap_of_1000_is_a_matter_of_seconds():
    rng = np.random.default_rng(0)
    grades = MulticlassTask(("grade",), tuple("abcde"))
    prediction = PredictionArrays(rng.dirichlet(np.ones(5), size=500))
    target = rng.integers(5, size=500)
    spent = []
    for _ in range(20):
        index = rng.integers(500, size=500)
        start = time.perf_counter()
        grades.compute_metrics(prediction.take(index), target[index])
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.005
