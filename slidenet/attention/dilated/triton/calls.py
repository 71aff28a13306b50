"""Dilated attention on NVIDIA GPUs: two launches forward, three backward, whatever the branches.

The kernels are in `forward` and `backward`; Triton itself is imported at the first call, so that
`triton_refuses` can tell where it is missing.

Saved for the backward: q, k, v, the log-sum-exp, and the output ("true" mixing gradient) or each
branch's own output ("released"), at most 5 times the size of one operand.
"""

import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.attention.dilated.config import DilatedCall
from slidenet.attention.kernels.base import contiguous_features
from slidenet.attention.operators import SavedForBackward
from slidenet.attention.protocol import real_lengths

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
        "forward": Launch(64, 64, 4, 3),
        "query": Launch(128, 64, 8, 3, 128),
        "key": Launch(32, 128, 8, 3, 128),
    },
    ("half", 128): {
        "forward": Launch(128, 64, 8, 2),
        "query": Launch(64, 64, 4, 2),
        "key": Launch(32, 64, 4, 3),
    },
    ("single", 64): {
        "forward": Launch(128, 64, 8, 2),
        "query": Launch(64, 64, 4, 1),
        "key": Launch(32, 64, 4, 1),
    },
}
"""By precision and most features per head.

Chosen by timing on compute capability 9.0 (docs/lab-notes.md);
scripts/benchmarks/gpu/tune_dilated_triton.py times others on the GPU at hand.
"""

ROW_MULTIPLE = 16
"""Compact rows are a multiple of this; Triton compiles once for multiples and once for others."""

MERGES: dict[str, tuple[int, int]] = {"merge": (32, 2), "sum": (32, 4)}
"""Positions and warps per program of the kernels that bring branches together."""


def triton_refuses(q: Tensor) -> str:
    """Why dilated attention on inputs like q (B, L, H, D) cannot run here, or an empty string."""
    if q.device.type != "cuda":
        return f"needs CUDA tensors, not {q.device.type}"
    if q.dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"has no {q.dtype} version"
    precision, width = _launch_key(q)
    if (precision, width) not in LAUNCHES:
        widest = max(most for one, most in LAUNCHES if one == precision)
        return f"takes at most {widest} features per head of {q.dtype}, not {q.shape[-1]}"
    if reason := _cannot_compile():
        return reason
    if torch.cuda.get_device_capability(q.device) < (8, 0):
        return "needs compute capability 8.0"
    return ""


@lru_cache(maxsize=1)
def _cannot_compile() -> str:
    """What Triton lacks here to build a kernel and the C code around it, or an empty string."""
    if importlib.util.find_spec("triton") is None:
        return "needs the package triton"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "needs a C compiler (gcc, clang or the one that the variable CC names)"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")
    folders = os.environ.get("CPATH", "").split(os.pathsep)
    folders += [sysconfig.get_paths(scheme)["include"]]
    if not any(folder and Path(folder, "Python.h").exists() for folder in folders):
        return "needs the headers of Python (Python.h, in the package python3-dev)"
    names = "TRITON_CACHE_DIR", "TRITON_HOME"
    kept = next((os.environ[x] for x in names if os.environ.get(x)), os.path.expanduser("~"))
    folder = next(x for x in (Path(kept).absolute(), *Path(kept).absolute().parents) if x.exists())
    if not os.access(folder, os.W_OK):
        return f"needs to write into {folder} (or the folder that TRITON_CACHE_DIR names)"
    return ""


def _launch_key(q: Tensor) -> tuple[str, int]:
    """Where in `LAUNCHES` to look."""
    return ("single" if q.dtype == torch.float32 else "half"), max(64, _padded(q.shape[-1]))


def _padded(width: int) -> int:
    """Features per head as the kernels hold them: a power of two, at least 16."""
    return max(16, 1 << (width - 1).bit_length())


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
    out, lse = _AttendDilatedTriton.apply(q, k, v, TritonPlan.of(q, call))
    return out, lse


def backward_of_dilated_triton(
    grad_out: Tensor | None,
    grad_lse: Tensor | None,
    operands: tuple[Tensor, Tensor, Tensor],
    result: tuple[Tensor, Tensor],
    call: DilatedCall,
) -> tuple[Tensor, ...]:
    """Gradients of q, k, v without autograd, from output and log-sum-exp of any backend.

    The branches' own outputs, where the gradient needs them, are computed once more.
    """
    q, k, v = (contiguous_features(x) for x in operands)
    plan, (out, lse) = TritonPlan.of(q, call), result
    own_outputs = call.config.mixing_gradient == "released"
    outs = _branch_outputs(q, k, v, plan)[0] if own_outputs else out.contiguous()
    ctx = SavedForBackward(q, k, v, outs, lse.contiguous(), plan=plan, own_outputs=own_outputs)
    grads = _AttendDilatedTriton.backward(ctx, grad_out, grad_lse)
    return tuple(x for x in grads if x is not None)


