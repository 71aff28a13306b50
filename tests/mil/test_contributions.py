"""What each tile adds: the sum is the logits without the bias of the head, for every model."""

import pytest
import torch
from torch.testing import assert_close

from slidenet.mil import BAG_MODELS

EXACT = {"rtol": 1e-8, "atol": 1e-9}
LINEAR_PROBE = {"kind": "logistic", "columns": "mean", "predicts": "labels"}
SUMS = [
    ("mean", {}),
    ("max", {}),
    ("abmil", {}),
    ("clam_sb", {}),
    ("clam_mb", {}),
    ("dsmil", {}),
    ("probe", LINEAR_PROBE),
    ("longnet", {"pooling": "attention"}),
    ("longnet", {"pooling": "mean", "layers": (1, 2)}),
    ("gigapath", {"pooling": "mean"}),
]

ONE_MAP = [(name, settings) for name, settings in SUMS if name not in ("max", "dsmil", "clam_mb")]


def bias_of(model, num_outputs):
    """The logits of a sum of nothing."""
    if hasattr(model, "bias"):
        return model.bias
    if hasattr(model.head, "heads"):
        biases = torch.cat([head.bias for head in model.head.heads])
        return biases[1:] - biases[:1] if num_outputs == 1 else biases
    if hasattr(model, "query"):
        return (model.head.bias + model.tile_head.bias) / 2
    return model.head.bias


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize(("name", "settings"), SUMS, ids=str)
def test_contributions_sum_to_the_logits_without_the_bias(name, settings, num_outputs, small, bags):
    model = small(name, num_outputs, **settings).eval()
    if name == "probe":
        model.bending.zero_()
    features, grid_xy, mask = bags((5, 1, 8))
    with torch.no_grad():
        logits = model(features, grid_xy, mask).logits
        each = model.contributions(features, grid_xy, mask)
    assert model.has_contributions
    assert each.shape == (*mask.shape, num_outputs)
    assert not each[~mask].any()
    assert_close(each.sum(dim=1) + bias_of(model, num_outputs), logits, **EXACT)


@pytest.mark.parametrize(("name", "settings"), ONE_MAP, ids=str)
def test_relative_contributions_do_not_depend_on_an_offset(name, settings, small, bags):
    """A risk may be shifted for all tiles alike; what is said of them must not follow."""
    model = small(name, 1, **settings).eval()
    if name == "probe":
        model.bending.zero_()
    features, grid_xy, mask = bags((6, 9))
    with torch.no_grad():
        relative = model.contributions(features, grid_xy, mask, relative=True)
        absolute = model.contributions(features, grid_xy, mask)
        attention = model(features, grid_xy, mask).tile_attention
    assert not relative[~mask].any()
    # With a the attention and m the median, a (s - m) = a s - a m.
    share = attention[:, 0, :, None]
    scores = (absolute / share).masked_fill(~mask[..., None], torch.nan)
    median = scores.nanmedian(dim=1, keepdim=True).values
    assert_close(relative, (absolute - share * median).masked_fill(~mask[..., None], 0), **EXACT)


def test_a_probe_cuts_tiles_off_as_it_cuts_the_bag(small, bags):
    model = small("probe", 2, **LINEAR_PROBE).eval()
    model.bending.zero_()
    features, grid_xy, mask = bags((4, 3))
    features = features * 1e3
    each = model.contributions(features, grid_xy, mask)
    logits = model(features, grid_xy, mask).logits
    assert_close(each.sum(dim=1) + model.bias, logits, **EXACT)


def test_models_without_such_a_sum_say_so(small, bags):
    without = {
        "transmil": {},
        "gigapath": {"pooling": "class_token"},
        "longnet": {"pooling": "class_token"},
        "probe": {},
    }
    for name, settings in without.items():
        model = small(name, 1, **settings).eval()
        assert not model.has_contributions
        assert model.contributions(*bags((4,))) is None
    assert {name for name, _ in SUMS} | set(without) == set(BAG_MODELS)
