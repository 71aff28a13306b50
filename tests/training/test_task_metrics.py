"""The torchmetrics objects: batches, resets, ranks of unequal size; and how fast a bootstrap is."""

import os
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from slidenet.tasks.losses import task_loss
from slidenet.tasks.metrics import compute_metrics, metric_names
from slidenet.tasks.prediction import PredictionArrays, predict_task
from slidenet.tasks.task import Task
from slidenet.training import EpochLoss, SlideClassifier, make_metrics, seed_run

BINS = Task("discrete_time", ("time", "event"), time_edges=(2.0, 4.0, 6.0))


def example(n=30):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, 3, generator=generator)
    time = torch.randint(1, 9, (n,), generator=generator)
    event = torch.rand(n, generator=generator) < 0.6
    return logits, torch.stack([time, event], 1).float()


def test_batches_add_up_and_reset_forgets():
    logits, target = example()
    metrics, loss = make_metrics(BINS), EpochLoss(BINS)
    wanted = compute_metrics(BINS, predict_task(BINS, logits).numpy(), target.numpy())
    for _ in range(2):
        for part, truth in zip(logits.split(7), target.split(7), strict=True):
            metrics.update(predict_task(BINS, part), truth)
            loss.update(part, truth)
        assert metrics.compute() == pytest.approx(wanted)
        assert float(loss.compute()) == pytest.approx(float(task_loss(BINS, logits, target)))
        metrics.reset()
        loss.reset()


def test_no_bag_gives_nan(task):
    with pytest.warns(UserWarning, match="before"):
        found = make_metrics(task).compute()
    assert set(found) == set(metric_names(task))
    assert all(np.isnan(v) for v in found.values())
    with pytest.warns(UserWarning, match="before"):
        assert EpochLoss(task).compute().isnan()


def test_states_are_not_part_of_a_checkpoint(task):
    module = SlideClassifier(task, 6, "mean")
    assert all(name.startswith("network.") for name in module.state_dict())


def _rank(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    logits, target = example()
    part = slice(0, 11) if rank == 0 else slice(11, None)
    metrics, loss = make_metrics(BINS), EpochLoss(BINS)
    metrics.update(predict_task(BINS, logits[part]), target[part])
    loss.update(logits[part], target[part])
    torch.save([metrics.compute(), float(loss.compute())], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ranks_with_unequal_numbers_of_bags_agree_on_the_whole(tmp_path, free_port):
    # Forked, not spawned: importing torch again takes longer than the test.
    mp.start_processes(_rank, (free_port, str(tmp_path)), nprocs=2, start_method="fork")
    logits, target = example()
    wanted = compute_metrics(BINS, predict_task(BINS, logits).numpy(), target.numpy())
    loss = float(task_loss(BINS, logits, target))
    for rank in range(2):
        metrics, found = torch.load(tmp_path / f"{rank}.pt")
        assert metrics == pytest.approx(wanted)
        assert found == pytest.approx(loss)


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
    grades = Task("multiclass", ("grade",), tuple("abcde"))
    prediction = PredictionArrays(rng.dirichlet(np.ones(5), size=500))
    target = rng.integers(5, size=500)
    spent = []
    for _ in range(20):
        index = rng.integers(500, size=500)
        start = time.perf_counter()
        compute_metrics(grades, prediction.take(index), target[index])
        spent.append(time.perf_counter() - start)
    assert min(spent) < 0.005
