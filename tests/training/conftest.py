"""Small cohorts of bags for every task, and a trainer that says nothing."""

import socket

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from slidenet.mil import BagBatch
from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
)
from slidenet.training import quiet_lightning

FEATURE_DIM = 6
TASKS = {
    "binary": BinaryTask(("tumour",), ("no", "yes")),
    "multiclass": MulticlassTask(("grade",), ("g1", "g2", "g3")),
    "multilabel": MultilabelTask(("kras", "egfr", "alk")),
    "ordinal": OrdinalTask(("stage",), ("i", "ii", "iii", "iv")),
    "regression": RegressionTask(("age",)),
    "cox": CoxTask(("time", "event")),
    "discrete_time": DiscreteTimeTask(("time", "event"), time_edges=(2.0, 4.0, 6.0, 9.0)),
}


def make_target(task, severity, rng):
    """Targets that follow the bag's severity in [0, 1]."""
    n = len(severity)
    match task.kind:
        case "binary" | "multiclass" | "ordinal":
            return torch.tensor((severity * task.num_classes).astype(int).clip(0, 3))
        case "multilabel":
            target = (severity[:, None] > [0.3, 0.5, 0.7]).astype(np.float32)
            target[rng.uniform(size=target.shape) < 0.2] = np.nan
            return torch.tensor(target)
        case "regression":
            return torch.tensor(60 + 20 * severity, dtype=torch.float32)
        case _:
            time = np.ceil(1 + 10 * (1 - severity) * rng.uniform(0.5, 1, size=n))
            event = rng.uniform(size=n) < 0.7
            return torch.tensor(np.stack([time, event], 1), dtype=torch.float32)


class Bags(Dataset):
    """Bags of 3 to 8 tiles whose mean follows the severity of the bag."""

    def __init__(self, task, n=24, seed=0):
        rng = np.random.default_rng(seed)
        severity = np.linspace(0.01, 0.99, n)
        self.target = make_target(task, severity, rng)
        self.features = [
            torch.tensor(rng.normal(3 * s, 0.5, size=(rng.integers(3, 9), FEATURE_DIM)))
            for s in severity
        ]

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return index, self.features[index].float(), self.target[index]


def collate(items):
    """Bags padded to the longest of the batch."""
    longest = max(len(features) for _, features, _ in items)
    mask = torch.stack([torch.arange(longest) < len(f) for _, f, _ in items])
    padded = [torch.nn.functional.pad(f, (0, 0, 0, longest - len(f))) for _, f, _ in items]
    cells = torch.stack([torch.arange(longest), torch.zeros(longest, dtype=torch.int64)], 1)
    cells = cells.expand(len(items), -1, -1)
    ids = tuple(f"bag{i}" for i, _, _ in items)
    return BagBatch(
        features=torch.stack(padded),
        coords=cells * 256,
        grid_xy=cells,
        mask=mask,
        target=torch.stack([t for _, _, t in items]),
        bag_ids=ids,
        slide_ids=tuple((i,) for i in ids),
    )


def loader(task, *, n=24, seed=0, batch_size=5, shuffle=False, num_workers=0):
    bags = Bags(task, n, seed)
    return DataLoader(
        bags, batch_size, shuffle=shuffle, collate_fn=collate, num_workers=num_workers
    )


@pytest.fixture(autouse=True)
def calm():
    """Keeps Lightning's listings and advice out of the tests' own warnings."""
    with quiet_lightning():
        yield


@pytest.fixture
def quiet_trainer(tmp_path):
    """Makes trainers on the CPU that write under tmp_path only."""

    def make(**settings):
        defaults = {
            "accelerator": "cpu",
            "max_epochs": 2,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "default_root_dir": tmp_path,
        }
        return Trainer(**{**defaults, **settings})

    return make


@pytest.fixture(params=list(TASKS))
def task(request):
    return TASKS[request.param]


@pytest.fixture
def cohort():
    """`loader` and `TASKS`, for tests, which cannot import this file."""
    return loader, TASKS


@pytest.fixture
def free_port():
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
