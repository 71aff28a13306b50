"""The read-back of the released code, where it departs from the paper (`legacy_readback`).

The plain path computes it; autograd through the same path gives the gradients. What it is not
defined for is refused. B batch, L positions, H heads, D features per head.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.dilated.naive import UNCOVERED_LSE, naive_dilated_attention
from slidenet.core.errors import AttentionError


def check_legacy(call: DilatedCall, *, gaps: bool) -> None:
    """Refuses what the released read-back is not defined for.

    Raises:
        AttentionError: For a causal call, or a mask with gaps, with `legacy_readback`.
    """
    if call.config.legacy_readback and (call.causal or gaps):
        raise AttentionError(
            "legacy_readback with " + ("a causal call" if call.causal else "gaps in the mask"),
            expected="attention both ways over entries that are padded at their end only",
            remedy="leave legacy_readback out"
            + ("" if call.causal else ", or take masked positions out"),
        )


def legacy_forward(inputs: Sequence[Tensor], config: DilatedConfig) -> tuple[Tensor, Tensor]:
    """Output (B, L, H, D) and log-sum-exp (B, L, H) of q, k, v (B, L, H, D)."""
    q, k, v = inputs
    out, lse = naive_dilated_attention(q, k, v, config)
    lse = lse.transpose(1, 2)
    return out, lse.masked_fill(lse < UNCOVERED_LSE / 2, -torch.inf)


def legacy_backward(
    inputs: Sequence[Tensor], grads: Sequence[Tensor], config: DilatedConfig
) -> tuple[Tensor, ...]:
    """Gradients of q, k and v.

    Args:
        inputs: q, k, v (B, L, H, D).
        grads: Of the output (B, L, H, D) and, where there is one, of the log-sum-exp (B, L, H).
        config: The branches and conventions.
    """
    with torch.enable_grad():
        q, k, v = (x.detach().requires_grad_() for x in inputs)
        out, lse = naive_dilated_attention(q, k, v, config)
        results, given = [out], list(grads)
        if len(given) > 1:
            results.append(lse.transpose(1, 2))
            given[1] = given[1].masked_fill(results[1] < UNCOVERED_LSE / 2, 0.0)
        return torch.autograd.grad(results, (q, k, v), given)
