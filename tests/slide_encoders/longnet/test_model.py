"""Behaviour of the network beyond the golden numbers."""

import pytest
import torch

from slidenet.attention import (
    ATTENTION_PATTERNS,
    DilatedConfig,
    make_attention,
    reference_attention,
    reference_dilated_attention,
)
from slidenet.core.errors import ConfigError, CoordinateError, EncoderError, UnknownNameError
from slidenet.slide_encoders import LongNetViT

LENGTHS = [33, 1, 64, 7]


class ExplicitDilated:
    """Dilated attention by its masks, in float64."""

    name = "explicit"

    def __init__(self, **settings):
        self.config = DilatedConfig(**settings)

    def __call__(self, q, k, v, *, mask=None, causal=False):
        out, lse = reference_dilated_attention(q, k, v, self.config, mask=mask, causal=causal)
        return out.to(q.dtype), lse


class ExplicitPattern:
    """Any other pattern by its mask, in float64."""

    name = "explicit"

    def __init__(self, pattern):
        self.pattern = pattern

    def __call__(self, q, k, v, *, mask=None, causal=False):
        allowed = self.pattern.mask(q.shape[1], q.shape[2], causal=causal)
        out, lse = reference_attention(q, k, v, allowed, mask=mask)
        return out.to(q.dtype), lse


@pytest.mark.parametrize("head_order", ["released", "paper"])
@pytest.mark.parametrize("padding", ["released", "masked"])
@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_equals_the_explicit_mask_reference(
    tiny_config, tiny_official, build, make_inputs, head_order, padding, pooling
):
    settings = {"head_order": head_order, "padding": padding}
    config = tiny_config.with_overrides(attention_settings=settings)
    fast = build(config, tiny_official).double()
    plain = build(config, tiny_official, attention=ExplicitDilated(**config.pattern_settings()))
    features, grid_xy, _ = make_inputs([77])
    results = []
    for net in (fast, plain.double()):
        x = features.double().requires_grad_()
        out = net(x, grid_xy, pooling=pooling)
        out.square().sum().backward()
        results.append((out, x.grad, net.blocks[0].attention.q_proj.weight.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(ATTENTION_PATTERNS) - {"dilated", "topk_blocks"}))
def test_other_patterns_by_name(tiny_config, tiny_official, build, make_inputs, name):
    fast = build(tiny_config, tiny_official, attention=name)
    plain = build(tiny_config, tiny_official, attention=ExplicitPattern(make_attention(name)))
    features, grid_xy, _ = make_inputs([60])
    for pooling in ("class_token", "mean"):
        found = fast(features, grid_xy, pooling=pooling)
        expected = plain(features, grid_xy, pooling=pooling)
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_every_registered_pattern_trains(tiny_config, make_inputs):
    features, grid_xy, mask = make_inputs([40, 21])
    for name in ATTENTION_PATTERNS:
        torch.manual_seed(0)
        net = LongNetViT(tiny_config, attention=name).train()
        net(features, grid_xy, mask).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters()), name


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
@pytest.mark.parametrize("state", [0, 1, "last", "final"])
def test_a_padded_batch_equals_its_slides(tiny, make_inputs, pooling, state):
    features, grid_xy, mask = make_inputs(LENGTHS)
    batch = tiny(features, grid_xy, mask, pooling=pooling, state=state)
    for b, n in enumerate(LENGTHS):
        single = tiny(features[b : b + 1, :n], grid_xy[b : b + 1, :n], pooling=pooling, state=state)
        torch.testing.assert_close(batch[b], single[0], rtol=0, atol=2e-6)


def test_states_of_a_padded_batch(tiny, make_inputs):
    tiny = tiny.double()
    features, grid_xy, mask = make_inputs(LENGTHS)
    states = tiny.states(features, grid_xy, mask)
    for b, n in enumerate(LENGTHS):
        single = tiny.states(features[b : b + 1, :n], grid_xy[b : b + 1, :n])
        for found, expected in zip(states, single, strict=True):
            torch.testing.assert_close(found[b, : n + 1], expected[0], rtol=0, atol=1e-12)
            assert not found[b, n + 1 :].any()


