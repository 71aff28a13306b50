"""Speed and memory of dilated attention in the GigaPath configuration, as a markdown table.

bench_attention.py [--rows forward backward dense growth memory build million] [--threads 1 2]
                   [--lengths 1024 4096 16384 65536] [--seconds 20] [--clock cpu]
                   [--device cuda] [--backend triton]

Ratios come from one run: both sides in this process, taken in turns, medians of several rounds.
`naive` is slidenet.attention.dilated.naive (LongNet's published steps), `dense` is PyTorch's SDPA,
and the machine's matmul rate is that of 2048 x 2048 products in the same dtype, taken in the same
turns. Shares count only the products over attended pairs. `--clock cpu` times this thread's own
work (one thread on a CPU only), for machines that others use as well. `--backend` forces what
computes our side; `naive` and `dense` stay what they are.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor

from slidenet.attention import DilatedAttention, DilatedConfig, attend_dilated, force_backend
from slidenet.attention.accounting import attention_cost
from slidenet.attention.dilated.naive import naive_dilated_attention

SEGMENT_LENGTHS = (1024, 5792, 32768, 185363, 1048576)
DILATION_RATES = (1, 2, 4, 8, 16)
CONFIG = DilatedConfig(SEGMENT_LENGTHS, DILATION_RATES)
PATTERN = DilatedAttention(SEGMENT_LENGTHS, DILATION_RATES)
NUM_HEADS, HEAD_DIM = 16, 48
WIDTH = NUM_HEADS * HEAD_DIM
MATMUL_SIDE = 2048
MILLION = 1_048_576
GROWTH_LENGTHS = (65_536, 262_144, MILLION)
MEMORY_LENGTH = 65_536
TURNS = {"cpu": 15, "cuda": 50}
"""Most turns of a measurement; a GPU's are short."""

