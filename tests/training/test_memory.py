"""Batches that do not fit are refused before they are made, and in one line where they are made."""

import re

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier, memory

TASK = BinaryTask(("label",), ("no", "yes"))


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    settings = {"hidden_dim": 32, "attention_dim": 8, "dropout": 0.5}
    return SlideClassifier(TASK, 16, "abmil", settings)


def test_the_cost_is_what_the_network_keeps_and_two_copies_of_the_largest(classifier):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    state = torch.get_rng_state()
    cost = memory.measure_cost(classifier)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], v) for n, v in classifier.state_dict().items())
    # The features and the embedding, in float32, are the least; each tensor at most some times.
    least = 4 * (16 + 32) + 2 * 4 * 32
    assert least < cost.per_tile < 3 * least
    assert cost.of(2, 1000) == pytest.approx(2 * (cost.fixed + 1000 * cost.per_tile))
    wide = memory.measure_cost(SlideClassifier(TASK, 16, "abmil", {"hidden_dim": 256}))
    assert wide.per_tile > 4 * cost.per_tile


def test_a_batch_that_cannot_fit_is_refused_with_what_would(classifier, monkeypatch):
    cost = memory.measure_cost(classifier)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(cost.of(1, 50_000)))
    cpu = torch.device("cpu")
    memory.check_memory(classifier, 1, 50_000, cpu)
    memory.check_memory(classifier, 4, 4_000, cpu)  # too small to ask
    with pytest.raises(ConfigError) as raised:
        memory.check_memory(classifier, 4, 20_000, cpu)
    assert str(raised.value).startswith("a batch of 4 bags of 20000 tiles, padding counted, takes")
    assert raised.value.remedy.startswith("give --data.max-tiles 12")
    assert re.search(r", or --data.token-budget (49|50)000 ", raised.value.remedy)
    with pytest.raises(ConfigError, match=r"a batch of 1 bag of 90000 tiles") as raised:
        memory.check_memory(classifier, 1, 90_000, cpu)
    assert "token-budget" not in raised.value.remedy


def test_what_is_free_is_the_least_of_all_limits(monkeypatch):
    assert memory.free_memory(torch.device("meta")) is None
    for available, group, left, expected in (
        (100, None, None, 100),
        (100, 7, None, 7),
        (100, 70, 5, 5),
        (None, None, None, None),
    ):
        monkeypatch.setattr(memory, "_available", lambda value=available: value)
        monkeypatch.setattr(memory, "_cgroup_left", lambda value=group: value)
        monkeypatch.setattr(memory, "_address_space_left", lambda value=left: value)
        assert memory.free_memory(torch.device("cpu")) == expected


def allocate_with_torch():
    torch.empty(1 << 60, dtype=torch.uint8)


def allocate_with_numpy():
    np.empty(1 << 60, dtype=np.uint8)


@pytest.mark.parametrize("allocate", [allocate_with_torch, allocate_with_numpy])
def test_what_torch_and_numpy_raise_is_one_line(allocate):
    with (
        pytest.raises(ConfigError, match=r"memory ran out while training \(.*allocate") as raised,
        memory.allocation_explained("training", training=True),
    ):
        allocate()
    assert "--data.max-tiles" in raised.value.remedy
    assert "--data.token-budget" in raised.value.remedy
    assert "\n" not in str(raised.value)


def test_other_errors_are_left_alone():
    with (
        pytest.raises(RuntimeError, match="shapes"),
        memory.allocation_explained("x", training=True),
    ):
        raise RuntimeError("shapes do not fit")
