"""Dilated attention on NVIDIA GPUs: two launches forward, three backward, whatever the branches.

The kernels are in `dilated_triton_forward` and `dilated_triton_backward`; Triton is imported at
the first call, so that machines without it import slidenet all the same.

Saved for the backward: q, k, v, the log-sum-exp, and the output ("true" mixing gradient) or each
branch's own output ("released"), at most 5 times the size of one operand.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.kernels.base import contiguous_features

LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Launch:
    """How one kernel is cut up.

    Attributes:
        block_q: Queries per block.
        block_k: Keys per block.
        num_warps: Warps per program.
        num_stages: Blocks of a loop in flight.
        max_registers: Per thread, so that several programs fit on a multiprocessor; None = any.
    """

    block_q: int
    block_k: int
    num_warps: int
    num_stages: int
    max_registers: int | None = None

    @property
    def options(self) -> dict[str, int | None]:
        """As keyword arguments of a kernel with both block sizes."""
        return {
            "BLOCK_Q": self.block_q,
            "BLOCK_K": self.block_k,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
            "maxnreg": self.max_registers,
            "enable_fp_fusion": True,  # multiply-adds in the softmax: fewer instructions
        }


LAUNCHES: dict[tuple[str, int], dict[str, Launch]] = {
    ("half", 64): {
        "forward": Launch(128, 64, 8, 3, 128),
        "query": Launch(128, 64, 8, 2, 128),
        "key": Launch(64, 64, 4, 2),
    },
    ("half", 128): {
        "forward": Launch(128, 64, 8, 2),
        "query": Launch(64, 32, 4, 2),
        "key": Launch(32, 64, 4, 2),
    },
    ("single", 64): {
        "forward": Launch(64, 32, 4, 2),
        "query": Launch(64, 32, 4, 1),
        "key": Launch(32, 32, 4, 1),
    },
}
"""By precision and most features per head.

Chosen by reading the machine code for compute capability 9.0, not yet by timing
(docs/lab-notes.md); scripts/benchmarks/tune_dilated_triton.py times others on the GPU at hand.
"""

MERGE_BLOCK = 32
"""Positions per program of the kernels that bring branches together."""


def triton_refuses(q: Tensor) -> str:
    """Why dilated attention on inputs like q (B, L, H, D) cannot run here, or an empty string."""
    if q.device.type != "cuda":
        return f"needs CUDA tensors, not {q.device.type}"
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"has no {q.dtype} version"
    if _launch_key(q) not in LAUNCHES:
        widest = max(width for precision, width in LAUNCHES if precision == _launch_key(q)[0])
        return f"takes at most {widest} features per head of {q.dtype}, not {q.shape[-1]}"
    if not _has_triton():
        return "needs the package triton"
    if torch.cuda.get_device_capability(q.device) < (8, 0):
        return "needs compute capability 8.0"
    return ""


def _launch_key(q: Tensor) -> tuple[str, int]:
    """Where in `LAUNCHES` to look."""
    return ("single" if q.dtype == torch.float32 else "half"), max(64, _padded(q.shape[-1]))


def _padded(width: int) -> int:
    """Features per head as the kernels hold them: a power of two, at least 16."""
    return max(16, 1 << (width - 1).bit_length())


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def attend_dilated_triton(
    q: Tensor, k: Tensor, v: Tensor, call: DilatedCall
) -> tuple[Tensor, Tensor]:
    """Dilated attention, differentiable through output and log-sum-exp; inputs already checked.

    Args:
        q: Queries (B, L, H, D), for which `triton_refuses` gives "" (or on the CPU, under Triton's
            interpreter).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        call: Settings, mask, and which heads of the layer are at hand.

    Returns:
        Output (B, L, H, D) in the dtype of q and log-sum-exp (B, H, L) in float32.
    """
    q, k, v = (contiguous_features(x) for x in (q, k, v))
    plan = _Call.of(q, call.config, call.mask, call.causal, call.first_head, call.num_heads)
    out, lse = _DilatedTriton.apply(q, k, v, plan)
    return out, lse


class _DilatedTriton(torch.autograd.Function):
    """Forward and backward by Triton kernels."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, call: "_Call") -> tuple[Tensor, Tensor]:
        parts, out, lse = _forward(call, q, k, v)
        ctx.save_for_backward(q, k, v, parts if call.own_outputs else out, lse)
        ctx.call = call
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        q, k, v, outs, lse = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return None, None, None, None
        if grad_out is None:
            grad_out = torch.zeros_like(q)
        grad_out = contiguous_features(grad_out)
        return *_backward(ctx.call, q, k, v, outs, grad_out, lse, grad_lse), None


