"""CLAM's instance clustering and DSMIL's critical-tile loss, against loops over tiles."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    DiscreteTimeTask,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
)

NAN = float("nan")


def task_of(kind, num_outputs):
    """A task whose models have so many outputs."""
    names = tuple("abcdefg"[:num_outputs])
    return {
        "binary": BinaryTask(("y",), ("a", "b")),
        "multiclass": MulticlassTask(("y",), names if num_outputs > 1 else ("a", "b")),
        "multilabel": MultilabelTask(names),
        "ordinal": OrdinalTask(("y",), tuple("abcdefgh"[: num_outputs + 1])),
        "regression": RegressionTask(("y",)),
        "cox": CoxTask(("t", "e")),
        "discrete_time": DiscreteTimeTask(("t", "e"), time_edges=range(1, 3)),
    }[kind]


KIND_OF = {1: "binary", 2: "multilabel", 3: "multiclass"}
"""Of the targets in `test_clam`, by the number of outputs."""


def clustering(attention, scores, wanted, k, margin, out_of_class):
    """One bag: attention and scores per tile and class, wanted 1, 0 or NaN per class."""
    n = len(scores)
    per_class = []
    for c, yes in enumerate(wanted):
        order = sorted(range(n), key=lambda i: attention[i][c])
        each = min(k, n // 2)
        if yes == 1 and each:
            top, bottom = order[-each:], order[:each]
            losses = [math.log(1 + math.exp(margin - scores[i][c])) for i in top]
            losses += [math.log(1 + math.exp(margin + scores[i][c])) for i in bottom]
        elif yes == 0 and out_of_class:
            losses = [math.log(1 + math.exp(margin + scores[i][c])) for i in order[-min(k, n) :]]
        else:
            continue
        per_class.append(sum(losses) / len(losses))
    return sum(per_class) / len(per_class) if per_class else None


@pytest.mark.parametrize("margin", [0.0, 1.0])
@pytest.mark.parametrize("out_of_class", [True, False])
@pytest.mark.parametrize(
    ("num_outputs", "target", "wanted"),
    [
        (1, torch.tensor([1, 0, 1, 1]), [[1], [0], [1], [1]]),
        (3, torch.tensor([2, 0, 1, 1]), [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        (
            2,
            torch.tensor([[1.0, NAN], [NAN, NAN], [0, 1], [1, 1]]),
            [[1, NAN], [NAN, NAN], [0, 1], [1, 1]],
        ),
    ],
)
@pytest.mark.parametrize("name", ["clam_sb", "clam_mb"])
def test_clam(small, bags, name, num_outputs, target, wanted, margin, out_of_class):
    model = small(
        name,
        num_outputs,
        num_instances=3,
        instance_weight=0.7,
        instance_margin=margin,
        out_of_class=out_of_class,
    )
    features, grid_xy, mask = bags((11, 4, 1, 6), longest=13)
    out = model(features, grid_xy, mask)
    losses = []
    for b, real in enumerate(mask):
        maps = out.tile_attention[b][:, real].T.tolist()
        if name == "clam_sb":
            maps = [row * num_outputs for row in maps]
        elif num_outputs == 1:
            maps = [[positive] for _, positive in maps]
        scores = out.tile_logits[b][real].tolist()
        loss = clustering(maps, scores, wanted[b], 3, margin, out_of_class)
        if loss is not None:
            losses.append(loss)
    task = task_of(KIND_OF[num_outputs], num_outputs)
    found = model.auxiliary_loss(out, target, mask, task)
    assert found.item() == pytest.approx(0.7 * sum(losses) / len(losses), rel=1e-6)


def test_clam_margin_is_the_smooth_svm_of_two_outputs():
    """Temperature 1, two outputs (0, z): log sum_j exp(margin [j wrong] + s_j) - s_right."""
    for z in (-2.0, 0.3, 4.0):
        scores = torch.tensor([0.0, z])
        for right in (0, 1):
            wrong = torch.tensor([float(right != j) for j in (0, 1)])
            published = torch.logsumexp(scores + wrong, dim=0) - scores[right]
            ours = F.softplus(torch.tensor(1.0 - z if right else 1.0 + z))
            assert_close(ours, published)


def test_clam_attention_is_not_trained_by_the_choice_of_tiles(small, bags):
    model = small("clam_sb")
    features, grid_xy, mask = bags((9, 8))
    out = model(features, grid_xy, mask)
    model.auxiliary_loss(out, torch.tensor([0, 1]), mask, task_of("binary", 1)).backward()
    assert model.attention.score.weight.grad is None
    assert model.tile_head.weight.grad.abs().sum() > 0


def test_clam_without_classes_keeps_every_parameter_in_the_graph(small, bags):
    model = small("clam_sb")
    features, grid_xy, mask = bags((9, 8))
    out = model(features, grid_xy, mask)
    for kind, target in (
        ("regression", torch.tensor([0.5, 3.0])),
        ("cox", torch.tensor([[4.0, 1.0], [2.0, 0.0]])),
    ):
        loss = model.auxiliary_loss(out, target, mask, task_of(kind, 1))
        assert loss.item() == 0
        loss.backward(retain_graph=True)
        assert not model.tile_head.weight.grad.any()


def test_clam_and_dsmil_switched_off(small, bags):
    features, grid_xy, mask = bags((9, 8))
    for name in ("clam_sb", "clam_mb", "dsmil"):
        model = small(name, instance_weight=0.0)
        out = model(features, grid_xy, mask)
        assert model.auxiliary_loss(out, torch.tensor([0, 1]), mask, task_of("binary", 1)) is None


@pytest.mark.parametrize(
    ("num_outputs", "target", "kind"),
    [
        (1, torch.tensor([1, 0, 1]), "binary"),
        (3, torch.tensor([2, 0, 1]), "multiclass"),
        (3, torch.tensor([3, 0, 1]), "ordinal"),
        (2, torch.tensor([[1.0, NAN], [0.0, 1.0], [1.0, 1.0]]), "multilabel"),
        (1, torch.tensor([0.3, 1.0, -2.0]), "regression"),
        (1, torch.tensor([[3.0, 1.0], [4.0, 0.0], [1.0, 1.0]]), "cox"),
    ],
)
def test_dsmil(small, bags, num_outputs, target, kind):
    model = small("dsmil", num_outputs, instance_weight=0.25)
    features, grid_xy, mask = bags((7, 1, 4), longest=9)
    out = model(features, grid_xy, mask)
    found = model.auxiliary_loss(out, target, mask, task_of(kind, num_outputs))
    if kind in ("regression", "cox"):
        assert found is None
        return
    losses = []
    for b, real in enumerate(mask):
        z = out.tile_logits[b][real].max(dim=0).values
        if kind == "multiclass":
            losses.append(-torch.log_softmax(z, dim=0)[target[b]])
            continue
        for k in range(num_outputs):
            y = float(target[b][k] if kind == "multilabel" else target[b] > k)
            if kind == "ordinal" and target[b] < k:
                continue  # output k is conditional on class k or above
            if not math.isnan(y):
                losses.append(-torch.log(torch.sigmoid(z[k] if y else -z[k])))
    assert_close(found, (0.25 * sum(losses) / len(losses)).float())


def test_output_targets_of_ordinal_classes():
    wanted = task_of("ordinal", 3).output_targets(torch.tensor([0, 1, 3]))
    expected = torch.tensor([[0, NAN, NAN], [1, 0, NAN], [1, 1, 1]])
    assert_close(wanted, expected, equal_nan=True)
    assert task_of("discrete_time", 2).output_targets(torch.tensor([[1.0, 0.0]])) is None
