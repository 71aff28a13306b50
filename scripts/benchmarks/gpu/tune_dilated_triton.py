"""Times other launches of the Triton kernels of dilated attention on the GPU at hand.

    python scripts/benchmarks/gpu/tune_dilated_triton.py [--lengths 65536] [--dtype bfloat16]
        [--head-dim 48] [--kernels forward query key merge sum] [--workers 8]

prints, per kernel, the milliseconds of each launch (GigaPath configuration, 16 heads), fastest
first, marking the one in use. A faster one goes into `LAUNCHES` or `MERGES` of
slidenet/attention/dilated/triton/calls.py. `--workers` processes compile the candidates
beforehand, side by side; Triton keeps what they compiled on disk. A candidate that the GPU cannot
hold is listed with the reason.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch
from torch.profiler import ProfilerActivity, profile

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.dilated.triton import calls
from slidenet.attention.dilated.triton.calls import LAUNCHES, Launch, attend_dilated_triton

GIGAPATH = DilatedCall(DilatedConfig((1024, 5792, 32768, 185363, 1048576), (1, 2, 4, 8, 16)))
KERNELS = {
    "forward": "attend_branches",
    "query": "query_gradients",
    "key": "key_gradients",
    "merge": "merge_branches",
    "sum": "sum_branches",
}
MERGES = [(block, warps) for block in (16, 32, 64, 128) for warps in (2, 4, 8)]
"""Positions and warps per program of `merge_branches` and `sum_branches`."""

HALF = {
    "forward": [
        *(Launch(64, 64, 4, s, r) for s in (2, 3, 4) for r in (None, 128)),
        *(Launch(128, 64, 8, s, r) for s in (3, 4) for r in (None, 128)),
        *(Launch(128, 128, 4, s) for s in (2, 3)),
        *(Launch(64, k, 4, 3) for k in (32, 128)),
    ],
    "query": [
        *(Launch(128, 64, 8, s, 128) for s in (2, 3, 4)),
        *(Launch(64, 64, 4, s, r) for s in (3, 4) for r in (None, 128, 168)),
        Launch(64, 32, 4, 3),
        Launch(64, 32, 4, 4),
        Launch(128, 32, 8, 3, 128),
    ],
    "key": [
        *(Launch(32, 64, 4, s, r) for s in (2, 3, 4) for r in (None, 168)),
        *(Launch(32, 128, w, s) for w in (4, 8) for s in (3, 4)),
        *(Launch(64, 64, 4, s) for s in (2, 3, 4)),
        *(Launch(16, k, 4, 4) for k in (64, 128)),
        Launch(32, 128, 8, 3, 128),
        Launch(64, 128, 8, 3),
        Launch(32, 32, 4, 3),
    ],
    "merge": MERGES,
    "sum": MERGES,
}
SINGLE = {
    "forward": [
        *(Launch(64, 32, 4, s) for s in (1, 2, 3)),
        *(Launch(128, 32, 8, s) for s in (1, 2)),
        *(Launch(64, 64, 4, s) for s in (1, 2)),
        *(Launch(128, 64, 8, s) for s in (1, 2)),
        Launch(64, 16, 4, 2),
    ],
    "query": [
        *(Launch(64, 32, 4, s) for s in (1, 2)),
        *(Launch(128, 32, 8, s) for s in (1, 2)),
        Launch(64, 64, 4, 1),
        Launch(64, 16, 4, 2),
    ],
    "key": [
        *(Launch(32, 32, 4, s) for s in (1, 2)),
        *(Launch(32, 64, 4, s) for s in (1, 2)),
        *(Launch(64, 64, 8, s) for s in (1, 2)),
        Launch(16, 64, 4, 1),
    ],
    "merge": MERGES,
    "sum": MERGES,
}
WIDE = {
    "forward": [
        *(Launch(128, 64, 8, s) for s in (2, 3)),
        *(Launch(128, 128, 8, s) for s in (2, 3)),
        *(Launch(64, 64, 4, s) for s in (2, 3)),
    ],
    "query": [
        *(Launch(64, 32, 4, s) for s in (2, 3)),
        *(Launch(64, 64, 4, s) for s in (2, 3)),
        *(Launch(128, 64, 8, s) for s in (2, 3)),
        Launch(128, 32, 8, 3),
    ],
    "key": [
        *(Launch(32, 64, 4, s) for s in (2, 3)),
        *(Launch(32, 128, 8, s) for s in (2, 3)),
        *(Launch(64, 64, 8, s) for s in (2, 3)),
        Launch(64, 128, 8, 2),
    ],
    "merge": MERGES,
    "sum": MERGES,
}


Candidate = Launch | tuple[int, int]


@dataclass(frozen=True)
class Case:
    """What is tuned.

    Attributes:
        dtype: Of q, k and v.
        head_dim: Features per head.
        lengths: Tokens.
    """

    dtype: torch.dtype
    head_dim: int
    lengths: tuple[int, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Where in `LAUNCHES`."""
        return ("single" if self.dtype == torch.float32 else "half"), max(64, self.head_dim)

    @property
    def candidates(self) -> dict[str, list[Candidate]]:
        """Of each kernel."""
        if self.key == ("half", 64):
            return HALF
        return WIDE if self.key[0] == "half" else SINGLE

    def in_use(self, name: str) -> Candidate:
        """The launch of a kernel as slidenet has it."""
        if name in calls.MERGES:
            return calls.MERGES[name]
        return LAUNCHES[self.key][name]

    def operands(self, length: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        """q, k, v (1, L, 16, D) and the gradient of the output."""
        torch.manual_seed(0)
        shape = (4, 1, length, 16, self.head_dim)
        *qkv, weight = torch.randn(shape, device="cuda").to(self.dtype).unbind(0)
        return [x.clone().requires_grad_() for x in qkv], weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[65536])
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--head-dim", type=int, choices=(48, 64, 128), default=48)
    parser.add_argument("--kernels", nargs="+", choices=list(KERNELS), default=list(KERNELS))
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    case = Case(getattr(torch, options.dtype), options.head_dim, tuple(options.lengths))
    if case.key not in LAUNCHES:
        parser.error(f"no launches for {options.dtype} and {options.head_dim} features per head")
    pairs = [(name, launch) for name in options.kernels for launch in case.candidates[name]]
    if options.workers > 1:
        shares = [(case, pairs[i :: options.workers]) for i in range(options.workers)]
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            list(pool.map(compile_all, shares))
    for length in case.lengths:
        print(torch.cuda.get_device_name(), torch.__version__, options.dtype, f"{length} tokens")
        inputs = case.operands(length)
        for name in options.kernels:
            times = [(measured(case, name, x, *inputs), x) for x in case.candidates[name]]
            for (time, reason), launch in sorted(times, key=lambda pair: pair[0][0]):
                mark = "  <- in use" if launch == case.in_use(name) else ""
                print(f"{name:8} {time:8.3f} ms  {launch}{mark}{reason}", flush=True)


