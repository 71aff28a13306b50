"""The released read-back: where it departs from the paper, and its numbers when asked for."""

from pathlib import Path

import pytest
import torch
import yaml

from slidenet.attention import (
    DilatedAttention,
    DilatedConfig,
    attend_dilated,
    reference_dilated_attention,
)
from slidenet.attention.dilated.steps import dilated_steps
from slidenet.core.errors import AttentionError, ParallelError
from slidenet.parallel.dilated.attention import _refusal
from slidenet.parallel.sequence_parallel import _encoders
from slidenet.slide_encoders import LongNetConfig, LongNetViT

PANDA = Path(__file__).resolve().parents[3] / "configs" / "train" / "gigapath_panda.yaml"


def random_qkv(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


def released(q, k, v, w, r):
    """One branch in plain loops, as the released code has it; (L, H, D) in and out, lse (L, H).

    Segments and heads are filled up with zeros, each kept slot attends to all kept slots of its
    filled segment, filled segments are joined, and the first L slots are the output.
    """
    length, heads, _ = q.shape
    w = min(w, length)
    slots, group = -(-w // r) * r, -(-heads // r)
    count = -(-length // w)
    out, lse = q.new_zeros(count * slots, *q.shape[1:]), q.new_full((count * slots, heads), -1e8)
    for segment in range(count):
        tokens = range(segment * w, min((segment + 1) * w, length))
        for head in range(heads):
            places = range(head // group, slots, r)
            rows = [
                [
                    x[tokens[p], head] if p < len(tokens) else torch.zeros_like(x[0, 0])
                    for p in places
                ]
                for x in (q, k, v)
            ]
            q_mD, k_mD, v_mD = (torch.stack(row) for row in rows)
            scores = q_mD @ k_mD.T * q.shape[-1] ** -0.5
            for i, place in enumerate(places):
                at = segment * slots + place
                out[at, head] = scores[i].softmax(0) @ v_mD
                lse[at, head] = scores[i].logsumexp(0)
    return out[:length], lse[:length]


@pytest.mark.parametrize("mixing", ["released", "true"])
@pytest.mark.parametrize(
    ("segments", "rates", "heads", "lengths"),
    [((4, 10), (1, 4), 4, (13, 22)), ((3, 7), (1, 2), 3, (2, 30)), ((7,), (2,), 2, (15, 9))],
)
def test_it_is_the_released_code_in_value_and_gradient(segments, rates, heads, lengths, mixing):
    config = DilatedConfig(segments, rates, mixing_gradient=mixing, legacy_readback=True)
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    inputs = [x.requires_grad_() for x in random_qkv(2, longest, heads, 2)]
    weight, weight_lse, _ = random_qkv(2, longest, heads, 2, seed=1)
    outs, lses = [], []
    for b, length in enumerate(lengths):
        parts = [released(*(x[b, :length] for x in inputs), w, r) for w, r in config.branches]
        stacked = torch.stack([lse for _, lse in parts])
        shares = stacked.softmax(dim=0)
        shares = shares.detach() if mixing == "released" else shares
        out = (shares[..., None] * torch.stack([out for out, _ in parts])).sum(dim=0)
        outs.append(torch.nn.functional.pad(out, (0, 0, 0, 0, 0, longest - length)))
        lses.append(torch.nn.functional.pad(stacked.logsumexp(0), (0, 0, 0, longest - length)))
    wanted = [torch.stack(outs), torch.stack(lses)]
    seen = (wanted[1] > -1e7) & mask[:, :, None]

    def scored(out, lse):
        loss = (out * weight).sum() + (torch.where(seen, lse, 0.0) * weight_lse[..., 0]).sum()
        return [out, torch.where(seen, lse, 0.0), *torch.autograd.grad(loss, inputs)]

    goal = scored(*wanted)
    for attend in (attend_dilated, reference_dilated_attention):
        out, lse = attend(*inputs, config, mask=mask)
        assert torch.equal(lse.transpose(1, 2) > -torch.inf, seen)
        for one, other in zip(scored(out, lse.transpose(1, 2)), goal, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("segments", "rates", "length", "first"),
    [
        ((6, 600), (1, 16), 620, 600),
        ((101,), (2,), 120, 101),
        ((6, 608), (1, 16), 620, None),
        ((6, 600), (1, 16), 600, None),
    ],
)
def test_the_first_token_that_differs_is_the_first_after_a_ragged_segment(
    segments, rates, length, first
):
    q, k, v = random_qkv(1, length, max(rates), 1)
    paper, legacy = (DilatedConfig(segments, rates, legacy_readback=x) for x in (False, True))
    one, other = (attend_dilated(q, k, v, config)[0] for config in (paper, legacy))
    assert legacy.reads_back_shifted(length) == (first is not None)
    differing = (
        (one != other).any(dim=(0, 2, 3))
        if first is None
        else ((one - other).abs() > 1e-9).flatten(2).any(dim=2)[0]
    )
    assert differing.nonzero().flatten().tolist()[:1] == ([] if first is None else [first])


def test_the_limits_of_parity_that_the_documents_state():
    published = LongNetConfig()
    config = DilatedConfig(published.segment_lengths, published.dilation_rates)
    assert config.official_limit == 185_363
    network = yaml.safe_load(PANDA.read_text())["model"]["network_settings"]
    panda = DilatedConfig(network["segment_lengths"], network["dilation_rates"])
    assert panda.official_limit == 23_170
    assert "23,170" in PANDA.read_text()
    assert DilatedConfig((8, 64), (1, 4)).official_limit is None
    assert not config.reads_back_shifted(10**6), "only where it is asked for"


def test_what_it_is_not_defined_for_is_refused():
    q, k, v = random_qkv(1, 20, 2, 2)
    config = DilatedConfig((7,), (2,), legacy_readback=True)
    with pytest.raises(AttentionError, match="legacy_readback with a causal call"):
        attend_dilated(q, k, v, config, causal=True)
    mask = torch.ones(1, 20, dtype=torch.bool)
    mask[0, 3] = False
    with pytest.raises(AttentionError, match="legacy_readback with gaps in the mask"):
        attend_dilated(q, k, v, config, mask=mask)
    with pytest.raises(AttentionError, match="legacy_readback for some heads of a layer"):
        attend_dilated(q, k, v, config, num_heads=4)
    for settings in ({"padding": "masked"}, {"head_order": "paper"}):
        with pytest.raises(AttentionError, match=f"legacy_readback with .*{next(iter(settings))}"):
            DilatedConfig((7,), (2,), legacy_readback=True, **settings)
    with pytest.raises(AttentionError, match="legacy_readback is 'no'"):
        DilatedConfig((7,), (2,), legacy_readback="no")
    with pytest.raises(AttentionError, match="legacy_readback with a causal call"):
        dilated_steps(*(x[0].numpy() for x in (q, k, v)), config, causal=True)
    assert "several ranks" in str(_refusal(q, k, v, None, config))


SMALL = {
    "feature_dim": 4, "embed_dim": 16, "depth": 2, "num_heads": 4, "ffn_dim": 8,
    "segment_lengths": (4, 10), "dilation_rates": (1, 4),
}  # fmt: skip


def test_in_the_slide_encoder():
    torch.manual_seed(0)
    nets = [
        LongNetViT(attention_settings={"legacy_readback": x} if x else {}, **SMALL).eval().double()
        for x in (True, False)
    ]
    nets[1].load_state_dict(nets[0].state_dict())
    features = torch.randn(1, 30, 4, dtype=torch.float64)
    cells = torch.arange(30)[None, :, None].expand(1, 30, 2)
    with torch.no_grad():
        legacy, paper = (net.states(features, cells)[-1] for net in nets)
        assert (legacy - paper).abs().max() > 1e-3
        # The class token computed alone is that of the whole block.
        alone = nets[0](features, cells, pooling="class_token", state="last")
        torch.testing.assert_close(alone, nets[0].norm(legacy[:, 0]), atol=1e-12, rtol=0)
        # Each slide of a batch at its own length.
        mask = torch.arange(30) < torch.tensor([[30], [17]])
        batch = nets[0](features.expand(2, -1, -1), cells.expand(2, -1, -1), mask, pooling="mean")
        single = nets[0](features[:, :17], cells[:, :17], pooling="mean")
        torch.testing.assert_close(batch[1], single[0], atol=1e-12, rtol=0)
    with pytest.raises(ParallelError, match="slide encoder with legacy_readback"):
        _encoders(nets[0])


def test_embeddings_say_it_only_where_it_is_on():
    settings = [
        LongNetConfig(**SMALL, attention_settings=given).pattern_settings()
        for given in ({}, {"legacy_readback": False}, {"legacy_readback": True})
    ]
    assert settings[0] == settings[1]
    assert settings[2] == settings[0] | {"legacy_readback": True}
    assert DilatedAttention(**settings[2]).legacy_readback
