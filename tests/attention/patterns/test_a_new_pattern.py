"""What a pattern of one's own needs: its rule, its blocks; or its rule, its call, its cost."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from slidenet.attention import (
    AttentionPattern,
    FixedBlockPattern,
    attend,
    reference_attention,
)
from slidenet.attention.accounting import attention_cost


def documented():
    """The pattern of docs/attention.md, as written there."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "attention.md").read_text()
    code = text.split("## A pattern of your own")[1].split("```python\n")[1].split("```")[0]
    names = {"__name__": __name__}
    exec(code, names)
    return replace(names["pattern"], block_size=4)


class First:
    """Every token sees the first one; no base class at all."""

    name = "first"

    def mask(self, length, num_heads, *, causal=False):
        allowed = torch.zeros(1, length, length, dtype=torch.bool)
        allowed[:, :, :1] = True
        return allowed

    def num_pairs(self, length, num_heads, *, causal=False):
        return num_heads * length

    def __call__(self, q, k, v, *, mask=None, causal=False):
        first = [x.transpose(1, 2)[:, :, :1] for x in (k, v)]
        out, lse = attend(q.transpose(1, 2), *first)
        return out.transpose(1, 2), lse


@pytest.mark.parametrize("pattern", [documented(), First()])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_pattern_from_outside_is_one_of_the_family(pattern, length):
    assert isinstance(pattern, AttentionPattern)
    q, k, v = torch.randn(3, 2, length, 3, 4, dtype=torch.float64).unbind(0)
    allowed = pattern.mask(length, 3)
    want = reference_attention(q, k, v, allowed)
    torch.testing.assert_close(pattern(q, k, v), want, atol=1e-12, rtol=0)
    assert attention_cost(pattern, length, 3, 4).num_pairs == 3 * int(allowed.sum())


def test_blocks_give_call_cost_and_name():
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 7, 3, 4, dtype=torch.float64))
    mask = torch.arange(7) < torch.tensor([[7], [4]])
    pattern = documented()
    out, lse = pattern(q, k, v, mask=mask, causal=True)
    allowed = pattern.mask(7, 3, causal=True)
    want, want_lse = reference_attention(q, k, v, allowed, mask=mask)
    torch.testing.assert_close((out, lse), (want, want_lse), atol=1e-12, rtol=0)
    for got, wanted in zip(
        *(torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, want)), strict=True
    ):
        torch.testing.assert_close(got, wanted, atol=1e-12, rtol=0)
    assert pattern.num_pairs(7, 3, causal=True) == 3 * int(allowed.sum())
    assert pattern.name == "BlockDiagonal"


def test_a_pattern_without_its_rule_is_refused():
    class Ruleless(FixedBlockPattern):
        def layout(self, length, num_heads, *, causal=False):
            return []

    with pytest.raises(TypeError, match="mask"):
        Ruleless()
