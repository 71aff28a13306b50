"""Nodes that leave, return, come later or are not fit: who is started there, and what is told."""

import logging
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, WorkerError
from slidenet.pipelines.cluster import encoding
from slidenet.pipelines.cluster import runner as cluster_runner
from slidenet.pipelines.cluster import worker as cluster_worker
from slidenet.pipelines.cluster.encoding import FedEngine
from slidenet.pipelines.cluster.runner import ALONE_S, LONG_S, RayRunner
from slidenet.pipelines.cluster.seats import Seat
from slidenet.pipelines.cluster.worker import RayWorker
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fleet.workers import Worker


@dataclass(frozen=True)
class Work(SlideWork):
    layout: OutputLayout

    def __call__(self, row, progress):
        return SlideResult(self.layout.root, "made")


class Seated(Worker):
    def __init__(self, name, seat, office):
        super().__init__(name)
        self.seat, self.alive = seat, True

    def kill(self):
        self.alive = False

    def ending(self):
        return "it ended without a word"


class Nodes:
    """What `ray.nodes()` says; nodes of two cores by name."""

    def __init__(self, *names):
        self.alive = list(names)

    def nodes(self):
        return [
            {"NodeID": n, "NodeManagerAddress": n[:8], "Alive": True, "Resources": {"CPU": 2.0}}
            for n in self.alive
        ]


@pytest.fixture
def joined(tmp_path, monkeypatch):
    """A runner in a cluster of two nodes."""
    monkeypatch.setattr(cluster_runner, "RayWorker", Seated)
    runner = RayRunner(Work(OutputLayout(tmp_path)))
    runner._ray, runner._office = Nodes("10.0.0.1", "10.0.0.2"), SimpleNamespace()
    runner._first_nodes = {"10.0.0.1", "10.0.0.2"}
    return runner


def names(runner):
    return [worker.name for worker in runner.workers]


def test_a_node_that_leaves_and_returns_is_used_again(joined):
    joined.start_workers(5)
    assert names(joined) == ["10.0.0.1", "10.0.0.2"]
    lost = joined.workers.pop()
    joined._ray.alive.remove("10.0.0.2")
    joined.ended_before_it_began(lost)  # it has left, which is no fault of the work
    joined.start_workers(5)
    assert names(joined) == ["10.0.0.1"]
    joined._ray.alive.append("10.0.0.2 as another node")
    joined.start_workers(5)
    assert names(joined) == ["10.0.0.1", "10.0.0.2"]


def test_a_node_that_is_not_fit(joined, caplog):
    joined._ray.alive.append("10.0.0.3")
    joined.start_workers(5)
    with pytest.raises(ConfigError, match=r"the node 10.0.0.1 cannot do the work .Ray 2.59"):
        joined.unfit(joined.workers[0], "Ray 2.59.0 there, 2.60.0 here")
    later = joined.workers.pop()
    with caplog.at_level(logging.WARNING):
        joined.unfit(later, "Ray 2.59.0 there, 2.60.0 here")
        joined.ended_before_it_began(later)
    assert not later.alive  # nobody waits for it
    assert [r.message for r in caplog.records] == [
        "10.0.0.3, which came later, is not used: Ray 2.59.0 there, 2.60.0 here"
    ]
    joined.start_workers(5)
    assert names(joined) == ["10.0.0.1", "10.0.0.2"]


def test_workers_that_end_before_they_begin(joined, caplog):
    joined.start_workers(5)
    joined.ended_before_it_began(joined.workers.pop())
    assert "10.0.0.2 is used no more: a worker ended there before it began" in caplog.text
    joined.start_workers(5)
    assert names(joined) == ["10.0.0.1"]
    with pytest.raises(WorkerError, match=r"no worker could begin; the last one, on 10.0.0.1"):
        joined.ended_before_it_began(joined.workers.pop())


def test_what_is_waited_for(joined, monkeypatch, caplog):
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(cluster_runner, "time", clock)
    now = joined._since = 1000.0
    joined.start_workers(5)
    joined.look()
    assert not caplog.text
    now += LONG_S + 1
    joined.look()
    joined.look()
    assert [r.message for r in caplog.records] == [
        "waiting for the cluster: 2 workers cannot begin yet; other jobs may hold its cores"
    ]
    joined.workers[0].ready = True
    joined.look()
    caplog.clear()
    joined.workers.clear()
    now += LONG_S + 1
    joined.look()
    assert "waiting for the cluster: no node is left" in caplog.text
    now += ALONE_S
    with pytest.raises(WorkerError, match="no node for this work for 600 s"):
        joined.look()


class RayError(Exception):
    pass


class ActorUnavailableError(RayError):
    pass


@pytest.mark.parametrize(
    ("error", "alive", "lost"),
    [
        (RayError("The actor died because its node has died."), ["10.0.0.1"], True),
        (RayError("The actor's worker process has died."), ["10.0.0.1"], False),
        (RayError("The actor's worker process has died."), [], True),  # told before its node
        (ActorUnavailableError("no answer"), ["10.0.0.1"], True),
    ],
)
def test_a_worker_whose_node_is_gone_is_not_ended_by_a_slide(monkeypatch, error, alive, lost):
    monkeypatch.setattr(cluster_worker, "LEAVING_S", 0.0)
    ray = Nodes(*alive)
    ray.exceptions = SimpleNamespace(RayError=RayError, ActorUnavailableError=ActorUnavailableError)
    worker = object.__new__(RayWorker)
    worker._office = SimpleNamespace(ray=ray)
    worker.seat = Seat("10.0.0.1", 0, "10.0.0.1", 2, 0)
    assert worker._is_lost(error) == lost


class Encoding:
    """Ray with two encoders, one of which waits for a GPU and never answers."""

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=KeyError, RayTaskError=IndexError)

    def __init__(self):
        self.asked = []

    def put(self, pixels):
        return pixels

    def get_actor(self, name):
        def remote(pixels, channels_last):
            self.asked.append(name)
            return None if name == "lost" else np.ones((len(pixels), 3), np.float32)

        return SimpleNamespace(run=SimpleNamespace(remote=remote))

    def wait(self, answers, timeout):
        done = [one for one in answers if one is not None]
        return done, []

    def get(self, answer):
        assert answer is not None, "this waits for ever"
        return answer


def test_batches_do_not_wait_for_an_encoder_whose_node_is_gone(monkeypatch):
    ray = Encoding()
    monkeypatch.setattr(encoding, "import_ray", lambda: ray)
    engine = FedEngine(["lost", "there"], "torch", "2", 4)
    for _ in range(4):
        assert engine.run(torch.zeros(4, 3, 2, 2, dtype=torch.uint8)).shape == (4, 3)
    assert ray.asked.count("lost") == 1
