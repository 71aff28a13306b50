"""Slides of different lengths in one batch, against slides of one length, as a markdown table.

bench_packed.py [--threads 1 2] [--slides 8] [--tiles 64 512] [--spread geometric linear]
                [--shapes longnet-small gigapath] [--patterns dilated ...] [--poolings class_token]
                [--passes forward backward] [--seconds 4] [--clock cpu]
                [--device cuda] [--backend cuda_flash]

Both batches have the same slides, total of tokens, threads and model. The lengths of one are spread
1:10. Inside segments longer than a slide attention is quadratic in the slide's length, so equal
totals are not equal work: `pairs` is the ratio of attended pairs, to be read beside that of times.
Both sides take turns in this process; times are medians. On a GPU matrix products and attention run
in bfloat16 (autocast), elsewhere in float32.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import product

import torch
from torch import Tensor

from slidenet.attention import ATTENTION_PATTERNS, force_backend
from slidenet.slide_encoders.longnet.config import LONGNET_CONFIGS, LongNetConfig
from slidenet.slide_encoders.longnet.model import LongNetViT

SPREAD = 10
"""The longest slide over the shortest."""

SHAPES = {"longnet-small": {"depth": 4}, "gigapath": {"depth": 2}}
"""Depths: more blocks of the same add time and change no ratio."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--slides", type=int, nargs="+", default=[8])
    parser.add_argument("--tiles", type=int, nargs="+", default=[64, 512], help="mean per slide")
    parser.add_argument(
        "--spread", nargs="+", choices=("geometric", "linear"), default=["geometric"]
    )
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["longnet-small"])
    parser.add_argument(
        "--patterns", nargs="+", choices=list(ATTENTION_PATTERNS), default=["dilated"]
    )
    parser.add_argument(
        "--poolings", nargs="+", choices=("class_token", "mean"), default=["class_token", "mean"]
    )
    parser.add_argument(
        "--passes", nargs="+", choices=("forward", "backward"), default=["forward", "backward"]
    )
    parser.add_argument("--seconds", type=float, default=4, help="budget of each row")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backend", help="the only kernels to use; the default choice otherwise")
    options = parser.parse_args()
    if options.device == "cuda" and options.clock == "cpu":
        parser.error("--clock cpu needs --device cpu")
    where = f"{os.cpu_count()} cores" if options.device == "cpu" else torch.cuda.get_device_name()
    dtype = "float32" if options.device == "cpu" else "bfloat16"
    print(
        f"{where}, PyTorch {torch.__version__}, {dtype}, clock: {options.clock}\n\n"
        f"Command: `python scripts/benchmarks/bench_packed.py {' '.join(sys.argv[1:])}`\n\n"
        "| shape | pattern | pass | pooling | slides x tiles | lengths | threads | equal, ms |"
        " spread, ms | times | pairs |\n|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for shape, pattern in product(options.shapes, options.patterns):
        config = LONGNET_CONFIGS[shape].with_overrides(
            **SHAPES[shape], attention=pattern, feature_dim=256
        )
        torch.manual_seed(0)
        model = LongNetViT(config).to(options.device)
        for threads, slides, tiles, spread, what, pooling in product(
            options.threads, options.slides, options.tiles, options.spread,
            options.passes, options.poolings,
        ):  # fmt: skip
            torch.set_num_threads(threads)
            lengths = spread_lengths(slides, tiles, spread)
            sides = [
                one_pass(model, batch(config, some, options.device), what, pooling)
                for some in ([tiles] * slides, lengths)
            ]
            with force_backend(options.backend) if options.backend else nullcontext():
                equal, packed = medians(sides, options)
            pairs = num_pairs(model, lengths) / num_pairs(model, [tiles] * slides)
            print(
                f"| {shape} | {pattern} | {what} | {pooling} | {slides} x {tiles} | {spread} | "
                f"{threads} | {equal * 1e3:.1f} | {packed * 1e3:.1f} | {packed / equal:.2f} | "
                f"{pairs:.2f} |",
                flush=True,
            )


def spread_lengths(slides: int, mean: int, spread: str) -> list[int]:
    """Tiles of each slide, the longest `SPREAD` times the shortest, `slides * mean` in all."""
    steps = torch.linspace(0, 1, slides, dtype=torch.float64)
    shape = SPREAD**steps if spread == "geometric" else 1 + (SPREAD - 1) * steps
    ends = (shape.cumsum(0) / shape.sum() * slides * mean).round().long()
    lengths = ends.diff(prepend=ends.new_zeros(1))
    order = torch.randperm(slides, generator=torch.Generator().manual_seed(0))
    return lengths[order].tolist()


def batch(
    config: LongNetConfig, lengths: Sequence[int], device: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Features, cells and, where the lengths differ, a mask."""
    generator, longest = torch.Generator().manual_seed(0), max(lengths)
    shape = (len(lengths), longest)
    features = torch.randn(*shape, config.feature_dim, generator=generator)
    cells = torch.randint(config.grid_size, (*shape, 2), generator=generator)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    given = None if bool(mask.all()) else mask.to(device)
    return features.to(device), cells.to(device), given


def one_pass(
    model: LongNetViT, inputs: tuple[Tensor, Tensor, Tensor | None], what: str, pooling: str
) -> Callable[[], object]:
    """A forward without gradients in evaluation mode, or a step of training without optimizer."""
    device = inputs[0].device.type

    def embed() -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            return model(*inputs, pooling=pooling)

    def forward() -> object:
        model.eval()
        with torch.no_grad():
            return embed()

    def backward() -> None:
        model.train().zero_grad()
        embed().float().square().sum().backward()

    return forward if what == "forward" else backward


def medians(sides: Sequence[Callable[[], object]], options: argparse.Namespace) -> list[float]:
    """Median seconds of each side; they take turns until the budget is spent, 3 to 200 rounds."""
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    taken: list[list[float]] = [[] for _ in sides]
    for side in sides:
        side()
    start = time.perf_counter()
    while len(taken[0]) < 3 or (
        len(taken[0]) < 200 and time.perf_counter() - start < options.seconds
    ):
        for side, seconds in zip(sides, taken, strict=True):
            before = clock()
            side()
            if options.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(clock() - before)
    return [statistics.median(seconds) for seconds in taken]


def num_pairs(model: LongNetViT, lengths: Sequence[int]) -> int:
    """Attended pairs of one block over all slides, class tokens included."""
    return sum(model.pattern.num_pairs(1 + n, model.config.num_heads) for n in lengths)


if __name__ == "__main__":
    main()
