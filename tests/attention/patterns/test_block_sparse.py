"""What every pattern on the block engine must do, each against the explicit-mask oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from slidenet.attention import (
    BigBirdAttention,
    FixedAttention,
    LongformerAttention,
    SlidingWindowAttention,
    StridedAttention,
    TopKBlocksAttention,
    make_attention,
    reference_attention,
)
from slidenet.attention.patterns import block_sparse as engine
from slidenet.core.errors import AttentionError

PATTERNS = [
    SlidingWindowAttention(window=5),
    SlidingWindowAttention(window=1000),
    SlidingWindowAttention(window=4, dilation=3),
    StridedAttention(),
    StridedAttention(stride=4, window=3),
    StridedAttention(window=4, sampling="random", seed=3),
    FixedAttention(stride=5, summary_tokens=2),
    LongformerAttention(window=4, window_rule="half"),
    LongformerAttention(window=3, global_tokens=(6, 0, 900)),
    LongformerAttention(window=3, global_tokens=()),
    BigBirdAttention(block_size=4, random_blocks=2),
    BigBirdAttention(block_size=3, window_blocks=1, global_blocks=0, random_blocks=2, seed=9),
    BigBirdAttention(block_size=2, global_blocks=2, random_blocks=0),
    TopKBlocksAttention(block_size=4, top_k=2),
    TopKBlocksAttention(block_size=5, top_k=100),
    TopKBlocksAttention(block_size=3, top_k=1),
]
each_pattern = pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
either_direction = pytest.mark.parametrize("causal", [False, True], ids=["both ways", "causal"])


def random_qkv(batch, length, heads, width, *, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, batch, length, heads, width)
    return [x.to(dtype) for x in torch.randn(shape, generator=generator, dtype=torch.float64)]


def expected(pattern, q, k, v, *, mask=None, causal=False):
    """The oracle, each sample at its own length (its last real position + 1)."""
    length, heads = q.shape[1:3]
    outs, lses = [], []
    for b in range(q.shape[0]):
        real = torch.ones(length, dtype=torch.bool) if mask is None else mask[b]
        own = int(real.nonzero().max()) + 1 if real.any() else 0
        parts, real = [x[b : b + 1, :own] for x in (q, k, v)], real[None, :own]
        if isinstance(pattern, TopKBlocksAttention):
            allowed = pattern.mask_for(
                parts[0].detach(), parts[1].detach(), mask=real, causal=causal
            )
        else:
            allowed = pattern.mask(own, heads, causal=causal)
        out, lse = reference_attention(*parts, allowed, mask=real)
        outs.append(torch.nn.functional.pad(out, (0, 0, 0, 0, 0, length - own)))
        lses.append(torch.nn.functional.pad(lse, (0, length - own), value=-torch.inf))
    return torch.cat(outs), torch.cat(lses)


def with_gradients(attend, q, k, v, *, seed=1):
    """out, lse and the gradients of q, k, v for fixed gradients of both."""
    q, k, v = (x.detach().clone().requires_grad_() for x in (q, k, v))
    out, lse = attend(q, k, v)
    generator = torch.Generator().manual_seed(seed)
    weight_out = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    weight_lse = torch.randn(lse.shape, generator=generator, dtype=torch.float64).to(lse.dtype)
    finite = lse.masked_fill(lse == -torch.inf, 0.0)
    loss = (out * weight_out).sum() + (finite * weight_lse).sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, (q, k, v))]


def assert_same(found, wanted, **tolerance):
    assert len(found) == len(wanted)
    names = ["out", "lse", "grad q", "grad k", "grad v"]
    for name, one, other in zip(names, found, wanted, strict=False):
        torch.testing.assert_close(
            one.double(), other.double(), msg=lambda text, name=name: f"{name}: {text}", **tolerance
        )


EXACT = {"rtol": 1e-10, "atol": 1e-10}
either_rule = st.sampled_from(["keys", "half"])


@each_pattern
@either_direction
@pytest.mark.parametrize("length", [1, 2, 37])
def test_equals_the_oracle_in_value_and_gradient(pattern, causal, length):
    q, k, v = random_qkv(2, length, 3, 4)
    found = with_gradients(lambda *x: pattern(*x, causal=causal), q, k, v)
    assert_same(
        found, with_gradients(lambda *x: expected(pattern, *x, causal=causal), q, k, v), **EXACT
    )


@each_pattern
@either_direction
def test_equals_the_oracle_across_many_pieces(pattern, causal, monkeypatch):
    monkeypatch.setattr(engine, "PIECE_ELEMENTS", 200)
    monkeypatch.setattr(engine, "PIECE_SIDE", 3)
    q, k, v = random_qkv(2, 29, 2, 3)
    found = with_gradients(lambda *x: pattern(*x, causal=causal), q, k, v)
    assert_same(
        found, with_gradients(lambda *x: expected(pattern, *x, causal=causal), q, k, v), **EXACT
    )


@each_pattern
@either_direction
def test_masked_positions_neither_attend_nor_leak(pattern, causal):
    mask = torch.ones(5, 23, dtype=torch.bool)
    mask[1, 9:] = False  # padding on the right
    mask[2, [0, 3, 4, 5, 17]] = False  # holes
    mask[3] = False  # nothing real
    mask[4, 1:] = False  # one real position
    q, k, v = random_qkv(5, 23, 2, 4)
    wanted = with_gradients(lambda *x: expected(pattern, *x, mask=mask, causal=causal), q, k, v)
    for x in (q, k, v):
        x[~mask] = torch.nan
    found = with_gradients(lambda *x: pattern(*x, mask=mask, causal=causal), q, k, v)
    assert_same(found, wanted, **EXACT)
    assert (found[0][~mask] == 0).all()
    assert (found[1].transpose(1, 2)[~mask] == -torch.inf).all()
    assert all((grad[~mask] == 0).all() for grad in found[2:])


@each_pattern
@either_direction
def test_right_padding_changes_nothing(pattern, causal):
    q, k, v = random_qkv(2, 30, 2, 4)
    mask = torch.zeros(2, 30, dtype=torch.bool)
    mask[0, :19] = mask[1, :30] = True
    found = with_gradients(lambda *x: pattern(*x, mask=mask, causal=causal), q, k, v)
    for b, own in enumerate((19, 30)):
        parts = [x[b : b + 1, :own] for x in (q, k, v)]
        out, lse = pattern(*parts, causal=causal)
        assert torch.equal(found[0][b, :own], out[0])
        assert torch.equal(found[1][b, :, :own], lse[0])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    pattern=st.one_of(
        st.builds(
            SlidingWindowAttention,
            window=st.integers(1, 90),
            dilation=st.integers(1, 9),
            window_rule=either_rule,
        ),
        st.builds(
            StridedAttention,
            stride=st.one_of(st.none(), st.integers(1, 60)),
            window=st.one_of(st.none(), st.integers(1, 40)),
            sampling=st.sampled_from(["periodic", "random"]),
            seed=st.integers(0, 3),
            window_rule=either_rule,
        ),
        st.builds(
            FixedAttention,
            stride=st.one_of(st.none(), st.integers(1, 60)),
            summary_tokens=st.integers(1, 9),
        ),
        st.builds(
            LongformerAttention,
            window=st.integers(1, 40),
            global_tokens=st.sets(st.integers(0, 60), max_size=4).map(tuple),
            window_rule=either_rule,
        ),
        st.builds(
            BigBirdAttention,
            block_size=st.integers(1, 12),
            window_blocks=st.integers(1, 5),
            global_blocks=st.integers(0, 3),
            random_blocks=st.integers(0, 5),
            seed=st.integers(0, 3),
            window_rule=either_rule,
        ),
        st.builds(TopKBlocksAttention, block_size=st.integers(1, 12), top_k=st.integers(1, 6)),
    ),
    length=st.integers(1, 70),
    heads=st.integers(1, 3),
    causal=st.booleans(),
    num_real=st.integers(0, 70),
    seed=st.integers(0, 5),
)
def test_equals_the_oracle_for_any_shape(pattern, length, heads, causal, num_real, seed):
    q, k, v = random_qkv(2, length, heads, 3, seed=seed)
    mask = torch.ones(2, length, dtype=torch.bool)
    mask[1, num_real:] = False
    found = with_gradients(lambda *x: pattern(*x, mask=mask, causal=causal), q, k, v)
    wanted = with_gradients(lambda *x: expected(pattern, *x, mask=mask, causal=causal), q, k, v)
    assert_same(found, wanted, **EXACT)
    if not isinstance(pattern, TopKBlocksAttention):
        pairs = pattern.mask(length, heads, causal=causal).expand(heads, length, length).sum()
        assert pattern.num_pairs(length, heads, causal=causal) == pairs


@pytest.mark.parametrize(
    "pattern",
    [
        SlidingWindowAttention(window=3),
        StridedAttention(stride=3, window=1),
        LongformerAttention(window=3),
        BigBirdAttention(block_size=1, window_blocks=1, random_blocks=2),
        TopKBlocksAttention(block_size=2, top_k=2),
    ],
    ids=repr,
)
def test_gradcheck(pattern):
    q, k, v = (x.requires_grad_() for x in random_qkv(1, 6, 1, 2))
    mask = torch.arange(6)[None] != 4
    assert gradcheck(
        lambda *x: tuple(y.nan_to_num(neginf=0.0) for y in pattern(*x, mask=mask)), (q, k, v)
    )


@each_pattern
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 6e-2)],
    ids=["float32", "float16", "bfloat16"],
)
def test_lower_precision(pattern, dtype, tolerance):
    q, k, v = random_qkv(2, 33, 2, 8, dtype=dtype)
    mask = torch.ones(2, 33, dtype=torch.bool)
    mask[1, 20:] = False
    found = with_gradients(lambda *x: pattern(*x, mask=mask), q, k, v)
    assert found[0].dtype == found[2].dtype == dtype
    assert found[1].dtype == torch.float32
    wanted = with_gradients(lambda *x: expected(pattern, *x, mask=mask), q, k, v)
    assert_same(found, wanted, rtol=tolerance, atol=tolerance)


@each_pattern
def test_length_zero_and_all_padding(pattern):
    q, k, v = (x.requires_grad_() for x in random_qkv(2, 0, 3, 4))
    out, lse = pattern(q, k, v)
    assert out.shape == (2, 0, 3, 4)
    assert lse.shape == (2, 3, 0)
    out.sum().backward()
    assert pattern.num_pairs(0, 3) == 0
    q, k, v = random_qkv(2, 5, 3, 4)
    out, lse = pattern(q, k, v, mask=torch.zeros(2, 5, dtype=torch.bool))
    assert (out == 0).all()
    assert (lse == -torch.inf).all()


@pytest.mark.parametrize(
    "pattern", [x for x in PATTERNS if not isinstance(x, TopKBlocksAttention)], ids=repr
)
def test_pairs_are_those_of_the_mask(pattern):
    for length in (0, 1, 2, 31, 64):
        for causal in (False, True):
            pairs = pattern.mask(length, 4, causal=causal).expand(4, length, length)
            assert pattern.num_pairs(length, 4, causal=causal) == pairs.sum()


@each_pattern
@either_direction
def test_causal_looks_at_nothing_later(pattern, causal):
    mask = pattern.mask(40, 2, causal=causal)
    assert mask.dtype == torch.bool
    assert mask.shape in {(1, 40, 40), (2, 40, 40)}
    assert bool(mask.triu(1).any()) != causal or pattern == SlidingWindowAttention(window=1)
    assert mask.diagonal(dim1=1, dim2=2).all(), "a query always sees itself"


@pytest.mark.parametrize(
    "name", ["bigbird", "fixed", "longformer", "sliding_window", "strided", "topk_blocks"]
)
def test_chosen_by_name(name):
    pattern = make_attention(name)
    assert pattern.name == name
    q, k, v = random_qkv(1, 9, 2, 4)
    assert_same(pattern(q, k, v), expected(pattern, q, k, v), **EXACT)


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements any operation returned in one tensor."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in result if isinstance(result, tuple | list) else [result]:
            if isinstance(x, torch.Tensor):
                # What is stored counts, not what an expanded view pretends to hold.
                stored = x.untyped_storage().nbytes() // x.element_size()
                self.elements = max(self.elements, min(stored, x.numel()))
        return result


def largest_tensor(pattern, length):
    q, k, v = (x.requires_grad_() for x in random_qkv(1, length, 2, 4, dtype=torch.float32))
    with LargestTensor() as seen:
        pattern(q, k, v)[0].sum().backward()
    return seen.elements


@pytest.mark.parametrize(
    "pattern",
    [
        SlidingWindowAttention(window=33),
        SlidingWindowAttention(window=9, dilation=4),
        StridedAttention(stride=64, window=17),
        StridedAttention(stride=64, window=17, sampling="random"),
        FixedAttention(stride=64),
        LongformerAttention(window=33),
        BigBirdAttention(block_size=16),
        TopKBlocksAttention(block_size=32, top_k=3),
    ],
    ids=repr,
)
def test_no_tensor_grows_faster_than_the_length(pattern, monkeypatch):
    monkeypatch.setattr(engine, "PIECE_ELEMENTS", 1 << 14)
    monkeypatch.setattr(engine, "PIECE_SIDE", 256)
    monkeypatch.setattr("slidenet.attention.patterns.topk_blocks.GATE_ELEMENTS", 1 << 14)
    small, large = largest_tensor(pattern, 2000), largest_tensor(pattern, 4000)
    assert large <= 2.1 * small
    assert large < 4000 * 4000 / 50


def test_the_backward_keeps_only_q_k_v_out_and_lse():
    kept = []
    q, k, v = (x.requires_grad_() for x in random_qkv(1, 500, 2, 4))
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        BigBirdAttention(block_size=16)(q, k, v)
    assert sum(kept) == 4 * q.numel() + 500 * 2


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("sliding_window", {"window": 0}),
        ("sliding_window", {"dilation": 0}),
        ("sliding_window", {"window": 2.5}),
        ("sliding_window", {"window": True}),
        ("strided", {"stride": 0}),
        ("strided", {"sampling": "sometimes"}),
        ("strided", {"window": 0}),
        ("fixed", {"summary_tokens": 0}),
        ("fixed", {"stride": 0}),
        ("sliding_window", {"window_rule": "whole"}),
        ("bigbird", {"window_rule": None}),
        ("strided", {"seed": -1}),
        ("longformer", {"global_tokens": (-1,)}),
        ("longformer", {"global_tokens": (2, 2)}),
        ("longformer", {"window": -3}),
        ("bigbird", {"block_size": 0}),
        ("bigbird", {"window_blocks": 0}),
        ("bigbird", {"random_blocks": -1}),
        ("topk_blocks", {"top_k": 0}),
        ("topk_blocks", {"block_size": "64"}),
    ],
)
def test_bad_settings_are_named(name, bad):
    with pytest.raises(AttentionError, match=next(iter(bad))):
        make_attention(name, **bad)


@each_pattern
def test_bad_inputs_are_refused(pattern):
    q, k, v = random_qkv(1, 6, 2, 4)
    with pytest.raises(AttentionError, match="three equal shapes"):
        pattern(q, k[:, :5], v)
    with pytest.raises(AttentionError, match="key mask"):
        pattern(q, k, v, mask=torch.ones(1, 6))
