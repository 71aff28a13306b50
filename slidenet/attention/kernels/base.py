"""What a kernel of softmax attention is, and what kernels share.

Shapes: B batch, H heads, Lq queries, Lk keys, D features per head.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from slidenet.attention.protocol import lse_dtype

LSE_FEATURES = 8
"""Features a backward adds to carry the gradient of the log-sum-exp; GPUs want multiples of 8."""


class Operands(NamedTuple):
    """What one kernel call computes on.

    Attributes:
        q: Queries (B, H, Lq, D), as a strided view.
        k: Keys (B, H, Lk, D).
        v: Values (B, H, Lk, D).
        allowed: Bool, broadcastable to (B, H, Lq, Lk), True = attended; None = all.
        causal: Query i sees keys <= i, of those allowed.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    allowed: Tensor | None = None
    causal: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is no query or no key; the ATen kernels divide by zero then."""
        return self.q.numel() == 0 or self.k.numel() == 0

    @property
    def scale(self) -> float:
        """What scores are multiplied by."""
        return float(self.q.shape[-1] ** -0.5)

    def rows_with_keys(self) -> Tensor:
        """Which queries see at least one allowed key: bool (B, H, Lq)."""
        assert self.allowed is not None
        rows = self.allowed.any(dim=-1)
        if self.causal:
            first = self.allowed.to(torch.uint8).argmax(dim=-1)  # the first key allowed at all
            first = torch.where(rows, first, self.k.shape[-2])
            rows = first <= torch.arange(self.q.shape[-2], device=self.q.device)
        return rows.expand(self.q.shape[:-1])


class Kernel(ABC):
    """Softmax attention with its log-sum-exp and its backward.

    A new kernel gives `refuses`, `run_forward` and `run_backward`, and a place in
    `kernels.backends.PREFERENCE`.

    Attributes:
        name: The name it is forced by.
    """

    name: ClassVar[str]

    @abstractmethod
    def refuses(self, q: Tensor, masked: bool) -> str:
        """Why inputs like q (B, H, Lq, D) cannot run here, or an empty string."""

    @abstractmethod
    def run_forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """As `forward`, with at least one query and one key."""

    @abstractmethod
    def run_backward(
        self, x: Operands, out: Tensor, lse: Tensor, grad_out: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v for weights exp(q k^T scale - lse) and row sums grad_out . out.

        At least one query and one key; lse is +inf for rows without keys.
        """

    def forward(self, x: Operands) -> tuple[Tensor, Tensor]:
        """Output (B, H, Lq, D) and log-sum-exp (B, H, Lq); rows without keys are 0 and -inf."""
        if x.is_empty:
            lse = x.q.new_full(x.q.shape[:-1], -torch.inf, dtype=lse_dtype(x.q.dtype))
            return torch.zeros_like(x.q), lse
        return self.run_forward(x)

    def backward(
        self,
        x: Operands,
        out: Tensor,
        lse: Tensor,
        grad_out: Tensor,
        grad_lse: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v.

        A flash backward computes dS = P * (grad_out v^T - rowsum(grad_out * out)); what is missing
        for the log-sum-exp is + P * grad_lse. One more feature with grad_out 1, out -grad_lse and
        v 0 puts it into the row sum and changes nothing else.

        Args:
            x: What the forward got.
            out: Output (B, H, Lq, D); it and `lse` may be those of a larger key set than k, v.
            lse: Log-sum-exp (B, H, Lq).
            grad_out: Gradient of the output.
            grad_lse: Gradient of the log-sum-exp, or None.
        """
        if x.is_empty:
            return torch.zeros_like(x.q), torch.zeros_like(x.k), torch.zeros_like(x.v)
        width = x.q.shape[-1]
        if grad_lse is not None:
            q, k, v, out, grad_out = (
                torch.nn.functional.pad(y, (0, LSE_FEATURES))
                for y in (x.q, x.k, x.v, out, grad_out)
            )
            out[..., width] = -grad_lse.to(out.dtype)
            grad_out[..., width] = 1.0
            x = x._replace(q=q, k=k, v=v)
        # +inf instead of -inf, so that exp(score - lse) is zero in rows without keys.
        lse = lse.masked_fill(lse == -torch.inf, torch.inf)
        grad_q, grad_k, grad_v = self.run_backward(x, out, lse, grad_out, width**-0.5)
        return grad_q[..., :width], grad_k[..., :width], grad_v[..., :width]


def contiguous_features(x: Tensor) -> Tensor:
    """The tensor itself when its features are adjacent in memory, else a copy where they are."""
    return x if x.stride(-1) == 1 else x.contiguous()
