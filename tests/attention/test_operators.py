"""Patterns as operators: the same numbers and gradients, told by name and settings."""

import warnings

import pytest
import torch
from torch.library import opcheck

from slidenet.attention import (
    ATTENTION_PATTERNS,
    DilatedAttention,
    dilated_attention,
    force_backend,
    make_attention,
)
from slidenet.attention.dilated.rectangles import most_slots, plan_branch
from slidenet.attention.operators import CARRIED, is_carried, pattern_of, text_of
from slidenet.core.errors import AttentionError

SETTINGS = {
    "bigbird": {"block_size": 4},
    "dense": {},
    "dilated": {"segment_lengths": (4, 8, 16), "dilation_rates": (1, 2, 4)},
    "fixed": {"stride": 5},
    "longformer": {"window": 6, "global_tokens": (0, 3)},
    "sliding_window": {"window": 5},
    "strided": {"stride": 5, "window": 3},
    "topk_blocks": {"block_size": 4, "top_k": 2},
}
LENGTH, HEADS = 21, 4


def operands(requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, LENGTH, HEADS, 4, generator=generator).requires_grad_(requires_grad)
        for _ in range(3)
    ]


def key_mask():
    """One whole entry, one padded and one with a gap."""
    mask = torch.ones(3, LENGTH, dtype=torch.bool)
    mask[1, 12:] = mask[2, 5] = mask[2, 19:] = False
    return mask


def test_every_pattern_is_carried():
    assert set(SETTINGS) == set(CARRIED) == set(ATTENTION_PATTERNS)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_an_operator_gives_what_its_pattern_gives(name, masked, keep):
    pattern = make_attention(name, **SETTINGS[name])
    mask = key_mask() if masked else None
    inputs, again = operands(), operands()
    want, want_lse = pattern(*inputs, mask=mask, causal=masked)
    out, lse, kept = torch.ops.slidenet.attend(*again, mask, text_of(pattern), masked, keep)
    # Without an operator, dilated attention packs a padded batch: other sums, to rounding.
    atol = 2e-6 if masked and name == "dilated" else 0
    torch.testing.assert_close((out, lse), (want, want_lse), atol=atol, rtol=0)
    assert bool(kept.numel()) == (keep and name == "dilated")
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    finite = want_lse > -torch.inf
    for use_lse in (False, True):
        found = []
        for x, y, some in ((want, want_lse, inputs), (out, lse, again)):
            loss = (x * weights).sum() + (y[finite].square().sum() if use_lse else 0)
            found.append(torch.autograd.grad(loss, some, retain_graph=True))
        torch.testing.assert_close(*found, atol=5 * atol, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_operators_are_what_they_declare(name):
    text = text_of(make_attention(name, **SETTINGS[name]))
    for mask in (None, key_mask()):
        opcheck(torch.ops.slidenet.attend.default, (*operands(), mask, text, False, True))


@pytest.mark.parametrize("name", SETTINGS)
def test_a_pattern_is_told_by_name_and_settings(name):
    pattern = make_attention(name, **SETTINGS[name])
    assert pattern_of(text_of(pattern)) == pattern


def test_text_of_another_version_or_class():
    with pytest.raises(AttentionError, match=r"'spiral \{\}'; expected one of .*dilated.*anew"):
        pattern_of("spiral {}")
    with pytest.raises(AttentionError, match="with settings of this version"):
        pattern_of("dense {'temperature': 2}")

    class Wider(DilatedAttention):
        """Another pattern under the name it inherits."""

    assert is_carried(make_attention("dilated", **SETTINGS["dilated"]))
    assert not is_carried(Wider(**SETTINGS["dilated"]))


def test_what_is_kept_has_room_at_every_length():
    for w, r in [(4, 1), (7, 2), (8, 3), (16, 16), (5, 5)]:
        for length in range(40):
            held = plan_branch(length, [h % r for h in range(r)], w, r, zero_slots=False)
            assert sum(x.num_queries for x in held) <= r * most_slots(length, w, r)
            assert most_slots(length, w, r) <= (length + (r - 1) * -(-length // w)) / r


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q, k[:, :4], v, None), "three equal shapes"),
        (lambda q, k, v: (q[0], k[0], v[0], None), "three equal shapes"),
        (lambda q, k, v: (q.long(), k, v, None), "one floating dtype"),
        (lambda q, k, v: (q, k, v, torch.ones(3, LENGTH)), "the key mask is torch.float32"),
    ],
)
def test_bad_input(change, message):
    inputs = change(*operands(requires_grad=False))
    for name, settings in SETTINGS.items():
        with pytest.raises(AttentionError, match=message):
            torch.ops.slidenet.attend(*inputs, f"{name} {settings!r}", False, False)


def test_unseen_tokens_are_warned_of():
    text = "dilated {'segment_lengths': (64,), 'dilation_rates': (37,)}"
    with pytest.warns(UserWarning, match="offsets that no head keeps"):
        torch.ops.slidenet.attend(*operands(), None, text, False, False)


def test_a_second_derivative_is_refused():
    inputs = operands()
    out, _, _ = torch.ops.slidenet.attend(*inputs, None, "dense {}", False, True)
    (grad,) = torch.autograd.grad(out.sum(), inputs[0], create_graph=True)
    with pytest.raises(AttentionError, match="second derivative"):
        grad.sum().backward()


@pytest.mark.slow
def test_compiled_functions_follow_the_call():
    def run(q, k, v, mask=None):
        settings = SETTINGS["dilated"]
        return dilated_attention(q * 2, k, v, **settings, mask=mask, return_lse=True)

    compiled = torch.compile(run, backend="aot_eager", fullgraph=True)
    inputs, again = operands(), operands()
    for mask in (None, key_mask()):
        want, found = run(*inputs, mask), compiled(*again, mask)
        torch.testing.assert_close(found, want, atol=0 if mask is None else 2e-6, rtol=0)
        grads = [
            torch.autograd.grad(x[0].sum(), some) for x, some in ((want, inputs), (found, again))
        ]
        # The compiler gives the log-sum-exp, which nobody reads, a gradient of zeros.
        torch.testing.assert_close(*grads, atol=1e-5, rtol=0)
    with force_backend("math"):
        assert torch.equal(compiled(*inputs)[0], run(*inputs)[0])
    with force_backend("cuda_flash"), pytest.raises(AttentionError, match="needs CUDA tensors"):
        compiled(*inputs)


@pytest.mark.slow
def test_forced_within_compiled_code_and_of_another_package():
    dense = make_attention("dense")

    class Own:
        """A pattern just alike, of plain operations; a compiler looks inside or goes around."""

        name = "own"

        def __call__(self, q, k, v, *, mask=None, causal=False):
            return dense(q, k, v, mask=mask, causal=causal)

    def run(q, k, v):
        with force_backend("math"):
            return Own()(q, k, v)[0]

    inputs = operands(requires_grad=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.compile(run, backend="aot_eager")(*inputs)
    assert torch.equal(found, run(*inputs))
