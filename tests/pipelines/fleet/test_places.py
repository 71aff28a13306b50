import os

import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.pipelines.fleet.places import Place, find_places


@pytest.fixture
def machine(monkeypatch):
    """Twelve cores, of which this process may use eight, and four GPUs."""
    cores = {0, 1, 2, 3, 8, 9, 10, 11}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("devices", "device", "names", "cores", "gpus"),
    [
        (2, "cpu", ["cpu:0-3", "cpu:8-11"], [(0, 1, 2, 3), (8, 9, 10, 11)], [None, None]),
        ("3", "cpu", ["cpu:0-1", "cpu:2,3,8", "cpu:9-11"], [(0, 1), (2, 3, 8), (9, 10, 11)],
         [None] * 3),
        (1, "cpu", ["cpu:0,1,2,3,8,9,10,11"], [(0, 1, 2, 3, 8, 9, 10, 11)], [None]),
        ("cpu:8-9, cpu:0", "cpu", ["cpu:8-9", "cpu:0"], [(8, 9), (0,)], [None, None]),
        (2, "cuda:0", ["cuda:0", "cuda:1"], [(0, 1, 2, 3), (8, 9, 10, 11)], ["0", "1"]),
        ("cuda:3", "cuda", ["cuda:3"], [(0, 1, 2, 3, 8, 9, 10, 11)], ["3"]),
        ("cuda:1,cuda:1", "cuda", ["cuda:1", "cuda:1 (2)"], [(0, 1, 2, 3), (8, 9, 10, 11)],
         ["1", "1"]),
        # A step without a model, of a command whose other steps use the GPUs.
        ("cuda:0,cuda:1", "cpu", ["cuda:0", "cuda:1"], [(0, 1, 2, 3), (8, 9, 10, 11)], [None] * 2),
    ],
)  # fmt: skip
def test_places(machine, devices, device, names, cores, gpus):
    assert find_places(devices, device) == [
        Place(*of) for of in zip(names, cores, gpus, strict=True)
    ]


def test_gpus_are_those_that_this_process_sees(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,GPU-a,MIG-b")
    assert [place.gpu for place in find_places("cuda:1,cuda:2", "cuda")] == ["7", "GPU-a"]


@pytest.mark.parametrize(
    ("devices", "device", "words"),
    [
        (9, "cpu", "--devices 9 on 8 cores"),
        (0, "cpu", "at least one process"),
        (5, "cuda", r"that shows 4 GPUs; .*--devices 4; or name a GPU twice"),
        ("cuda:4", "cuda", "that shows 4 GPUs"),
        ("cpu:0-4", "cpu", "cpu:0-4 is not free; expected groups of the cores 0,1,2,3,8,9,10,11"),
        ("cpu:3-1", "cpu", "cpu:3-1 is not free"),
        ("cpu:0-1,cpu:1-2", "cpu", "cpu:1-2 is not free"),
        ("two", "cpu", "--devices two; expected a number of processes, or a list"),
        ("cuda:0,cpu:1", "cuda", "a list such as"),
        (2, "cuda:1", "--devices 2 with --device cuda:1"),
        (2, "mps", "--devices 2 with --device mps"),
    ],
)
def test_other_places_are_refused(machine, devices, device, words):
    with pytest.raises(ConfigError, match=words):
        find_places(devices, device)


def test_where_processes_get_no_cores(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity")
    with pytest.raises(ConfigError, match="start the command several times with the same --out"):
        find_places(2, "cpu")


def test_the_environment_of_a_place(machine, monkeypatch):
    there = Place("cuda:1", (4, 5, 6), "1").environment()
    assert (there["OMP_NUM_THREADS"], there["CUDA_VISIBLE_DEVICES"]) == ("3", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert Place("cpu:0-2", (0, 1, 2)).environment()["OMP_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in Place("cpu:0-2", (0, 1, 2)).environment()
