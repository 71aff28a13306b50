"""Small classifiers of every network with heads away from zero, and one bag."""

import pytest
import torch

from slidenet.explanation import subjects_of
from slidenet.mil import BagBatch
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier

DIM = 6
SETTINGS = {
    "mean": {},
    "max": {},
    "abmil": {"hidden_dim": 8, "attention_dim": 4},
    "clam_sb": {"hidden_dim": 8, "attention_dim": 4},
    "clam_mb": {"hidden_dim": 8, "attention_dim": 4},
    "dsmil": {"query_dim": 4},
    "transmil": {"embed_dim": 8, "num_heads": 2, "num_landmarks": 4, "residual_kernel": 5},
    "longnet": {
        "embed_dim": 16,
        "depth": 2,
        "num_heads": 4,
        "ffn_dim": 24,
        "segment_lengths": (4, 16),
        "dilation_rates": (1, 2),
        "grid_size": 64,
    },
}
TASK = BinaryTask(("y",), ("no", "yes"))


def a_batch(num_tiles=9, *, seed=0, dim=DIM, **more):
    draw = torch.Generator().manual_seed(seed)
    cells = torch.randperm(64, generator=draw)[:num_tiles]
    grid_xy = torch.stack([cells % 8, cells // 8], dim=1)[None]
    return BagBatch(
        features=torch.randn(1, num_tiles, dim, generator=draw) * 3 + 1,
        coords=grid_xy * 256,
        grid_xy=grid_xy,
        mask=torch.ones(1, num_tiles, dtype=torch.bool),
        target=None,
        bag_ids=("a",),
        slide_ids=(("a",),),
        **more,
    )


def a_classifier(name, task=TASK, *, seed=0, settings=(), **more):
    torch.manual_seed(seed)
    made = SlideClassifier(task, DIM, name, SETTINGS[name] | dict(settings), **more)
    for key, parameter in made.named_parameters():
        if "head" in key or "linear" in key:
            torch.nn.init.normal_(parameter, std=0.5)
    if made.scaling is not None:
        made.fit_inputs([(a_batch(seed=1).features[0],) * len(made.feature_dims)])
    return made


@pytest.fixture(scope="session")
def classifier():
    return a_classifier


@pytest.fixture(scope="session")
def batch():
    return a_batch


@pytest.fixture
def subject():
    """`subject(name, ...)`: the first subject of a small classifier and the usual bag."""

    def make(name, task=TASK, *, num_tiles=9, **more):
        return subjects_of(a_classifier(name, task, **more), a_batch(num_tiles))[0]

    return make
