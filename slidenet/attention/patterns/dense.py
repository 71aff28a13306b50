"""Dense attention: every query sees every real key."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.dilated.attention import DilatedAttention
from slidenet.attention.kernels.backends import attend, choose_kernel
from slidenet.attention.kernels.base import Operands
from slidenet.attention.operators import KeepsNothing, OperatorCall, Result, one_operator
from slidenet.attention.protocol import AttentionPattern, check_inputs, zero_masked


@dataclass(frozen=True)
class DenseAttention(KeepsNothing, AttentionPattern):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2.1); quadratic."""

    name: ClassVar[str] = "dense"

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """All pairs, or the lower triangle; (1, L, L)."""
        pairs = torch.ones(1, length, length, dtype=torch.bool)
        return pairs.tril() if causal else pairs

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """H L^2, or H L (L + 1) / 2 when causal."""
        return num_heads * (length * (length + 1) // 2 if causal else length * length)

    def attend_packed(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], *, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `attend_packed`: one segment per slide, nothing left out."""
        whole = DilatedAttention((max(lengths, default=1) or 1,), (1,), padding="masked")
        return whole.attend_packed(q, k, v, lengths, causal=causal)

    @one_operator
    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionPattern.__call__`."""
        check_inputs(q, k, v, mask)
        heads_first = [zero_masked(x, mask).transpose(1, 2) for x in (q, k, v)]
        allowed = None if mask is None else mask[:, None, None, :]
        out, lse = attend(*heads_first, allowed=allowed, causal=causal)
        if mask is not None:
            lse = lse.masked_fill(~mask[:, None, :], -torch.inf)
        return zero_masked(out.transpose(1, 2), mask), lse

    def backward_from(
        self, call: OperatorCall, grad_out: Tensor | None, grad_lse: Tensor | None, result: Result
    ) -> tuple[Tensor, ...]:
        """See `OperatorPattern.backward_from`."""
        q, k, v, mask, causal = call
        out, lse, _ = result
        grad_out = torch.zeros_like(out) if grad_out is None else grad_out
        q, k, v, out, grad_out = (
            zero_masked(x, mask).transpose(1, 2) for x in (q, k, v, out, grad_out)
        )
        if mask is not None and grad_lse is not None:
            grad_lse = grad_lse.masked_fill(~mask[:, None, :], 0.0)
        allowed = None if mask is None else mask[:, None, None, :]
        kernel = choose_kernel(q, masked=mask is not None)
        x = Operands(q, k, v, allowed, causal)
        grads = kernel.backward(x, out, lse, grad_out, grad_lse)
        return tuple(zero_masked(grad.transpose(1, 2), mask) for grad in grads)