@dataclass(frozen=True)
class _Call:
    """What all kernels of one call share."""

    config: DilatedConfig
    branches: Tensor
    shape: tuple[int, int, int, int]
    num_rows: int
    lengths: Tensor
    key_mask: Tensor
    mask_strides: tuple[int, int]
    launches: dict[str, Launch]
    constants: dict[str, Any]
    causal: bool
    first_head: int

    @classmethod
    def of(
        cls,
        q: Tensor,
        config: DilatedConfig,
        mask: Tensor | None,
        causal: bool,
        first_head: int = 0,
        num_heads: int | None = None,
    ) -> "_Call":
        """The call for inputs like q (B, L, H, D)."""
        batch, length, heads, width = q.shape
        branches = _heaviest_first(config.branches, length)
        table = _branch_table(branches, q.device)
        lengths, key_mask, strides = table, table, (0, 0)  # never read without a mask
        if mask is not None and q.numel():
            numbers = torch.arange(1, length + 1, device=mask.device)
            # An entry without any real position runs as one of length 1 that is masked.
            ends = (mask * numbers).amax(dim=1).clamp_(min=1)
            lengths = torch.stack([ends, ends - mask.sum(dim=1)], dim=1).to(torch.int32)
            key_mask, strides = mask.view(torch.uint8), (mask.stride(0), mask.stride(1))
        constants = {
            "NUM_BRANCHES": len(branches),
            "NUM_HEADS": heads,
            "ALL_HEADS": num_heads or heads,
            "WIDTH": width,
            "PADDED": _padded(width),
            "PAPER_ORDER": config.head_order == "paper",
            "MASKED": mask is not None,
        }
        return cls(
            config=config,
            branches=table,
            shape=(batch, length, heads, width),
            num_rows=sum(_num_rows(length, *branch) for branch in branches),
            lengths=lengths,
            key_mask=key_mask,
            mask_strides=strides,
            launches=LAUNCHES[_launch_key(q)],
            constants=constants,
            causal=causal,
            first_head=first_head,
        )

    @property
    def own_outputs(self) -> bool:
        """Whether the backward needs the output of each branch, not the mixed one."""
        return self.config.mixing_gradient == "released"

    @property
    def attention_constants(self) -> dict[str, Any]:
        """Compile-time arguments of the kernels that multiply queries and keys."""
        return {**self.constants, "CAUSAL": self.causal, "PRECISION": "tf32x3"}

    def grid(self, block: int) -> tuple[int, int, int]:
        """One program per block of slots, head and entry."""
        batch, length, heads, _ = self.shape
        blocks = sum(_num_blocks(length, w, r, block) for w, r in self.config.branches)
        return blocks, heads, batch

    @property
    def merge_grid(self) -> tuple[int, int, int]:
        """One program per block of positions, head and entry."""
        batch, length, heads, _ = self.shape
        return -(-length // MERGE_BLOCK), heads, batch


def _heaviest_first(
    branches: tuple[tuple[int, int], ...], length: int
) -> tuple[tuple[int, int], ...]:
    """Branches by falling number of keys per query: the longest programs start first."""
    return tuple(sorted(branches, key=lambda b: -(min(b[0], length) // b[1])))


@lru_cache(maxsize=64)
def _branch_table(branches: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Segment lengths and rates for the kernels; kept, since uploading them would cost a launch."""
    largest = torch.iinfo(torch.int32).max
    with torch.inference_mode(False):
        table = [[min(w, largest), min(r, largest)] for w, r in branches]
        return torch.tensor(table, dtype=torch.int32, device=device)


def _num_rows(length: int, segment_length: int, rate: int) -> int:
    """Compact rows of a branch: most positions any head keeps, counted segment after segment."""
    w = min(segment_length, length)
    whole = -(-length // w) - 1
    return whole * -(-w // rate) + -(-(length - whole * w) // rate)


def _num_blocks(length: int, segment_length: int, rate: int, block: int) -> int:
    w = min(segment_length, length)
    slots = -(-w // rate)
    return -(-length // w) * -(-slots // block)


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in x.stride()[:3]]


def _forward(call: _Call, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of the branches (B, H, R, D), mixed output (B, L, H, D), log-sum-exp (B, H, L)."""
    batch, length, heads, width = call.shape
    out = q.new_empty(call.shape)
    lse = q.new_empty((batch, heads, length), dtype=torch.float32)
    if q.numel() == 0:
        return q.new_empty((batch, heads, 0, width)), out, lse
    from slidenet.attention.experimental.dilated_triton_forward import (
        attend_branches,
        merge_branches,
    )

    parts = q.new_empty((batch, heads, call.num_rows, width))
    part_lse = lse.new_empty((batch, heads, call.num_rows))
    launch = call.launches["forward"]
    with torch.cuda.device(q.device if q.is_cuda else -1):
        attend_branches[call.grid(launch.block_q)](
            q, k, v, parts, part_lse, call.branches, call.lengths, call.key_mask,
            *_strides(q, k, v), *call.mask_strides,
            length, call.first_head, call.num_rows, width**-0.5 * LOG2_E,
            ZERO_SLOTS=call.config.padding == "released" and not call.causal,
            **call.attention_constants, **launch.options,
        )  # fmt: skip
        merge_branches[call.merge_grid](
            parts, part_lse, out, lse, call.branches, call.lengths,
            length, call.first_head, call.num_rows,
            **call.constants, BLOCK=MERGE_BLOCK, num_warps=4,
        )  # fmt: skip
    return parts, out, lse


def _backward(
    call: _Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    outs: Tensor,
    grad_out: Tensor,
    lse: Tensor,
    grad_lse: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, each (B, L, H, D)."""
    batch, length, heads, width = call.shape
    grads = q.new_empty(call.shape), q.new_empty(call.shape), q.new_empty(call.shape)
    if q.numel() == 0:
        return grads
    from slidenet.attention.experimental.dilated_triton_backward import (
        key_gradients,
        query_gradients,
        sum_branches,
    )

    rows = (batch, heads, call.num_rows)
    grad_q, grad_k, grad_v = (q.new_empty((*rows, width)) for _ in range(3))
    row_lses, deltas = lse.new_empty(rows), lse.new_empty(rows)
    shared = (
        call.branches, call.lengths, call.key_mask, *_strides(q, k, v, grad_out),
        *call.mask_strides, length, call.first_head, call.num_rows, width**-0.5,
    )  # fmt: skip
    with torch.cuda.device(q.device if q.is_cuda else -1):
        launch = call.launches["query"]
        query_gradients[call.grid(launch.block_q)](
            q, k, v, outs, grad_out, lse, lse if grad_lse is None else grad_lse.contiguous(),
            grad_q, row_lses, deltas, *shared,
            OWN_OUT=call.own_outputs, LSE_GRAD=grad_lse is not None,
            **call.attention_constants, **launch.options,
        )  # fmt: skip
        launch = call.launches["key"]
        key_gradients[call.grid(launch.block_k)](
            q, k, v, grad_out, grad_k, grad_v, row_lses, deltas, *shared,
            **call.attention_constants, **launch.options,
        )  # fmt: skip
        sum_branches[call.merge_grid](
            grad_q, grad_k, grad_v, *grads, call.branches, call.lengths,
            length, call.first_head, call.num_rows,
            **call.constants, BLOCK=MERGE_BLOCK, num_warps=4,
        )  # fmt: skip
    return grads
