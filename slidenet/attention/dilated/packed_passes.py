"""Forward and backward of dilated attention over a packed batch, by the calls of its plan.

The numbers are those of `passes`: every branch is attended on its own and the branches are mixed by
their log-sum-exps; the backward gives each branch the *total* log-sum-exp, and its own output or
the mixed one.

Shapes: N packed positions, H heads, D features per head, R rows of a branch (see `packed_plan`).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.dilated.packed_plan import (
    Group,
    PackedBranch,
    PackedCall,
    kept_plan,
    plan_packed,
)
from slidenet.attention.kernels.backends import choose_kernel
from slidenet.attention.kernels.base import Operands
from slidenet.attention.merge import safe_logsumexp
from slidenet.attention.protocol import lse_dtype, real_lengths

Plan = Sequence[PackedBranch]


def attend_by_plan(
    q: Tensor, k: Tensor, v: Tensor, plan: Plan, config: DilatedConfig, *, causal: bool
) -> tuple[Tensor, Tensor]:
    """Output (N, H, D) and log-sum-exp (N, H) of packed q, k, v (N, H, D)."""
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    keep = keep and config.keeps_own_outputs
    out, lse = AttendPacked.apply(q, k, v, plan, causal, config.needs_own_outputs, keep)
    return out, lse


def attend_masked(q: Tensor, k: Tensor, v: Tensor, call: DilatedCall) -> tuple[Tensor, Tensor]:
    """`attend_dilated` where some positions are not real: entries without their padding, packed.

    A gap before the last real position keeps its place, and no call reads it.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        call: With a mask.

    Returns:
        Output (B, L, H, D) and log-sum-exp (B, H, L).
    """
    assert call.mask is not None
    mask, heads = call.mask, q.shape[2]
    ends = real_lengths(mask)
    inside = torch.arange(mask.shape[1], device=mask.device) < ends[:, None]
    rows = inside.flatten().nonzero()[:, 0]
    real = mask.flatten().index_select(0, rows)
    lengths = tuple(ends.tolist())
    settings = PackedCall(
        call.config, lengths, heads, call.causal, call.first_head, call.num_heads or heads
    )
    if bool(real.all()):
        plan = kept_plan(settings, q.device)
    else:
        plan = plan_packed(settings, q.device, real.cpu().numpy())
    q_NHD, k_NHD, v_NHD = (x.flatten(0, 1).index_select(0, rows) for x in (q, k, v))
    out, lse = attend_by_plan(q_NHD, k_NHD, v_NHD, plan, call.config, causal=call.causal)
    whole = out.new_zeros(mask.numel(), *out.shape[1:]).index_copy(0, rows, out)
    whole_lse = lse.new_full((mask.numel(), heads), -torch.inf).index_copy(0, rows, lse)
    return whole.view(q.shape), whole_lse.view(*mask.shape, heads).transpose(1, 2)


class AttendPacked(torch.autograd.Function):
    """q, k, v (N, H, D) -> out (N, H, D), lse (N, H).

    Keeps what `AttendDilated` keeps. `own` says whether the backward takes each branch's own output
    instead of the mixed one, `keep` whether a backward will follow and those outputs are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: Plan, causal: bool, own: bool, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """Output and log-sum-exp."""
        rows = [x.reshape(-1, x.shape[-1]) for x in (q, k, v)]
        dtype = lse_dtype(q.dtype)
        lses = torch.full((len(plan), len(rows[0])), -torch.inf, dtype=dtype, device=q.device)
        outs = []
        for branch, lse in zip(plan, lses, strict=True):
            out, own_lse = _own_output(branch, rows, causal)
            lse.index_copy_(0, branch.rows, own_lse)
            outs.append(out)
        total = safe_logsumexp(lses)
        # Rows of no branch have no weights, and nothing reads them.
        weights = torch.softmax(lses, dim=0)
        mixed = torch.zeros(rows[0].shape, dtype=dtype, device=q.device)
        for branch, weight, out in zip(plan, weights, outs, strict=True):
            share = weight.index_select(0, branch.rows)[:, None]
            mixed.index_add_(0, branch.rows, out * share)
        out, lse = mixed.to(q.dtype).view_as(q), total.view(q.shape[:2])
        ctx.save_for_backward(q, k, v, None if own else out, lse, *(outs if own and keep else ()))
        ctx.plan, ctx.causal = plan, causal
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None)."""
        q, k, v, out, lse, *own = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return (None,) * 7
        grad_out = torch.zeros_like(q) if grad_out is None else grad_out
        rows = [x.reshape(-1, x.shape[-1]) for x in (q, k, v)]
        flat_grad, flat_lse = grad_out.reshape(-1, q.shape[-1]), lse.flatten()
        flat_grad_lse = None if grad_lse is None else grad_lse.flatten()
        mixed = None if out is None else out.reshape(-1, q.shape[-1])
        grads = [torch.zeros(rows[0].shape, dtype=lse.dtype, device=q.device) for _ in rows]
        for number, branch in enumerate(ctx.plan):
            if mixed is None:
                own_out = own[number] if own else _own_output(branch, rows, ctx.causal)[0]
            for group in branch.groups:
                x = _operands(group, rows, ctx.causal)
                group_lse = group.gathered(flat_lse)
                if group.filling is not None:  # queries of filling attend to nothing
                    group_lse.masked_fill_(group.filling, -torch.inf)
                parts = choose_kernel(x.q, masked=x.allowed is not None).backward(
                    x,
                    group.spread(own_out) if mixed is None else group.gathered(mixed),
                    group_lse,
                    group.gathered(flat_grad),
                    None if flat_grad_lse is None else group.gathered(flat_grad_lse),
                )
                for grad, part in zip(grads, parts, strict=True):
                    grad.index_add_(0, branch.rows[group.span], group.compact(part).to(grad.dtype))
        return *(grad.to(q.dtype).view_as(q) for grad in grads), None, None, None, None


def _operands(group: Group, rows: Sequence[Tensor], causal: bool) -> Operands:
    q, k, v = (group.gathered(x) for x in rows)
    # Filling comes last, where no causal query sees it.
    filling = None if causal else group.filling
    return Operands(q, k, v, None if filling is None else ~filling[:, :, None], causal)


def _own_output(
    branch: PackedBranch, rows: Sequence[Tensor], causal: bool
) -> tuple[Tensor, Tensor]:
    """Output (R, D) and log-sum-exp (R,) of one branch, zero slots included."""
    features, dtype = rows[0].shape[-1], lse_dtype(rows[0].dtype)
    out = rows[0].new_empty(len(branch.rows), features)
    lse = rows[0].new_empty(len(branch.rows), dtype=dtype)
    for group in branch.groups:
        x = _operands(group, rows, causal)
        part, part_lse = choose_kernel(x.q, masked=x.allowed is not None).forward(x)
        out[group.span] = group.compact(part)
        lse[group.span] = group.compact(part_lse)
    if branch.log_zeros is not None:
        total = torch.logaddexp(lse, branch.log_zeros.to(dtype))
        out.mul_(torch.exp(lse - total)[:, None])
        lse = total
    return out, lse
