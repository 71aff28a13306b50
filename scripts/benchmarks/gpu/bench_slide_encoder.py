"""Time and memory of the whole slide encoder (GigaPath's shape) on one device, by slide length.

bench_slide_encoder.py [--device cuda] [--tiles 10000 100000] [--train-tiles 10000]
                       [--ways dilated cuda_flash dense] [--precisions bf16] [--turns 7]
                       [--depth 12] [--chunk-tokens 4096]

`dilated` is the default choice of kernels, the name of a backend forces that one for dilated
attention, `dense` is the same encoder with dense attention. Forward is an embedding without
gradients; training is forward and backward of one slide, mean pooling. Memory is the most the
device held at once, weights included. Times are medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from slidenet.attention import force_backend
from slidenet.slide_encoders import LongNetViT

DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiles", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--train-tiles", type=int, nargs="*", default=[10_000])
    parser.add_argument("--ways", nargs="+", default=["dilated", "dense"])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=["bf16"])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--chunk-tokens", type=int, default=None, help="slidenet's own by default")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{name}, PyTorch {torch.__version__}, {options.depth} blocks\n")
    print("| tiles | pass | precision | attention | ms | tiles/s | peak memory, GB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for way in options.ways:
        torch.manual_seed(0)
        settings = {"depth": options.depth, "attention": "dense" if way == "dense" else "dilated"}
        if options.chunk_tokens is not None:
            settings["chunk_tokens"] = options.chunk_tokens
        model = LongNetViT(**settings).to(options.device)
        for precision in options.precisions:
            for tiles in options.tiles:
                row(options, way, precision, tiles, "forward", model)
            for tiles in options.train_tiles:
                row(options, way, precision, tiles, "training", model)


def row(
    options: argparse.Namespace, way: str, precision: str, tiles: int, what: str, model: LongNetViT
) -> None:
    features, cells = slide(tiles, model.config.feature_dim, options.device)
    forced = nullcontext() if way in ("dilated", "dense") else force_backend(way)
    dtype = DTYPES[precision]

    def forward(pooling: str) -> Tensor:
        with torch.autocast(options.device, dtype=dtype, enabled=dtype is not None):
            return model(features, cells, pooling=pooling)

    def embed() -> None:
        with torch.inference_mode():
            forward("class_token")

    def train() -> None:
        model.zero_grad()
        forward("mean").float().square().sum().backward()

    model.train(what == "training")
    with forced:
        taken, peak = seconds(train if what == "training" else embed, options)
    print(
        f"| {tiles:,} | {what} | {precision} | {way} | {taken * 1e3:.2f} | {tiles / taken:,.0f} | "
        f"{peak / 1e9:.2f} |",
        flush=True,
    )
    model.zero_grad()


def slide(tiles: int, feature_dim: int, device: str) -> tuple[Tensor, Tensor]:
    """Random features and cells of one slide."""
    draw = torch.Generator().manual_seed(tiles)
    features = torch.randn(1, tiles, feature_dim, generator=draw)
    cells = torch.randint(0, 1000, (1, tiles, 2), generator=draw)
    return features.to(device), cells.to(device)


def seconds(run: Callable[[], None], options: argparse.Namespace) -> tuple[float, float]:
    """Median seconds over the turns, and the peak of memory; the first turns warm up."""
    on_gpu, taken = options.device == "cuda", []
    for turn in range(2 + options.turns):
        if on_gpu:
            torch.cuda.synchronize()
            if turn == 2:
                torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:]), torch.cuda.max_memory_allocated() if on_gpu else 0.0


if __name__ == "__main__":
    main()
