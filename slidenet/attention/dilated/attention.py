"""Dilated attention (LongNet) on strided views: no gathers, no padded compute, linear memory.

Every branch is a few rectangles (see `rectangles`); each is one kernel call on views of q, k, v,
and its result is merged into one accumulator through its log-sum-exp. The backward calls the
kernels' backward with the *total* log-sum-exp: with each branch's own output that is the gradient
with the mixing weights held fixed, as released; with the total output it is the true gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.dilated.config import (
    DilatedCall,
    DilatedConfig,
    HeadOrder,
    MixingGradient,
    Padding,
    branch_mask,
)
from slidenet.attention.dilated.packed_batches import attend_in_batches
from slidenet.attention.dilated.packed_passes import attend_by_plan, attend_masked
from slidenet.attention.dilated.packed_plan import PackedCall, kept_plan
from slidenet.attention.dilated.passes import AttendDilated, backward_from, forward_keeping
from slidenet.attention.dilated.rectangles import most_slots, plan_rectangles
from slidenet.attention.dilated.unseen import warn_of_unseen
from slidenet.attention.graph_break import outside_compiled_graphs
from slidenet.attention.kernels.backends import forces_triton, uses_triton
from slidenet.attention.operators import OperatorCall, Result, one_operator
from slidenet.attention.protocol import AttentionPattern, check_inputs
from slidenet.core.errors import AttentionError


def dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    segment_lengths: Sequence[int],
    dilation_rates: Sequence[int],
    mask: Tensor | None = None,
    causal: bool = False,
    head_order: HeadOrder = "released",
    padding: Padding = "released",
    mixing_gradient: MixingGradient = "released",
    legacy_readback: bool = False,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """LongNet's dilated attention (Ding et al. 2023, section 2), as GigaPath released it.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        segment_lengths: Positions per segment, one per branch.
        dilation_rates: One position in r is kept per head, one r per branch.
        mask: Bool (B, L), True = real. An entry padded at its end gives exactly what it gives
            alone. A gap before the last real position keeps its place and is not attended; it is
            no zero slot.
        causal: Keep only keys at or before the query; zero slots come last, so none is seen.
        head_order: Offset of head h: "released" h // ceil(H / r), "paper" h mod r.
        padding: "released" attends to the zero slots that fill segments up, "masked" does not.
        mixing_gradient: "released" sends no gradient through the weights mixing the branches.
        legacy_readback: See `DilatedConfig`.
        return_lse: Also return the log-sum-exp.

    Returns:
        Output (B, L, H, D) in the dtype of q; with `return_lse` also the log-sum-exp (B, H, L).
        Positions without any key are zero with log-sum-exp -inf.

    Raises:
        AttentionError: For tensors or settings that do not fit.
    """
    pattern = DilatedAttention(
        tuple(segment_lengths),
        tuple(dilation_rates),
        head_order,
        padding,
        mixing_gradient,
        legacy_readback,
    )
    out, lse = pattern(q, k, v, mask=mask, causal=causal)
    return (out, lse) if return_lse else out


@dataclass(frozen=True)
class DilatedAttention(DilatedConfig, AttentionPattern):
    """The pattern object of `dilated_attention`, made from the settings of `DilatedConfig`.

    Mask and cost are those of the paper, with `legacy_readback` too.
    """

    name: ClassVar[str] = "dilated"

    @property
    def config(self) -> DilatedConfig:
        """The checked settings."""
        return self

    @property
    def cuts_graphs(self) -> bool:
        """Whether a compiler leaves calls alone: the legacy path gets its gradients by autograd."""
        return self.legacy_readback

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Pairs attended in at least one branch, (H, L, L); real positions only."""
        pairs = torch.zeros(num_heads, length, length, dtype=torch.bool)
        for w, r in self.branches:
            pairs |= branch_mask(length, num_heads, w, r, self.head_order, causal=causal)
        return pairs

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Attended pairs summed over branches; zero slots cost nothing and are not counted."""
        rectangles = plan_rectangles(DilatedCall(self, causal=causal), length, num_heads)
        return sum(
            r.num_queries * (r.num_slots + 1) // 2 if causal else r.num_queries * r.num_slots
            for r in rectangles
        )

    @one_operator
    def __call__(
        self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `AttentionPattern.__call__`."""
        return attend_dilated(q, k, v, self, mask=mask, causal=causal)

    def kept_size(self, batch: int, length: int, num_heads: int, head_dim: int) -> int:
        """See `OperatorPattern.kept_size`: each branch's own output."""
        if not self.keeps_own_outputs:
            return 0
        slots = sum(most_slots(length, w, r) for w, r in self.branches)
        return batch * num_heads * head_dim * slots

    def forward_keeping(
        self, call: OperatorCall, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """See `OperatorPattern.forward_keeping`."""
        q, k, v, mask, causal = call
        check_inputs(q, k, v, mask)
        warn_of_unseen(self, q.shape[2])
        # Triton's kernels keep nothing for the backward, which then computes it once more.
        if not keep and uses_triton(q):
            return *attend_dilated(q, k, v, self, mask=mask, causal=causal), []
        return forward_keeping(q, k, v, DilatedCall(self, mask, causal), keep)

    def backward_from(
        self, call: OperatorCall, grad_out: Tensor | None, grad_lse: Tensor | None, result: Result
    ) -> tuple[Tensor, ...]:
        """See `OperatorPattern.backward_from`."""
        q, k, v, mask, causal = call
        known = DilatedCall(self, mask, causal)
        if result.kept is None and uses_triton(q):
            from slidenet.attention.dilated.triton.calls import backward_of_dilated_triton

            return backward_of_dilated_triton(grad_out, grad_lse, (q, k, v), result[:2], known)
        return backward_from(grad_out, grad_lse, q, k, v, result, known)

    def attend_packed(
        self, q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], *, causal: bool = False
    ) -> tuple[Tensor, Tensor]:
        """See `attend_packed`."""
        warn_of_unseen(self, q.shape[1])
        if self.legacy_readback or uses_triton(q[None]):
            # The legacy path goes by entries; Triton's kernels leave the padding of a batch alone.
            def attend(
                q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None
            ) -> tuple[Tensor, Tensor]:
                return attend_dilated(q, k, v, self, mask=mask, causal=causal)

            return attend_in_batches(q, k, v, lengths, attend)
        heads = q.shape[1]
        plan = kept_plan(PackedCall(self.config, lengths, heads, causal, 0, heads), q.device)
        return attend_by_plan(q, k, v, plan, self, causal=causal)


