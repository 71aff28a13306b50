"""Peak memory, time and traffic per rank of a slide encoder on one slide shared by 1, 2, 4 ranks.

    python scripts/benchmarks/bench_parallel.py --tokens 65536 --ranks 1 2 4
    python scripts/benchmarks/bench_parallel.py --device cuda --ranks 1 2 4 8 --depth 12
    python scripts/benchmarks/bench_parallel.py --tokens 20001 --attention dense longformer bigbird

With `--attention` one process measures the memory of each of those patterns instead.

Ranks are processes of this machine: gloo on CPUs, NCCL with one GPU each on CUDA. On CPUs the peak
is that of the resident memory above what the process held with weights and inputs, allocator's
losses included; on CUDA it is the allocator's peak. The estimate beside it is `slidenet plan`'s.
"""

import argparse
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")  # freed tensors go back at once

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from slidenet.attention import make_attention
from slidenet.parallel import apply_sequence_parallel, even_chunks, make_mesh, tile_span
from slidenet.parallel.sizing import Workload, rank_cost
from slidenet.slide_encoders import LongNetConfig, LongNetViT
from slidenet.slide_encoders.longnet.block import default_chunk_tokens


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def measure(device: torch.device, work) -> tuple[float, int]:
    """Seconds, and bytes at the peak above those before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # starts VmHWM anew
    dist.barrier()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resident("VmHWM")
    return time.perf_counter() - start, peak - before


def run_rank(
    rank: int, ranks: int, meet: str, args: argparse.Namespace, attention: str = "dilated"
) -> None:
    cuda = args.device == "cuda"
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"file://{meet}", rank=rank, world_size=ranks,
        timeout=timedelta(seconds=3600),
    )  # fmt: skip
    config = LongNetConfig(depth=args.depth, attention=attention)
    low, high = tile_span(even_chunks(args.tokens, ranks), rank)
    generator = torch.Generator().manual_seed(rank)
    features = torch.randn(1, high - low, config.feature_dim, generator=generator).to(device)
    places = torch.arange(low, high)
    grid_xy = torch.stack([places // 1000, places % 1000], dim=-1)[None].to(device)
    torch.manual_seed(0)
    model = LongNetViT(config, checkpoint_activations=args.checkpointed).to(device)
    if not args.attention:
        apply_sequence_parallel(model, make_mesh(), inputs="chunk")

    def run(some: slice, **words: str) -> torch.Tensor:
        return model(features[:, some], grid_xy[:, some], pooling="mean", **words)

    def forward() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bfloat16):
            return run(slice(None), **({} if args.attention else {"slide_id": "one slide"}))

    def infer() -> None:
        with torch.inference_mode():
            forward()

    def step() -> None:
        forward().float().square().mean().backward()

    few = slice(0, min(64, high - low))
    warm = run(few, **({} if args.attention else {"slide_id": "its first tiles"}))
    warm.sum().backward()  # loads kernels
    found = [*measure(device, infer), *measure(device, step)]
    rows = torch.tensor(found, dtype=torch.float64, device=device)
    dist.all_reduce(rows, dist.ReduceOp.MAX)
    if rank == 0:
        Path(meet + ".result").write_text(" ".join(str(x) for x in rows.tolist()))
    dist.destroy_process_group()


def scheme_of(attention: str) -> dict:
    """How a pattern is sized."""
    if attention in ("dilated", "dense"):
        return {"scheme": attention}
    return {"scheme": "alone", "pattern": make_attention(attention)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--depth", type=int, default=2, help="blocks of the GigaPath shape")
    parser.add_argument("--attention", nargs="+", help="patterns, each on one rank")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--checkpointed", action="store_true")
    args = parser.parse_args()
    print(f"{args.tokens} tokens, GigaPath shape with {args.depth} blocks, {args.device}")
    print(f"| {'attention' if args.attention else 'ranks'} | forward s | peak MB | estimate MB "
          "| step s | peak MB | estimate MB | MB received per layer |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for ranks, attention in (
        [(1, name) for name in args.attention]
        if args.attention
        else [(ranks, "dilated") for ranks in args.ranks]
    ):
        with tempfile.TemporaryDirectory() as folder:
            meet = f"{folder}/meet"
            mp.spawn(run_rank, (ranks, meet, args, attention), nprocs=ranks)
            infer_s, infer_peak, step_s, step_peak = map(
                float, Path(meet + ".result").read_text().split()
            )
        costs = [
            rank_cost(
                LongNetConfig(depth=args.depth),
                Workload(
                    args.tokens - 1, **scheme_of(attention),
                    precision="bfloat16" if args.bfloat16 else "float32",
                    training=training, checkpoint_activations=args.checkpointed and training,
                    chunk_tokens=default_chunk_tokens(torch.device(args.device)),
                ),
                ranks,
            )
            for training in (False, True)
        ]  # fmt: skip
        print(f"| {attention if args.attention else ranks} | {infer_s:.1f} "
              f"| {infer_peak / 1e6:,.0f} "
              f"| {costs[0].activations / 1e6:,.0f} | {step_s:.1f} | {step_peak / 1e6:,.0f} "
              f"| {costs[1].activations / 1e6:,.0f} | {costs[0].exchanged / 1e6:,.1f} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
