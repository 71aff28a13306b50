"""What every attention pattern of the family is: its mask, its call, its exact cost.

Shapes: B batch, L positions (tokens), H heads, D features per head.

The rule for padding holds for every pattern: a key mask (B, L) is True for real positions, and a
position that is not real neither attends nor is attended. Its output is zero, its log-sum-exp is
-inf and its gradients are zero, whatever its buffers hold (NaN included).
"""

from abc import abstractmethod
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from slidenet.core.errors import AttentionError


class AttentionWarning(UserWarning):
    """Attention that can be computed, though not as its settings suggest."""


@runtime_checkable
class AttentionPattern(Protocol):
    """Which keys each query may see, and how to compute it fast.

    A new pattern gives the three methods, as a subclass or just alike; one that attends whole
    blocks, as a `FixedBlockPattern`, gives its mask and its layout, and gets the rest.
    """

    @property
    def name(self) -> str:
        """The name it is registered under, for messages."""
        return type(self).__name__

    @abstractmethod
    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """The pattern as the user would draw it.

        Args:
            length: Number of positions, L.
            num_heads: Number of heads, H.
            causal: Keep only keys at or before the query.

        Returns:
            Bool (H or 1, L, L), rows are queries, columns are keys, True = attended.
        """

    @abstractmethod
    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Exact number of attended (query, key) pairs over all heads, without building the mask.

        A pair attended in several branches counts once per branch: it is work done each time.
        """

    @abstractmethod
    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Attends.

        Args:
            q: Queries (B, L, H, D).
            k: Keys (B, L, H, D).
            v: Values (B, L, H, D).
            mask: Bool (B, L), True = real.
            causal: Keep only keys at or before the query.

        Returns:
            Output (B, L, H, D) in the dtype of q, and log-sum-exp (B, H, L), float32 (float64 for
            float64 inputs). Rows without any key are zero, with log-sum-exp -inf.

        Raises:
            AttentionError: For inputs `check_inputs` refuses.
        """


def check_inputs(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> None:
    """Refuses q, k, v that are not (B, L, H, D) alike, or a mask that is not bool (B, L).

    Raises:
        AttentionError: Naming what was found.
    """
    if q.ndim != 4 or k.shape != q.shape or v.shape != q.shape:
        raise AttentionError(
            f"q, k, v have shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}",
            expected="three equal shapes (batch, length, heads, features per head)",
        )
    if q.shape[2] == 0 or q.shape[3] == 0:
        raise AttentionError(
            f"q has shape {tuple(q.shape)}", expected="at least one head and one feature per head"
        )
    if not q.is_floating_point() or k.dtype != q.dtype or v.dtype != q.dtype:
        raise AttentionError(
            f"q, k, v are {q.dtype}, {k.dtype}, {v.dtype}", expected="one floating dtype for all"
        )
    if k.device != q.device or v.device != q.device:
        raise AttentionError(
            f"q, k, v are on {q.device}, {k.device}, {v.device}", expected="one device for all"
        )
    if mask is None:
        return
    if mask.dtype != torch.bool or mask.shape != q.shape[:2]:
        raise AttentionError(
            f"the key mask is {mask.dtype} of shape {tuple(mask.shape)}",
            expected=f"bool of shape {tuple(q.shape[:2])}, True = real position",
        )
    if mask.device != q.device:
        raise AttentionError(
            f"the key mask is on {mask.device}", expected=f"{q.device}, like q, k and v"
        )


def zero_masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """(B, L, H, D) with zeros where mask (B, L) is False, so that nothing there can leak."""
    return x if mask is None else torch.where(mask[:, :, None, None], x, x.new_zeros(()))


def real_lengths(mask: Tensor) -> Tensor:
    """Length of each entry of a key mask (B, L) without the padding at its end, int64 (B,)."""
    return (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1)


def lse_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of log-sum-exps and accumulators for inputs of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32
