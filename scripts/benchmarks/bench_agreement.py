"""What it costs that sequence ranks compare their slides and arguments, as a share of a forward.

    python scripts/benchmarks/bench_agreement.py
    python scripts/benchmarks/bench_agreement.py --tiles 20000 --ranks 4

"facts" is the work of a rank before the gather: digests of features, cells and mask of the whole
slide, settings, modes; that of the weights is kept from the forward before. "gather" is the
all-gather of one row, between ranks that come to it together. Both are medians, and shares of the
median forward (inference) of one rank. Ranks are processes of this machine with one thread each,
gloo between them.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from slidenet.parallel import apply_sequence_parallel, even_chunks, make_mesh, tile_span
from slidenet.parallel.agreement import agree
from slidenet.parallel.digests import WeightDigests
from slidenet.parallel.forward_facts import forward_facts
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT
from slidenet.slide_encoders.longnet.request import ForwardRequest

MODELS = {
    "longnet-small": (LONGNET_CONFIGS["longnet-small"], {}),
    "one block of gigapath": (LONGNET_CONFIGS["gigapath"], {"depth": 1}),
}


def seconds(work) -> float:
    dist.barrier()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def run_rank(rank: int, meet: str, args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meet}", rank=rank, world_size=args.ranks)
    lines = []
    for name, (config, changes) in MODELS.items():
        for tiles in args.tiles:
            for inputs in ("whole", "chunk"):
                torch.manual_seed(0)
                model = LongNetViT(config.with_overrides(**changes)).eval()
                apply_sequence_parallel(model, make_mesh(), inputs=inputs)
                features = torch.randn(1, tiles, config.feature_dim)
                places = torch.arange(tiles)
                grid_xy = torch.stack([places // 1000, places % 1000], dim=-1)[None]
                if inputs == "chunk":
                    low, high = tile_span(even_chunks(1 + tiles, args.ranks), rank)
                    features, grid_xy = features[:, low:high], grid_xy[:, low:high]
                found = measure(model, inputs, features, grid_xy, args.repeats)
                rows = torch.tensor(found, dtype=torch.float64)
                dist.all_reduce(rows, dist.ReduceOp.MAX)
                forward, facts, gather = rows.tolist()
                share = 100 * (facts + gather) / forward
                lines.append(
                    f"| {name} | {tiles:,} | {inputs} | {1e3 * forward:,.0f} | {1e3 * facts:.2f} "
                    f"| {1e3 * gather:.2f} | {share:.2f} |"
                )
    if rank == 0:
        Path(meet + ".result").write_text("\n".join(lines))
    dist.destroy_process_group()


def measure(model, inputs, features, grid_xy, repeats) -> list[float]:
    """Median seconds of a forward, of its facts and of their gather; a rank's own."""
    request = ForwardRequest("forward", model.config.depth, pooling="mean", slide_id="a")
    group, found, kept = dist.group.WORLD, {}, WeightDigests()

    def facts() -> None:
        found.update(forward_facts(model, request, inputs, features, grid_xy, None, kept))

    def gather() -> None:
        agree("a forward", found, [0, 1], group)

    def forward() -> None:
        model(features, grid_xy, pooling="mean", slide_id="a")

    with torch.inference_mode():
        for work in (facts, gather, forward):
            work()
        return [
            median(seconds(work) for _ in range(times))
            for work, times in ((forward, repeats), (facts, 4 * repeats), (gather, 4 * repeats))
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[2_000, 20_000])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.ranks} ranks, features of length 1536")
    print("| model | tiles | inputs | forward ms | facts ms | gather ms | share % |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        meet = f"{folder}/meet"
        mp.spawn(run_rank, (meet, args), nprocs=args.ranks)
        print(Path(meet + ".result").read_text())


if __name__ == "__main__":
    main()
