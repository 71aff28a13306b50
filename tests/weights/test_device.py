import pytest
import torch

from slidenet.core.errors import EncoderError
from slidenet.weights import resolve_device


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_gpu_where_there_is_one(two_gpus):
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(EncoderError, match=r"'cuda:2' is not available here; expected .*cuda"):
        resolve_device("cuda:2")


def test_without_a_gpu(cpu_only):
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    for absent in ("cuda", "cuda:0", "mps"):
        with pytest.raises(EncoderError, match=f"'{absent}' is not available here; expected one o"):
            resolve_device(absent)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_unknown_kinds_are_refused(name):
    with pytest.raises(EncoderError, match="no kind of device"):
        resolve_device(name)