def compile_all(share: tuple[Case, list[tuple[str, Candidate]]]) -> None:
    """Runs each candidate once, in a process of its own, for what Triton keeps on disk."""
    case, pairs = share
    for length in case.lengths:
        inputs = case.operands(length)
        for name, launch in pairs:
            measured(case, name, launch, *inputs, turns=0)


def measured(
    case: Case,
    name: str,
    launch: Candidate,
    qkv: list[torch.Tensor],
    weight: torch.Tensor,
    turns: int = 5,
) -> tuple[float, str]:
    """Milliseconds of a kernel with this launch, or infinity and why it does not run."""
    table = calls.MERGES if name in calls.MERGES else LAUNCHES[case.key]
    before, table[name] = table[name], launch
    try:
        return milliseconds(KERNELS[name], name, qkv, weight, turns), ""
    except Exception as error:  # out of shared memory or registers: part of the answer
        return float("inf"), f"  {type(error).__name__}: {str(error).splitlines()[0][:90]}"
    finally:
        table[name] = before


def milliseconds(
    kernel: str, name: str, qkv: list[torch.Tensor], weight: torch.Tensor, turns: int
) -> float:
    """Mean GPU time of one kernel over some passes."""
    step(name, qkv, weight)  # compiles
    torch.cuda.synchronize()
    if not turns:
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        for _ in range(turns):
            step(name, qkv, weight)
        torch.cuda.synchronize()
    total = sum(e.device_time_total for e in record.key_averages() if kernel in e.key)
    assert total > 0, f"the profiler saw no kernel {kernel}"
    return total / turns / 1e3


def step(name: str, qkv: list[torch.Tensor], weight: torch.Tensor) -> None:
    out, _ = attend_dilated_triton(*qkv, GIGAPATH)
    if name not in ("forward", "merge"):
        torch.autograd.grad(out, qkv, weight)


if __name__ == "__main__":
    main()
