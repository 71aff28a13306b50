"""Dilated attention of one sequence whose chunks lie on several ranks.

Queries stay where they are. Each rank receives, in one all-to-all, exactly the keys and values its
queries attend to elsewhere, keys and values in one message and none twice; meanwhile it attends to
its own keys. The backward sends the gradients of what was received back, in the same call with the
splits swapped. Results equal `slidenet.attention.dilated_attention` on one device.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention import DilatedConfig, check_inputs, warn_of_unseen
from slidenet.attention.graph_break import outside_compiled_graphs
from slidenet.attention.protocol import lse_dtype, real_lengths
from slidenet.core.errors import AttentionError, ParallelError
from slidenet.parallel.agreement import Fact, agree
from slidenet.parallel.chunks import Chunks, chunks_of
from slidenet.parallel.collectives import gather_rows
from slidenet.parallel.dilated.backward import PartBackward
from slidenet.parallel.dilated.forward import PartForward
from slidenet.parallel.dilated.plan import SharedLayer, plan_on_device
from slidenet.parallel.dilated.views import Part, Setting

SAME_SHAPE = "give every rank its chunk of the same tensors"


@outside_compiled_graphs
def parallel_dilated_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    config: DilatedConfig,
    group: dist.ProcessGroup,
    *,
    chunks: Chunks | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Dilated attention over the chunks of all ranks of `group`; a collective call.

    Args:
        q: Queries of this rank's chunk (B, L_rank, H, D).
        k: Its keys (B, L_rank, H, D).
        v: Its values (B, L_rank, H, D).
        config: The branches and conventions.
        group: The ranks that share the sequence, in the order of its chunks.
        chunks: Who holds what, if the ranks have agreed on it before (`agree_on_chunks`); they
            agree now where None, which costs one small all-gather.
        mask: Bool (B, L_rank), True = real, on all ranks or none; as `dilated_attention`. With a
            mask, all ranks also gather it whole, one byte per position.
        causal: Keep only keys at or before the query.

    Returns:
        Output of the chunk (B, L_rank, H, D), and log-sum-exp (B, H, L_rank).

    Raises:
        AttentionError: For tensors that do not fit each other, or `legacy_readback`, on this rank.
        ParallelError: Where `chunks` is None, on all ranks: if they disagree on shapes, dtypes,
            settings or gradients, or one of them refuses its tensors. Where it is given, nothing is
            compared, and a rank whose chunk is not as it says raises alone. If a rank is lost.
    """
    refusal = _refusal(q, k, v, mask, config)
    if chunks is None:
        masked, gradients = mask is not None, any(x.requires_grad for x in (q, k, v))
        chunks = agree_on_chunks(
            q, config, group, masked=masked, causal=causal, gradients=gradients, refusal=refusal
        )
    elif refusal is not None:
        raise refusal
    warn_of_unseen(config, q.shape[2])
    rank = dist.get_rank(group)
    if chunks.num_ranks != dist.get_world_size(group) or chunks.size(rank) != q.shape[1]:
        raise ParallelError(
            f"rank {rank} of {dist.get_world_size(group)} holds {q.shape[1]} positions",
            expected=f"{chunks.size(rank) if rank < chunks.num_ranks else 'no'} positions, as the "
            f"{chunks.num_ranks} chunks say",
            remedy="leave chunks out, or call agree_on_chunks anew for this sequence",
        )
    parts = tuple(
        Part(
            batch,
            plan_on_device(SharedLayer(cut, q.shape[2], config, causal), rank, q.device),
            real,
            cut.span(rank),
            covers=cut == chunks and len(q[batch]) == len(q),
        )
        for batch, cut, real in _batch_parts(mask, chunks, q, group)
    )
    call = _Call(Setting(config, group, causal), parts)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    out, lse = _ParallelDilated.apply(q, k, v, call, keep)
    return out, lse


def agree_on_chunks(
    q: Tensor,
    config: DilatedConfig,
    group: dist.ProcessGroup,
    *,
    masked: bool = False,
    causal: bool = False,
    gradients: bool | None = None,
    refusal: Exception | None = None,
) -> Chunks:
    """Gathers what every rank holds and checks that it is one sequence; a collective call.

    Args:
        q: Queries of this rank's chunk (B, L_rank, H, D).
        config: The branches and conventions.
        group: The ranks, in the order of the chunks.
        masked: Whether a mask will be given.
        causal: Whether attention will be causal.
        gradients: Whether queries, keys or values have gradients; as `q` has by default.
        refusal: Why this rank cannot go on: it is raised here, and every other rank ends with an
            error that names this one.

    Raises:
        ParallelError: On all ranks, naming one that differs from the others or holds nothing.
    """
    facts: dict[str, Fact] = {}
    if refusal is None:
        recorded = torch.is_grad_enabled() and (q.requires_grad if gradients is None else gradients)
        facts = {
            "batch size": Fact(q.shape[0], SAME_SHAPE),
            "number of heads": Fact(q.shape[2], SAME_SHAPE),
            "features per head": Fact(q.shape[3], SAME_SHAPE),
            "dtype": Fact(q.dtype, SAME_SHAPE),
            "config": Fact(vars(config), "give every rank the same DilatedConfig"),
            "mask": Fact(
                masked, "give every rank the mask of its chunk, or none of them", _given(masked)
            ),
            "causal": Fact(causal, "set causal alike on every rank"),
            "gradients": Fact(
                recorded,
                "let queries, keys or values have gradients on every rank or on none",
                "recorded" if recorded else "off",
            ),
        }
    sizes = agree("dilated attention", facts, [q.shape[1]], group, refusal=refusal)
    return chunks_of([row[0] for row in sizes])


