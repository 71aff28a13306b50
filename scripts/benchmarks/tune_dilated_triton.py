"""Times other launches of the Triton kernels of dilated attention on the GPU at hand.

    python scripts/benchmarks/tune_dilated_triton.py --length 65536

prints, per kernel, the milliseconds of each launch (GigaPath configuration: 16 heads x 48 features,
bfloat16), fastest first, marking the one in use. A faster one goes into `LAUNCHES` of
slidenet/attention/experimental/dilated_triton.py.
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from slidenet.attention.dilated.config import DilatedCall, DilatedConfig
from slidenet.attention.experimental import dilated_triton
from slidenet.attention.experimental.dilated_triton import LAUNCHES, Launch, attend_dilated_triton

GIGAPATH = DilatedCall(DilatedConfig((1024, 5792, 32768, 185363, 1048576), (1, 2, 4, 8, 16)))
KERNELS = {
    "forward": "attend_branches",
    "query": "query_gradients",
    "key": "key_gradients",
}
CANDIDATES = {
    "forward": [
        *(Launch(128, 64, 8, s, r) for s in (2, 3, 4) for r in (None, 128)),
        *(Launch(128, 64, 4, s) for s in (2, 3)),
        *(Launch(128, 128, 8, s) for s in (2, 3)),
        *(Launch(64, k, 4, 3) for k in (32, 64, 128)),
    ],
    "query": [
        *(Launch(128, 64, 8, s, r) for s in (2, 3) for r in (None, 128)),
        *(Launch(128, 32, w, 3) for w in (4, 8)),
        *(Launch(64, k, 4, s) for k in (32, 64) for s in (2, 3)),
    ],
    "key": [
        *(Launch(64, 64, 4, s) for s in (2, 3)),
        *(Launch(64, 128, 8, s) for s in (2, 3)),
        *(Launch(32, k, 4, s) for k in (64, 128) for s in (2, 3)),
        Launch(128, 128, 8, 2),
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=65536)
    length = parser.parse_args().length
    torch.manual_seed(0)
    shape = (4, 1, length, 16, 48)
    *qkv, weight = torch.randn(shape, device="cuda", dtype=torch.bfloat16).unbind(0)
    qkv = [x.clone().requires_grad_() for x in qkv]
    print(torch.cuda.get_device_name(), torch.__version__, f"{length} tokens")
    in_use = LAUNCHES["half", 64]
    for pass_name, candidates in CANDIDATES.items():
        times = []
        for launch in candidates:
            dilated_triton.LAUNCHES["half", 64] = {**in_use, pass_name: launch}
            times.append((milliseconds(KERNELS[pass_name], qkv, weight), launch))
        dilated_triton.LAUNCHES["half", 64] = in_use
        for time, launch in sorted(times, key=lambda pair: pair[0]):
            mark = "  <- in use" if launch == in_use[pass_name] else ""
            print(f"{pass_name:8} {time:8.3f} ms  {launch}{mark}")


def milliseconds(kernel: str, qkv: list[torch.Tensor], weight: torch.Tensor) -> float:
    """Mean GPU time of one kernel over five forward and backward passes."""
    step(qkv, weight)  # compiles
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        for _ in range(5):
            step(qkv, weight)
        torch.cuda.synchronize()
    total = sum(e.device_time_total for e in record.key_averages() if kernel in e.key)
    return total / 5 / 1e3


def step(qkv: list[torch.Tensor], weight: torch.Tensor) -> None:
    out, _ = attend_dilated_triton(*qkv, GIGAPATH)
    torch.autograd.grad(out, qkv, weight)


if __name__ == "__main__":
    main()
