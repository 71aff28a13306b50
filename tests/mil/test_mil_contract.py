"""What every registered model promises, whatever it computes."""

import pytest
import torch
from torch.testing import assert_close

from slidenet.core.errors import EncoderError
from slidenet.tasks import BinaryTask, MulticlassTask

GRADE = MulticlassTask(("grade",), ("g1", "g2", "g3"))
EXACT = {"rtol": 1e-9, "atol": 1e-11}


def values_and_gradients(model, features, grid_xy, mask, bag):
    """Everything bag `bag` says, its tiles' gradients and its share of the weights' gradients."""
    features = features.clone().requires_grad_()
    out = model(features, grid_xy, mask)
    wave = torch.arange(1, out.logits.shape[1] + 1, dtype=out.logits.dtype)
    loss = (out.logits[bag] * wave).sum()
    ramp = torch.linspace(-1, 1, int(mask[bag].sum()), dtype=out.logits.dtype)
    found = {"logits": out.logits[bag]}
    if out.tile_attention is not None:
        found["attention"] = out.tile_attention[bag][:, mask[bag]]
        loss = loss + (found["attention"] * ramp).sum()
    if out.tile_logits is not None:
        found["tile_logits"] = out.tile_logits[bag][mask[bag]]
        loss = loss + (found["tile_logits"] * ramp[:, None]).sum()
    weights = {k: p for k, p in model.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(loss, [features, *weights.values()], allow_unused=True)
    assert grads[0] is not None
    others = grads[0][torch.arange(len(mask)) != bag]
    assert not others.any(), "a bag's loss reached another bag"
    assert not grads[0][~mask].any(), "a gradient reached the padding"
    found["features"] = grads[0][bag][mask[bag]]
    return found | {k: g for k, g in zip(weights, grads[1:], strict=True) if g is not None}


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_padding_and_other_bags_do_not_matter(name, num_outputs, small, bags):
    model = small(name, num_outputs)
    lengths = (5, 1, 11, 7)
    features, grid_xy, mask = bags(lengths)
    longer = bags(lengths, longest=19)
    for bag in range(len(lengths)):
        real = mask[bag]
        alone = (
            features[bag : bag + 1, real],
            grid_xy[bag : bag + 1, real],
            torch.ones(1, lengths[bag], dtype=torch.bool),
        )
        expected = values_and_gradients(model, *alone, bag=0)
        for batch in ((features, grid_xy, mask), longer):
            found = values_and_gradients(model, *batch, bag=bag)
            assert set(found) == set(expected)
            for key in expected:
                assert_close(found[key], expected[key], **EXACT, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_auxiliary_loss_does_not_see_padding(name, num_outputs, small, bags):
    model = small(name, num_outputs)
    target = torch.tensor([0, 1, 0, num_outputs - 1])
    task = BinaryTask(("y",), ("a", "b")) if num_outputs == 1 else GRADE
    losses = []
    for longest in (11, 19):
        features, grid_xy, mask = bags((5, 1, 11, 7), longest=longest)
        losses.append(model.auxiliary_loss(model(features, grid_xy, mask), target, mask, task))
    if name not in ("clam_sb", "clam_mb", "dsmil"):
        assert losses == [None, None]
        return
    assert losses[0].ndim == 0
    assert losses[0] > 0
    assert_close(*losses)


def test_attention_sums_to_one_over_real_tiles(name, small, bags):
    for num_outputs in (1, 3):
        features, grid_xy, mask = bags((4, 1, 9), longest=13)
        attention = small(name, num_outputs)(features, grid_xy, mask).tile_attention
        if name == "gigapath":
            assert attention is None
            continue
        maps = {"clam_mb": max(num_outputs, 2), "dsmil": num_outputs}.get(name, 1)
        assert attention.shape == (3, maps, 13)
        assert (attention >= 0).all()
        assert_close(attention.sum(dim=-1), torch.ones(3, maps, dtype=torch.float64), **EXACT)
        assert not attention.masked_select(~mask[:, None]).any()


def test_models_for_which_the_order_does_not_matter_need_no_places(position_free, small):
    assert not small(position_free, 3).needs_places


@pytest.mark.parametrize("name", ["gigapath", "longnet", "transmil"])
def test_the_others_need_places(name, small):
    assert small(name, 3).needs_places


def test_order_of_tiles_does_not_matter_without_positions(position_free, small, bags):
    model = small(position_free, 3)
    features, grid_xy, mask = bags((9, 6))
    order = torch.tensor([4, 8, 0, 6, 2, 7, 1, 5, 3])
    out = model(features, grid_xy, mask)
    moved = model(features[:, order], grid_xy[:, order], mask[:, order])
    assert_close(moved.logits, out.logits, **EXACT)
    if out.tile_attention is not None:
        assert_close(moved.tile_attention, out.tile_attention[..., order], **EXACT)
    elsewhere = model(features, grid_xy.flip(0), mask)
    assert_close(elsewhere.logits, out.logits, rtol=0, atol=0)


@pytest.mark.parametrize("with_positions", ["longnet", "gigapath"])
def test_positions_matter_to_longnet(with_positions, small, bags):
    model = small(with_positions)
    features, grid_xy, mask = bags((9, 6))
    moved = grid_xy.clone()
    moved[0][mask[0]] = (grid_xy[0][mask[0]] + 17) % 64
    before, after = (model(features, g, mask).logits for g in (grid_xy, moved))
    assert (before[0] - after[0]).abs().max() > 1e-3
    assert_close(before[1], after[1], **EXACT)


def test_a_bag_without_tiles_is_refused(name, small, bags):
    features, grid_xy, mask = bags((4, 3))
    mask[1] = False
    with pytest.raises(EncoderError, match="bag 1 of the batch has no real tile"):
        small(name)(features, grid_xy, mask)
    with pytest.raises(EncoderError, match="bag 0 of the batch has no real tile"):
        small(name)(features[:, :0], grid_xy[:, :0], mask[:, :0])


def test_features_that_do_not_fit_are_refused(name, small, bags):
    features, grid_xy, mask = bags((4, 3))
    model = small(name)
    with pytest.raises(EncoderError, match=r"floats of shape \(B, L, 12\)"):
        model(features[..., :5], grid_xy, mask)
    with pytest.raises(EncoderError, match=r"bool of shape \(2, 4\)"):
        model(features, grid_xy, mask.long())
    features[1, 2] = float("nan")
    mask[1] = True
    with pytest.raises(EncoderError, match="NaN or infinite features"):
        model(features, grid_xy, mask)


def test_bfloat16_autocast(trained_name, small, bags):
    model = small(trained_name, 3).float()
    features, grid_xy, mask = bags((8, 1, 5), dtype=torch.float32)
    exact = model(features, grid_xy, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(features, grid_xy, mask)
        extra = model.auxiliary_loss(out, torch.tensor([0, 1, 2]), mask, GRADE)
    assert_close(out.logits.float(), exact.logits, rtol=0.1, atol=0.1)
    if out.tile_attention is not None:
        assert out.tile_attention.dtype == torch.float32
        assert_close(out.tile_attention.sum(dim=-1), exact.tile_attention.sum(dim=-1))
    loss = out.logits.float().square().sum() + (0 if extra is None else extra)
    loss.backward()
    for key, parameter in model.named_parameters():
        assert not parameter.requires_grad or parameter.grad is not None, f"{key} got no gradient"
        assert parameter.grad is None or parameter.grad.isfinite().all(), key


def test_half_precision_features_are_taken(name, small, bags):
    model = small(name).float()
    features, grid_xy, mask = bags((8, 5), dtype=torch.float32)
    out = model(features.half(), grid_xy, mask)
    assert out.logits.dtype == torch.float32
    assert_close(out.logits, model(features, grid_xy, mask).logits, rtol=0.02, atol=0.02)


def test_same_seed_same_weights(name, small):
    first, second = (small(name, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_only_longnet_has_levels(name, small):
    levels = small(name).layer_levels()
    if name in ("longnet", "gigapath"):
        assert set(levels) == {key for key, _ in small(name).named_parameters()}
    else:
        assert levels is None


@pytest.mark.slow
def test_a_compiled_model_is_as_strict(name, small, bags):
    model = small(name, 2).eval()
    features, grid_xy, mask = bags((5, 1, 11))
    compiled = torch.compile(model, backend="aot_eager")
    want, found = model(features, grid_xy, mask), compiled(features, grid_xy, mask)
    assert_close(found.logits, want.logits, rtol=1e-6, atol=1e-8)
    nan = features.masked_fill(mask[..., None], torch.nan)
    for bad in ((nan, mask), (features, mask & False), (features[..., :1], mask)):
        said = []
        for call in (model, compiled):
            with pytest.raises(EncoderError) as caught:
                call(bad[0], grid_xy, bad[1])
            said.append(str(caught.value))
        assert said[0] == said[1]
    torch._dynamo.reset()