def test_masked_tiles_in_the_middle_are_as_good_as_absent(tiny, make_inputs):
    features, grid_xy, _ = make_inputs([50, 50])
    mask = torch.ones(2, 50, dtype=torch.bool)
    mask[:, [3, 20]] = False
    features[:, 3], features[:, 20] = float("inf"), float("nan")
    found = tiny(features, grid_xy, mask)
    kept = mask[0]
    torch.testing.assert_close(found, tiny(features[:, kept], grid_xy[:, kept]))
    states = tiny.states(features, grid_xy, mask)[1]
    assert not states[:, [4, 21]].any()
    torch.testing.assert_close(
        states[:, 1:][:, kept], tiny.states(features[:, kept], grid_xy[:, kept])[1][:, 1:]
    )


def test_a_mask_without_padding_changes_nothing(tiny, make_inputs):
    features, grid_xy, mask = make_inputs([30, 30])
    assert mask.all()
    assert torch.equal(tiny(features, grid_xy, mask), tiny(features, grid_xy))


def test_gradients_of_a_padded_batch(tiny, make_inputs):
    features, grid_xy, mask = make_inputs(LENGTHS)
    x = features.clone().requires_grad_()
    tiny(x, grid_xy, mask, pooling="mean").square().sum().backward()
    assert x.grad[mask].isfinite().all()
    assert not x.grad[~mask].any()
    padded = {name: p.grad.clone() for name, p in tiny.named_parameters()}
    tiny.zero_grad()
    for b, n in enumerate(LENGTHS):
        out = tiny(features[b : b + 1, :n], grid_xy[b : b + 1, :n], pooling="mean")
        out.square().sum().backward()
    for name, p in tiny.named_parameters():
        torch.testing.assert_close(padded[name], p.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lengths", [[50], [33, 50]])
@pytest.mark.parametrize("state", [1, "last", "final"])
def test_pruning_for_the_class_token_is_exact(tiny, make_inputs, lengths, state):
    features, grid_xy, mask = make_inputs(lengths)
    pruned = tiny(features, grid_xy, mask, pooling="class_token", state=state)
    index = 1 if state == 1 else 2
    whole = tiny.states(features, grid_xy, mask)[index][:, 0]
    whole = tiny.encoder_norm(whole) if state == "final" else whole
    torch.testing.assert_close(pruned, tiny.norm(whole), rtol=0, atol=2e-6)


@pytest.mark.parametrize("mixing", ["released", "true"])
def test_pruning_keeps_the_gradients(tiny_config, tiny_official, build, make_inputs, mixing):
    config = tiny_config.with_overrides(attention_settings={"mixing_gradient": mixing})
    features, grid_xy, mask = make_inputs([50, 33])
    grads = []
    for pruned in (True, False):
        net = build(config, tiny_official).double()
        if pruned:
            out = net(features.double(), grid_xy, mask, pooling="class_token", state="last")
        else:
            out = net.pooled_states(features.double(), grid_xy, mask, pooling="class_token")[-1]
        out.square().sum().backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    for name, grad in grads[0].items():
        if grad is not None:
            torch.testing.assert_close(grad, grads[1][name], rtol=1e-9, atol=1e-9, msg=name)


def test_only_the_states_asked_for_are_kept(tiny, make_inputs):
    features, grid_xy, mask = make_inputs([20, 9])
    every = tiny.states(features, grid_xy, mask)
    some = tiny.states(features, grid_xy, mask, layers=(0, 2))
    assert len(some) == 2
    assert torch.equal(some[0], every[0])
    assert torch.equal(some[1], every[2])
    assert tiny.states(features, grid_xy, mask, layers=()) == []


@pytest.mark.parametrize("chunk_tokens", [1, 13, 51])
@pytest.mark.parametrize("grad", [True, False])
def test_chunks_change_nothing(tiny_config, tiny_official, build, make_inputs, chunk_tokens, grad):
    features, grid_xy, mask = make_inputs([50, 40])
    whole = build(tiny_config, tiny_official).double()
    chunked = build(tiny_config, tiny_official, chunk_tokens=chunk_tokens).double()
    with torch.set_grad_enabled(grad):
        for found, expected in zip(
            chunked.states(features, grid_xy, mask),
            whole.states(features, grid_xy, mask),
            strict=True,
        ):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_activation_checkpointing_repeats_its_dropout(
    tiny_config, tiny_official, build, make_inputs
):
    features, grid_xy, mask = make_inputs([50, 40])
    grads = []
    for recompute in (False, True):
        net = build(tiny_config, tiny_official, checkpoint_activations=recompute).train()
        torch.manual_seed(5)
        net(features, grid_xy, mask, pooling="mean").square().sum().backward()
        grads.append(net.blocks[1].ffn.fc1.weight.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("packed", [False, True])
def test_drop_path_skips_whole_slides(tiny_config, tiny_official, build, make_inputs, packed):
    config = tiny_config.with_overrides(dropout=0.0, drop_path=0.9)
    net = build(config, tiny_official).train()
    features, grid_xy, mask = make_inputs([20, 15] if packed else [20, 20])
    assert net.blocks[0].drop_path == 0
    assert net.blocks[1].drop_path == pytest.approx(0.9)
    unchanged = 0
    for seed in range(40):
        torch.manual_seed(seed)
        before, after = net.states(features, grid_xy, mask, layers=(1, 2))
        same = (before == after).all(dim=-1)
        for b in range(2):
            assert same[b, : int(mask[b].sum()) + 1].unique().numel() == 1
        unchanged += int(same[:, 0].sum())
    assert 50 <= unchanged <= 76  # both branches dropped with chance 0.81, of 80


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(tiny, make_inputs, dtype):
    features, grid_xy, mask = make_inputs([50, 33])
    for pooling in ("mean", "class_token"):
        exact = tiny(features, grid_xy, mask, pooling=pooling)
        with torch.autocast("cpu", dtype=dtype):
            out = tiny(features, grid_xy, mask, pooling=pooling)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out, exact, rtol=0, atol=0.15)
        with torch.autocast("cpu", dtype=dtype):
            loss = tiny(features, grid_xy, mask, pooling=pooling).sum()
        loss.backward()
    assert tiny.class_token.grad.isfinite().all()


def test_compiles(tiny, make_inputs):
    features, grid_xy, _ = make_inputs([50])
    compiled = torch.compile(tiny, backend="eager")
    for pooling in ("mean", "class_token"):
        found = compiled(features, grid_xy, pooling=pooling)
        torch.testing.assert_close(found, tiny(features, grid_xy, pooling=pooling))
        found.sum().backward()


def test_initial_weights():
    torch.manual_seed(0)
    net = LongNetViT(embed_dim=192, num_heads=8, depth=2, ffn_dim=384)
    weight = net.blocks[0].ffn.fc1.weight
    assert weight.abs().max() <= (6 / (192 + 384)) ** 0.5
    assert weight.std().item() == pytest.approx((2 / (192 + 384)) ** 0.5, rel=0.02)
    assert not net.blocks[1].attention.v_proj.bias.any()
    assert net.class_token.std().item() == pytest.approx(0.02, rel=0.3)


def test_one_tile(tiny, make_inputs):
    features, grid_xy, _ = make_inputs([1])
    assert tiny(features, grid_xy, pooling="mean").isfinite().all()
    assert tiny(features, grid_xy, pooling="class_token").isfinite().all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda f, g, m: (f[:, :0], g[:, :0], None), EncoderError, "no real tile"),
        (lambda f, g, m: (f, g, torch.zeros_like(m)), EncoderError, "slide 0 .* no real tile"),
        (
            lambda f, g, m: (f[..., :31], g, m),
            EncoderError,
            r"31\); expected floats .*\(B, L, 32\)",
        ),
        (lambda f, g, m: (f, g, None), EncoderError, "NaN"),
        (lambda f, g, m: (f, g[:, :3], m), CoordinateError, "one .column, row. cell per tile"),
        (lambda f, g, m: (f, g.float(), m), CoordinateError, "float32"),
        (lambda f, g, m: (f, g + 60, m), CoordinateError, r"expected 0 to 63.*silently"),
        (lambda f, g, m: (f, g, m[:, :2]), EncoderError, "the mask is"),
    ],
)
def test_bad_input(tiny, make_inputs, change, error, message):
    with pytest.raises(error, match=message):
        tiny(*change(*make_inputs([30, 20])))


@pytest.mark.parametrize("state", [3, -1, "lest", 1.0])
def test_unknown_state(tiny, make_inputs, state):
    with pytest.raises(ConfigError, match="of a slide encoder of 2 blocks"):
        tiny(*make_inputs([5]), state=state)


def test_unknown_names(tiny, make_inputs, tiny_config):
    with pytest.raises(ConfigError, match="pooling is 'max'"):
        tiny(*make_inputs([5]), pooling="max")
    with pytest.raises(ConfigError, match="ascending"):
        tiny.states(*make_inputs([5]), layers=(2, 1))
    with pytest.raises(UnknownNameError, match="did you mean"):
        LongNetViT(tiny_config, attention="dillated")
    with pytest.raises(ConfigError, match="chunk_tokens is 0"):
        LongNetViT(tiny_config, chunk_tokens=0)