class Layout(NamedTuple):
    """Where the kernels find branches, entries and compact rows; one argument of each.

    Attributes:
        branches: Segment length and rate of each branch, int32, on the device.
        lengths: int32 (B, 2): length of each entry, and how many gaps it has before its end.
        key_mask: The mask as bytes (B, L).
        mask_batch: Stride from entry to entry of it.
        mask_step: And from position to position.
        longest: Positions, L.
        first_head: Which head of the layer the first one at hand is.
        num_rows: Compact rows of all branches, R, filled up to a multiple of `ROW_MULTIPLE`.
    """

    branches: Tensor
    lengths: Tensor
    key_mask: Tensor
    mask_batch: int
    mask_step: int
    longest: int
    first_head: int
    num_rows: int


@dataclass(frozen=True)
class TritonPlan:
    """What the kernels of one call share.

    Attributes:
        call: Settings, mask, and which heads of the layer are at hand.
        shape: Of q (B, L, H, D).
        layout: Where the kernels find things.
        constants: Compile-time arguments of every kernel.
        launches: How each kernel is cut up.
    """

    call: DilatedCall
    shape: tuple[int, int, int, int]
    layout: Layout
    constants: dict[str, Any]
    launches: dict[str, Launch]

    @classmethod
    def of(cls, q: Tensor, call: DilatedCall) -> "TritonPlan":
        """The plan for inputs like q (B, L, H, D)."""
        batch, length, heads, width = q.shape
        # By falling number of keys per query: the longest programs start first.
        branches = sorted(call.config.branches, key=lambda b: -(min(b[0], length) // b[1]))
        num_rows = 0  # most positions any head keeps, counted segment after segment
        for segment_length, rate in branches:
            w = max(1, min(segment_length, length))
            whole = -(-length // w) - 1
            num_rows += whole * -(-w // rate) + -(-(length - whole * w) // rate)
        num_rows += -num_rows % ROW_MULTIPLE
        table = _branch_table(tuple(branches), q.device)
        lengths, key_mask, strides = table, table, (0, 0)  # never read without a mask
        if call.mask is not None and q.numel():
            # An entry without any real position runs as one of length 1 that is masked.
            ends = real_lengths(call.mask).clamp_(min=1)
            lengths = torch.stack([ends, ends - call.mask.sum(dim=1)], dim=1).to(torch.int32)
            key_mask = call.mask.view(torch.uint8)
            strides = call.mask.stride(0), call.mask.stride(1)
        layout = Layout(table, lengths, key_mask, *strides, length, call.first_head, num_rows)
        constants = {
            "NUM_BRANCHES": len(branches),
            "NUM_HEADS": heads,
            "ALL_HEADS": call.num_heads or heads,
            "WIDTH": width,
            "PADDED": _padded(width),
            "PAPER_ORDER": call.config.head_order == "paper",
            "MASKED": call.mask is not None,
        }
        shape = (batch, length, heads, width)
        return cls(call, shape, layout, constants, LAUNCHES[_launch_key(q)])

    def attention(self, pass_name: str) -> dict[str, Any]:
        """Keyword arguments of a kernel that multiplies queries and keys."""
        same = {"CAUSAL": self.call.causal, "PRECISION": "tf32x3"}
        return {**self.constants, **same, **self.launches[pass_name].options}

    def grid(self, block: int) -> tuple[int, int, int]:
        """One program per block of slots, head and entry."""
        batch, length, heads, _ = self.shape
        blocks = 0
        for segment_length, rate in self.call.config.branches:
            w = min(segment_length, length)
            slots = -(-w // rate)
            blocks += -(-length // w) * -(-slots // block)
        return blocks, heads, batch

    def merging(self, name: str) -> dict[str, Any]:
        """Keyword arguments of a kernel that brings branches together."""
        block, warps = MERGES[name]
        launch = {"BLOCK": block, "num_warps": warps, "enable_fp_fusion": True}
        return {**self.constants, **launch}

    def merge_grid(self, name: str) -> tuple[int, int, int]:
        """One program per block of positions, head and entry."""
        batch, length, heads, _ = self.shape
        return -(-length // MERGES[name][0]), heads, batch


@lru_cache(maxsize=64)
def _branch_table(branches: tuple[tuple[int, int], ...], device: torch.device) -> Tensor:
    """Segment lengths and rates for the kernels; kept, since uploading them would cost a launch."""
    largest = torch.iinfo(torch.int32).max
    with torch.inference_mode(False):
        table = [[min(w, largest), min(r, largest)] for w, r in branches]
        return torch.tensor(table, dtype=torch.int32, device=device)


def _branch_outputs(q: Tensor, k: Tensor, v: Tensor, plan: TritonPlan) -> tuple[Tensor, Tensor]:
    """Output (B, H, R, D) and log-sum-exp (B, H, R) of each branch, in compact rows."""
    from slidenet.attention.dilated.triton.forward import attend_branches

    batch, _, heads, width = plan.shape
    parts = q.new_empty((batch, heads, plan.layout.num_rows, width))
    part_lse = q.new_empty(parts.shape[:-1], dtype=torch.float32)
    if q.numel():
        with _on(q):
            attend_branches[plan.grid(plan.launches["forward"].block_q)](
                q, k, v, parts, part_lse, plan.layout, *_strides(q, k, v), width**-0.5 * LOG2_E,
                ZERO_SLOTS=plan.call.zero_slots, **plan.attention("forward"),
            )  # fmt: skip
    return parts, part_lse


def _merged(parts: Tensor, part_lse: Tensor, plan: TritonPlan) -> tuple[Tensor, Tensor]:
    """Output (B, L, H, D) and log-sum-exp (B, H, L) of all branches together."""
    from slidenet.attention.dilated.triton.forward import merge_branches

    batch, length, heads, _ = plan.shape
    out = parts.new_empty(plan.shape)
    lse = part_lse.new_empty((batch, heads, length))
    if out.numel():
        with _on(parts):
            merge_branches[plan.merge_grid("merge")](
                parts, part_lse, out, lse, plan.layout, **plan.merging("merge")
            )
    return out, lse


def _on(x: Tensor) -> torch.cuda.device:
    """The device of x is the current one within."""
    return torch.cuda.device(x.device if x.is_cuda else -1)


class _AttendDilatedTriton(torch.autograd.Function):
    """q, k, v (B, L, H, D) -> out (B, L, H, D), lse (B, H, L)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: TritonPlan
    ) -> tuple[Tensor, Tensor]:
        parts, part_lse = _branch_outputs(q, k, v, plan)
        out, lse = _merged(parts, part_lse, plan)
        own_outputs = plan.call.config.mixing_gradient == "released"
        ctx.save_for_backward(q, k, v, parts if own_outputs else out, lse)
        ctx.plan, ctx.own_outputs = plan, own_outputs
        ctx.set_materialize_grads(False)
        return out, lse

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        from slidenet.attention.dilated.triton.backward import (
            key_gradients,
            query_gradients,
            sum_branches,
        )

        q, k, v, outs, lse = ctx.saved_tensors
        if grad_out is None and grad_lse is None:
            return (None,) * 4
        grad_out = torch.zeros_like(q) if grad_out is None else contiguous_features(grad_out)
        plan: TritonPlan = ctx.plan
        batch, _, heads, width = plan.shape
        grads = [q.new_empty(plan.shape) for _ in range(3)]
        if q.numel() == 0:
            return *grads, None
        rows = (batch, heads, plan.layout.num_rows)
        grad_q, grad_k, grad_v = (q.new_empty((*rows, width)) for _ in range(3))
        row_lses, deltas = lse.new_empty(rows), lse.new_empty(rows)
        shared = plan.layout, *_strides(q, k, v, grad_out), width**-0.5
        with _on(q):
            query_gradients[plan.grid(plan.launches["query"].block_q)](
                q, k, v, outs, grad_out, lse, lse if grad_lse is None else grad_lse.contiguous(),
                grad_q, row_lses, deltas, *shared,
                OWN_OUT=ctx.own_outputs, LSE_GRAD=grad_lse is not None, **plan.attention("query"),
            )  # fmt: skip
            key_gradients[plan.grid(plan.launches["key"].block_k)](
                q, k, v, grad_out, grad_k, grad_v, row_lses, deltas, *shared,
                **plan.attention("key"),
            )  # fmt: skip
            sum_branches[plan.merge_grid("sum")](
                grad_q, grad_k, grad_v, *grads, plan.layout, **plan.merging("sum")
            )
        return *grads, None


def _strides(*tensors: Tensor) -> list[tuple[int, ...]]:
    """Of batch, position and head; features are adjacent."""
    return [x.stride()[:3] for x in tensors]
