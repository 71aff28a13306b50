"""Every model fits eight bags; attention models find a few planted tiles."""

import time

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from slidenet.mil import make_bag_model
from slidenet.tasks import BinaryTask, MulticlassTask

TUMOUR = BinaryTask(("tumour",), ("no", "yes"))
GRADE = MulticlassTask(("grade",), ("g1", "g2", "g3"))

FASTER = {"longnet": 3e-3, "gigapath": 3e-3, "transmil": 2e-2, "mean": 0.1, "max": 0.1}


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_eight_bags_are_learnt_by_heart(trained_name, num_outputs, small, bags):
    model = small(trained_name, num_outputs).float()
    features, grid_xy, mask = bags((9, 5, 12, 7, 3, 8, 10, 6), dtype=torch.float32)
    target = torch.tensor(
        [0, 1, 1, 0, 1, 0, 0, 1] if num_outputs == 1 else [0, 1, 2, 0, 1, 2, 0, 1]
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=FASTER.get(trained_name, 1e-2))
    for _ in range(150):
        out = model(features, grid_xy, mask)
        if num_outputs == 1:
            loss = F.binary_cross_entropy_with_logits(out.logits[:, 0], target.float())
            right = (out.logits[:, 0] > 0) == target.bool()
        else:
            loss = F.cross_entropy(out.logits, target)
            right = out.logits.argmax(dim=1) == target
        if right.all() and loss < 0.1:
            return
        extra = model.auxiliary_loss(out, target, mask, TUMOUR if num_outputs == 1 else GRADE)
        optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
    raise AssertionError(f"{trained_name}: loss {loss.item():.3f}, {int(right.sum())} of 8 right")


def needle_bags(count, seed, *, num_tiles=200, planted=10, feature_dim=64, shift=3.0):
    """Every second bag holds `planted` tiles moved by `shift` along one direction."""
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, num_tiles, feature_dim, generator=draw)
    target = torch.arange(count) % 2
    for bag in target.nonzero()[:, 0]:
        where = torch.randperm(num_tiles, generator=draw)[:planted]
        features[bag, where, :16] += shift / 4
    return features, torch.zeros(count, num_tiles, 2, dtype=torch.int64), target


@pytest.mark.slow
@pytest.mark.parametrize("name", ["abmil", "clam_sb", "clam_mb", "dsmil"])
def test_needles_are_found(name):
    torch.manual_seed(0)
    settings = {} if name == "dsmil" else {"hidden_dim": 128, "attention_dim": 64}
    model = make_bag_model(name, feature_dim=64, num_outputs=1, **settings)
    features, grid_xy, target = needle_bags(200, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=1e-4)
    mask = torch.ones(grid_xy.shape[:2], dtype=torch.bool)
    draw = torch.Generator().manual_seed(2)
    for _ in range(300):
        chosen = torch.randperm(200, generator=draw)[:8]
        out = model(features[chosen], grid_xy[chosen], mask[chosen])
        loss = F.binary_cross_entropy_with_logits(out.logits[:, 0], target[chosen].float())
        extra = model.auxiliary_loss(out, target[chosen], mask[chosen], TUMOUR)
        optimizer.zero_grad()
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
    features, grid_xy, target = needle_bags(200, seed=3)
    with torch.no_grad():
        logits = model.eval()(features, grid_xy, mask).logits[:, 0]
    assert roc_auc_score(target, logits) > 0.95


def test_abmil_on_a_whole_slide_is_quick():
    model = make_bag_model("abmil", feature_dim=1280, num_outputs=1)
    features = torch.randn(1, 10_000, 1280)
    grid_xy = torch.zeros(1, 10_000, 2, dtype=torch.int64)
    mask = torch.ones(1, 10_000, dtype=torch.bool)
    start = time.perf_counter()
    model(features, grid_xy, mask).logits.sum().backward()
    assert time.perf_counter() - start < 15  # 1 s on one idle core; the machine may be busy