@outside_compiled_graphs
def attend_dilated(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: DilatedConfig,
    *,
    mask: Tensor | None = None,
    causal: bool = False,
    first_head: int = 0,
    num_heads: int | None = None,
) -> tuple[Tensor, Tensor]:
    """`dilated_attention` with settings already checked; output and log-sum-exp.

    A boundary to `torch.compile`: kernels are chosen here, there is nothing to fuse around them.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        config: The branches and conventions.
        mask: Bool (B, L), True = real.
        causal: Keep only keys at or before the query.
        first_head: With `num_heads`, where the H heads at hand lie among those of the layer:
            heads may be computed a few at a time, or on several machines.
        num_heads: Heads of the layer; H where None.

    Returns:
        Output (B, L, H, D) and log-sum-exp (B, H, L).

    Raises:
        AttentionError: For tensors or heads that do not fit.

    Warns:
        AttentionWarning: Once, where the heads leave tokens out (`warn_of_unseen`).
    """
    check_inputs(q, k, v, mask)
    total = q.shape[2] if num_heads is None else num_heads
    if not 0 <= first_head <= total - q.shape[2]:
        raise AttentionError(
            f"{q.shape[2]} heads from head {first_head} on", expected=f"heads below {total}"
        )
    if config.legacy_readback and (total != q.shape[2] or forces_triton()):
        raise AttentionError(
            "legacy_readback "
            + ("on the Triton kernels" if total == q.shape[2] else "for some heads of a layer"),
            expected="all heads of a layer, on PyTorch's own kernels",
            remedy="leave legacy_readback out, or compute on one device without force_backend",
        )
    warn_of_unseen(config, total)
    call = DilatedCall(config, mask, causal, first_head, num_heads)
    if not config.legacy_readback and uses_triton(q):
        from slidenet.attention.dilated.triton.calls import attend_dilated_triton

        return attend_dilated_triton(q, k, v, call)
    if mask is not None and not config.legacy_readback and not bool(mask.all()):
        return attend_masked(q, k, v, call)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    out, lse = AttendDilated.apply(q, k, v, call, keep)
    return out, lse