def _given(masked: bool) -> str:
    return "given" if masked else "not given"


def _refusal(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, config: DilatedConfig
) -> AttentionError | None:
    try:
        check_inputs(q, k, v, mask)
        if config.legacy_readback:
            raise AttentionError(
                "legacy_readback on several ranks",
                expected="attention as in the paper, whose outputs belong to their own tokens",
                remedy="leave legacy_readback out, or use one sequence rank",
            )
    except AttentionError as error:
        return error
    return None


def _batch_parts(
    mask: Tensor | None, chunks: Chunks, q: Tensor, group: dist.ProcessGroup
) -> list[tuple[slice, Chunks, Tensor | None]]:
    """Batch entries that run at their own length: which, their chunks, the mask where gapped."""
    everything: list[tuple[slice, Chunks, Tensor | None]] = [(slice(0, q.shape[0]), chunks, None)]
    if mask is None:
        return everything
    largest = max(chunks.size(p) for p in range(chunks.num_ranks))
    padded = torch.nn.functional.pad(mask, (0, largest - mask.shape[1])).to(torch.uint8)
    gathered = gather_rows(padded, group, "the gathering of the key mask")
    pieces = [gathered[p, :, : chunks.size(p)] for p in range(chunks.num_ranks)]
    whole = torch.cat(pieces, dim=1).bool()
    if bool(whole.all()):
        return everything
    ends, counts = real_lengths(whole).tolist(), whole.sum(dim=1).tolist()
    return [
        (slice(b, b + 1), chunks.cut(end), None if count == end else whole[b : b + 1, :end])
        for b, (end, count) in enumerate(zip(ends, counts, strict=True))
        if end
    ]


@dataclass(frozen=True)
class _Call:
    """One call on one rank: its parts, one after another.

    Attributes:
        setting: Branches, ranks, direction of time.
        parts: Batch entries by length, the same on all ranks.
    """

    setting: Setting
    parts: tuple[Part, ...]

    @property
    def is_whole(self) -> bool:
        """Whether one part is all of the batch, without padding: nothing to cut or to join."""
        return len(self.parts) == 1 and self.parts[0].covers

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Output (B, L, H, D), log-sum-exp (B, H, L), and with `keep` what the backward needs."""
        dtype = lse_dtype(q.dtype)
        kept: list[Tensor] = []
        if not self.is_whole:
            out = torch.zeros(q.shape, dtype=dtype, device=q.device)
            lse = torch.full(q.shape[:3], -torch.inf, dtype=dtype, device=q.device)
        for part in self.parts:
            part_out, part_lse, part_kept = PartForward(
                self.setting, part, *(part.cut(x).contiguous() for x in (q, k, v))
            ).run(keep and self.setting.config.needs_own_outputs)
            kept += part_kept if keep else []
            if self.is_whole:
                out, lse = part_out, part_lse
            else:
                out[part.batch, : part.plan.size] = part_out
                lse[part.batch, : part.plan.size] = part_lse
        return out.to(q.dtype), lse.transpose(1, 2), kept

    def backward(
        self,
        grad_out: Tensor,
        grad_lse: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        out: Tensor | None,
        lse: Tensor,
        kept: list[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k, v, given those of the output and of the log-sum-exp (or None)."""
        lse_BLH = lse.transpose(1, 2)
        if grad_lse is not None:
            grad_lse = torch.where(lse_BLH > -torch.inf, grad_lse.transpose(1, 2), 0.0)
        rest, grads = iter(kept), []
        for part in self.parts:
            window = (part.batch, slice(0, part.plan.size))
            one = PartBackward(
                self.setting,
                part,
                [part.cut(x).contiguous() for x in (q, k, v, grad_out)],
                None if out is None else part.cut(out).contiguous(),
                lse_BLH[window].contiguous(),
                None if grad_lse is None else grad_lse[window].contiguous(),
                rest,
            )
            found = one.run()
            if self.is_whole:
                grads = found
                break
            grads = grads or [torch.zeros_like(q, dtype=lse.dtype) for _ in range(3)]
            for grad, some in zip(grads, found, strict=True):
                grad[window] = some
        grads = grads or [torch.zeros_like(q) for _ in range(3)]  # where nothing is real
        return grads[0].to(q.dtype), grads[1].to(q.dtype), grads[2].to(q.dtype)


class _ParallelDilated(torch.autograd.Function):
    """Keeps q, k, v, the log-sum-exp, what was received, and the output or each branch's own."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, call: _Call, keep: bool
    ) -> tuple[Tensor, Tensor]:
        out, lse, kept = call.forward(q, k, v, keep=keep)
        ctx.save_for_backward(
            q, k, v, None if call.setting.config.needs_own_outputs else out, lse, *kept
        )
        ctx.call = call
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, merged, lse, *kept = ctx.saved_tensors
        # A rank whose chunk does not reach the loss still has gradients of others' keys to send.
        if grad_out is None:
            grad_out = torch.zeros_like(q)
        return *ctx.call.backward(grad_out, grad_lse, q, k, v, merged, lse, kept), None, None