ROWS = ("forward", "backward", "dense", "growth", "memory", "build", "million")
GOALS = {
    "cpu": {"forward": 1.5, "backward": 1.4, "dense": {4096: 1.8, 16384: 4.3, 65536: 9.5}},
    "cuda": {"forward": 2.0, "backward": 1.5, "dense": {65536: 8.0}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--backend", help="what computes our side; the default choice otherwise")
    parser.add_argument("--seconds", type=float, default=20, help="budget of each measurement")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--growth-heads", type=int, default=4, help="of 16, to save time")
    parser.add_argument("--child", choices=("memory", "build", "million"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.dtype is None:
        options.dtype = "float32" if options.device == "cpu" else "bfloat16"
    if options.clock == "cpu" and (options.device != "cpu" or options.threads != [1]):
        parser.error("--clock cpu needs --device cpu and --threads 1")
    if options.child:
        torch.set_num_threads(options.threads[0])
        print(json.dumps(CHILDREN[options.child](options)))
        return
    print(describe_machine(options))
    print("\n| what | tokens | threads | measured | at least |\n|---|---|---|---|---|")
    threads = options.threads if options.device == "cpu" else options.threads[:1]
    for row in options.rows:
        for count in threads:
            torch.set_num_threads(count)
            PRINTERS[row](options, count)


def describe_machine(options: argparse.Namespace) -> str:
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    if options.device == "cuda":
        name = f"{torch.cuda.get_device_name()}, {name}"
    return (
        f"{name}, {os.cpu_count()} cores, PyTorch {torch.__version__}, {options.dtype}, "
        f"clock: {options.clock}\n\nCommand: `python scripts/benchmarks/bench_attention.py "
        f"{' '.join(sys.argv[1:])}`"
    )


def emit(what: str, tokens: int | str, threads: int, measured: str, goal: str = "") -> None:
    print(f"| {what} | {tokens} | {threads} | {measured} | {goal} |", flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds > 0.01 else f"{seconds * 1e3:.3f} ms"


def medians(sides: Sequence[Callable[[], object]], options: argparse.Namespace) -> list[float]:
    """Median seconds of each side; sides take turns until the budget is spent, at least once."""
    clock = time.perf_counter if options.clock == "wall" else time.thread_time
    taken: list[list[float]] = [[] for _ in sides]

    def round_() -> float:
        for side, seconds in zip(sides, taken, strict=True):
            synchronize(options)
            start = clock()
            side()
            synchronize(options)
            seconds.append(clock() - start)
        return sum(seconds[-1] for seconds in taken)

    spent = round_()
    if options.device == "cuda":
        spent = round_()  # the first round compiled kernels
    if spent < options.seconds / 2:  # and warmed up
        for seconds in taken:
            seconds.clear()
        spent = 0.0
    while not taken[0] or (len(taken[0]) < TURNS[options.device] and spent < options.seconds):
        spent += round_()
    return [statistics.median(seconds) for seconds in taken]


def synchronize(options: argparse.Namespace) -> None:
    if options.device == "cuda":
        torch.cuda.synchronize()


def operands(options: argparse.Namespace, length: int, heads: int = NUM_HEADS) -> list[Tensor]:
    """q, k, v (1, L, H, D), each a projection of its own as in the released model."""
    generator = torch.Generator(options.device).manual_seed(length)
    shape = (1, length, heads, HEAD_DIM)
    dtype = getattr(torch, options.dtype)
    return [
        torch.randn(shape, generator=generator, device=options.device, dtype=dtype)
        for _ in range(3)
    ]


def ours(options: argparse.Namespace) -> Callable[..., tuple[Tensor, Tensor]]:
    """`attend_dilated` on the backend asked for."""

    def attend(*args: object, **settings: object) -> tuple[Tensor, Tensor]:
        with force_backend(options.backend) if options.backend else nullcontext():
            return attend_dilated(*args, **settings)

    return attend


def forward_rows(options: argparse.Namespace, threads: int) -> None:
    goal = GOALS[options.device]["forward"]
    dtype = getattr(torch, options.dtype)
    square = torch.randn(MATMUL_SIDE, MATMUL_SIDE, device=options.device, dtype=dtype)
    ratios = []
    for length in options.lengths:
        q, k, v = operands(options, length)
        sides = [
            lambda: square @ square,
            lambda q=q, k=k, v=v: ours(options)(q, k, v, CONFIG),
            lambda q=q, k=k, v=v: naive_dilated_attention(q, k, v, CONFIG),
        ]
        with torch.no_grad():
            product, fast, naive = medians(sides, options)
        ratios.append(naive / fast)
        rate = attention_cost(PATTERN, length, NUM_HEADS, HEAD_DIM).forward_flops / fast
        peak = 2 * MATMUL_SIDE**3 / product
        times = f"({ms(fast)}, naive {ms(naive)})"
        emit("forward vs naive", length, threads, f"{naive / fast:.2f}x {times}")
        share = f"{rate / peak:.0%} ({rate / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s)"
        wanted = "70 %" if length >= 4096 and threads == 1 and options.device == "cpu" else ""
        emit("share of matmul rate, forward", length, threads, share, wanted)
    mean = statistics.geometric_mean(ratios)
    emit("forward vs naive, geometric mean", "all", threads, f"{mean:.2f}x", f"{goal}x")


def backward_rows(options: argparse.Namespace, threads: int) -> None:
    ratios = []
    for length in options.lengths:
        inputs = [x.requires_grad_() for x in operands(options, length)]
        cotangent = torch.randn_like(inputs[0])

        def side(attention: Callable[..., tuple[Tensor, Tensor]], inputs=inputs, w=cotangent):
            return lambda: torch.autograd.grad(attention(*inputs, CONFIG)[0], inputs, w)

        fast, naive = medians([side(ours(options)), side(naive_dilated_attention)], options)
        ratios.append(naive / fast)
        times = f"({ms(fast)}, naive {ms(naive)})"
        emit("forward + backward vs naive", length, threads, f"{naive / fast:.2f}x {times}")
    mean, goal = statistics.geometric_mean(ratios), GOALS[options.device]["backward"]
    emit("forward + backward vs naive, geometric mean", "all", threads, f"{mean:.2f}x", f"{goal}x")


def dense_rows(options: argparse.Namespace, threads: int) -> None:
    goals = GOALS[options.device]["dense"]
    for length in options.lengths:
        q, k, v = operands(options, length)
        sides = [
            lambda q=q, k=k, v=v: ours(options)(q, k, v, CONFIG),
            lambda q=q, k=k, v=v: torch.nn.functional.scaled_dot_product_attention(
                q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            ),
        ]
        with torch.no_grad():
            fast, dense = medians(sides, options)
        times = f"({ms(fast)}, dense {ms(dense)})"
        goal = f"{goals[length]}x" if length in goals else ""
        emit("forward vs dense SDPA", length, threads, f"{dense / fast:.2f}x {times}", goal)


def growth_rows(options: argparse.Namespace, threads: int) -> None:
    """Time per token beside the exact operations per token, over the first heads of the layer."""
    heads = options.growth_heads
    first: tuple[float, float] | None = None
    for length in GROWTH_LENGTHS:
        q, k, v = operands(options, length, heads)
        # All heads of the layer have the same pairs to within a slot, so the ratio is the layer's.
        flops = attention_cost(PATTERN, length, NUM_HEADS, HEAD_DIM).forward_flops / length
        with torch.no_grad():
            (seconds,) = medians(
                [lambda q=q, k=k, v=v: ours(options)(q, k, v, CONFIG, num_heads=NUM_HEADS)],
                options,
            )
        seconds /= length
        if first is None:
            first = (seconds, flops)
        time_ratio, flop_ratio = seconds / first[0], flops / first[1]
        off = time_ratio / flop_ratio - 1
        text = (
            f"{seconds * 1e6 * NUM_HEADS / heads:.4g} us/token, x{time_ratio:.2f}; "
            f"{flops / 1e6:.1f} MFLOP/token, x{flop_ratio:.2f}; {off:+.0%}"
        )
        emit(f"growth per token ({heads} of 16 heads timed)", length, threads, text, "within 15 %")


def memory_rows(options: argparse.Namespace, threads: int) -> None:
    found = run_child("memory", options, threads)
    unit = "N x D float32"
    emit(f"peak extra memory, forward ({unit})", MEMORY_LENGTH, threads, found["infer"], "<= 6")
    emit(f"same, keeping for backward ({unit})", MEMORY_LENGTH, threads, found["train"], "<= 6")
    emit(f"saved for backward ({unit})", MEMORY_LENGTH, threads, found["saved"], "<= 5")


def build_rows(options: argparse.Namespace, threads: int) -> None:
    found = run_child("build", options, threads)
    emit("building the full encoder", "", threads, found["text"], "< 1 s, < 1 GB")


def million_rows(options: argparse.Namespace, threads: int) -> None:
    found = run_child("million", options, threads)
    emit("one layer forward, bfloat16 storage", MILLION, threads, found["text"], "<= 16 GB")


def run_child(name: str, options: argparse.Namespace, threads: int) -> dict[str, str]:
    """Measures in a process of its own, whose memory nothing else has touched."""
    command = [sys.executable, __file__, "--child", name, "--threads", str(threads)]
    command += ["--device", options.device, "--dtype", options.dtype]
    command += ["--backend", options.backend] if options.backend else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_bytes(options: argparse.Namespace, run: Callable[[], object]) -> int:
    """Memory above the present while `run` runs: of the device, or resident (Linux)."""
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak restarts from now
    before = resident_bytes("VmRSS")
    run()
    return resident_bytes("VmHWM") - before


def resident_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(field))


def measure_memory(options: argparse.Namespace) -> dict[str, str]:
    unit, attend = MEMORY_LENGTH * WIDTH * 4, ours(options)
    warm = operands(options, 64)
    torch.autograd.grad(attend(*[x.requires_grad_() for x in warm], CONFIG)[0].sum(), warm)
    q, k, v = operands(options, MEMORY_LENGTH)
    with torch.no_grad():
        infer = peak_bytes(options, lambda: attend(q, k, v, CONFIG))
    for x in (q, k, v):
        x.requires_grad_()
    saved: dict[tuple[int, int], int] = {}

    def pack(x: Tensor) -> Tensor:
        saved[x.untyped_storage().data_ptr(), x.storage_offset()] = x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        train = peak_bytes(options, lambda: attend(q, k, v, CONFIG))
    return {
        "infer": f"{infer / unit:.2f}",
        "train": f"{train / unit:.2f}",
        "saved": f"{sum(saved.values()) / unit:.2f}",
    }


def measure_build(options: argparse.Namespace) -> dict[str, str]:
    from slidenet.slide_encoders import LongNetViT

    found = {}

    def build() -> None:
        start = time.perf_counter()
        found["encoder"] = LongNetViT().eval()
        found["seconds"] = time.perf_counter() - start

    options.device = "cpu"
    peak = peak_bytes(options, build)
    parameters = sum(p.numel() for p in found["encoder"].parameters())
    text = f"{found['seconds']:.2f} s, {peak / 1e9:.2f} GB for {parameters:,} parameters"
    return {"text": text}


def measure_million(options: argparse.Namespace) -> dict[str, str]:
    """Projections, attention two heads at a time, inner norm, output projection; all in chunks."""
    dtype, group, chunk = torch.bfloat16, 2, 65_536
    generator = torch.Generator(options.device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=options.device, dtype=dtype)

    weights = [normal(WIDTH, WIDTH) * WIDTH**-0.5 for _ in range(4)]
    x = normal(MILLION, WIDTH)
    mixed = torch.empty_like(x)

    def layer() -> None:
        for head in range(0, NUM_HEADS, group):
            rows = slice(head * HEAD_DIM, (head + group) * HEAD_DIM)
            q, k, v = ((x @ w[rows].T).view(1, MILLION, group, HEAD_DIM) for w in weights[:3])
            out, _ = ours(options)(q, k, v, CONFIG, first_head=head, num_heads=NUM_HEADS)
            mixed[:, rows] = out.reshape(MILLION, -1)
            del q, k, v, out
        for begin in range(0, MILLION, chunk):
            part = mixed[begin : begin + chunk]
            part.copy_(torch.nn.functional.layer_norm(part, (WIDTH,)) @ weights[3].T)
        synchronize(options)

    with torch.no_grad():
        if options.device == "cuda":
            layer()  # compiles
        start = time.perf_counter()
        layer()
    seconds = time.perf_counter() - start
    assert torch.isfinite(mixed[:: MILLION // 64]).all()
    if options.device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resident_bytes("VmHWM")
    flops = attention_cost(PATTERN, MILLION, NUM_HEADS, HEAD_DIM).forward_flops
    flops += 8 * MILLION * WIDTH**2
    rate = flops / seconds / 1e9
    return {"text": f"{seconds:.2f} s, peak {peak / 1e9:.1f} GB, {rate:.0f} GFLOP/s"}


PRINTERS = {
    "forward": forward_rows,
    "backward": backward_rows,
    "dense": dense_rows,
    "growth": growth_rows,
    "memory": memory_rows,
    "build": build_rows,
    "million": million_rows,
}
CHILDREN = {"memory": measure_memory, "build": measure_build, "million": measure_million}

if __name__ == "__main__":
    main()
