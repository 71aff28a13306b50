"""Time per tile of the default tile encoder, with batch norms folded and as timm builds it.

bench_tile_encoder.py [--batch-sizes 8 64] [--turns 9]    (with OMP_NUM_THREADS=1)

Both take turns on the same random tiles of 224 px; the ratio is the median over turns.
"""

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from slidenet import load_tile_encoder
from slidenet.tile_encoders.architecture import folded_copy

ENCODER = "efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    baseline = load_tile_encoder(ENCODER, device=options.device).module
    folded = folded_copy(baseline)
    print(f"{ENCODER} on {options.device}, {torch.get_num_threads()} threads, float32\n")
    print("| tiles per batch | as built, ms per tile | folded, ms per tile | ratio |")
    print("|---|---|---|---|")
    for size in options.batch_sizes:
        tiles = torch.randn(size, 3, 224, 224, device=options.device)
        turns = [(seconds(baseline, tiles), seconds(folded, tiles)) for _ in range(options.turns)]
        built, fast = (
            statistics.median(column) * 1e3 / size for column in zip(*turns, strict=True)
        )
        ratio = statistics.median(slow / quick for slow, quick in turns)
        print(f"| {size} | {built:.1f} | {fast:.1f} | {ratio:.2f} |", flush=True)


@torch.inference_mode()
def seconds(module: nn.Module, tiles: Tensor) -> float:
    started = time.perf_counter()
    module(tiles)
    if tiles.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
