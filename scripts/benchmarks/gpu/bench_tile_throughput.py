"""Tiles per second of tile encoders on an accelerator, by precision, memory format and compiler.

bench_tile_throughput.py [--device cuda] [--encoders efficientnet_lite0 gigapath ...]
                         [--batch-sizes 64 256] [--precisions fp32 bf16] [--compile] [--encode]

`module` is the network alone on tiles that lie on the device; `encode` is `TileEncoder.encode` as
the pipelines call it: uint8 tiles of 256 px on the CPU, resized there, moved, run, features brought
back. Encoders whose weights need a licence run with random ones, which takes as long. Each number
is a median; the ratio is against fp32, channels first, not compiled, at the same batch size.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from slidenet.tile_encoders import TileEncoder, get_spec, load_tile_encoder
from slidenet.tile_encoders.architecture import build_module, features_of, folded_copy

TILE_PX = 256
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
OPEN = ("efficientnet_lite0",)
"""Encoders whose weights come with slidenet."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--encoders", nargs="+", default=["efficientnet_lite0", "gigapath"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=["fp32", "bf16"])
    parser.add_argument("--compile", action="store_true", help="also compiled by torch.compile")
    parser.add_argument("--encode", action="store_true", help="also end to end")
    parser.add_argument(
        "--budget", type=float, default=1.5, help="seconds per row, 3 turns at least"
    )
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{name}, PyTorch {torch.__version__}, {torch.get_num_threads()} CPU threads\n")
    print("| encoder | what | precision | format | compiled | tiles per batch | tiles/s | ratio |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for encoder in options.encoders:
        module_rows(encoder, options)
        if options.encode:
            encode_rows(encoder, options)


def module_rows(name: str, options: argparse.Namespace) -> None:
    spec = get_spec(name)
    side = spec.transform.input_px
    plain = built(name, options.device)
    baseline: dict[int, float] = {}
    ways = [(precision, "first", False) for precision in options.precisions]
    if any(isinstance(part, nn.Conv2d) and part.groups > 1 for part in plain.modules()):
        ways += [(precision, "last", False) for precision in options.precisions]
    if options.compile:
        ways += [(options.precisions[-1], ways[-1][1], True)]
    for precision, layout, compiled in ways:
        memory = torch.channels_last if layout == "last" else torch.contiguous_format
        module = plain.to(memory_format=memory) if layout == "last" else plain
        run = torch.compile(module) if compiled else module
        for size in options.batch_sizes:
            images = torch.randn(size, 3, side, side, device=options.device)
            images = images.to(memory_format=memory)
            dtype = DTYPES[precision]

            def forward(run=run, images=images, dtype=dtype) -> Tensor:
                with torch.autocast(options.device, dtype=dtype, enabled=dtype is not None):
                    return features_of(run, images, spec.pooling)

            try:
                rate = size / seconds(forward, options)
            except torch.OutOfMemoryError:
                print(f"| {name} | module | {precision} | {layout} | | {size} | no memory | |")
                continue
            if (precision, layout, compiled) == (options.precisions[0], "first", False):
                baseline[size] = rate
            ratio = rate / baseline[size] if size in baseline else float("nan")
            print(
                f"| {name} | module | {precision} | channels {layout} | "
                f"{'yes' if compiled else 'no'} | {size} | {rate:,.0f} | {ratio:.2f} |",
                flush=True,
            )


def encode_rows(name: str, options: argparse.Namespace) -> None:
    for precision in options.precisions:
        encoder = encoder_of(name, options.device, precision)
        for size in options.batch_sizes:
            tiles = torch.randint(0, 256, (size, 3, TILE_PX, TILE_PX), dtype=torch.uint8)
            rate = size / seconds(lambda e=encoder, t=tiles: e.encode(t), options)
            resize = size / seconds(lambda e=encoder, t=tiles: e.prepare(t), options)
            print(f"| {name} | encode | {precision} | | no | {size} | {rate:,.0f} | |")
            print(f"| {name} | resizing on the CPU | | | | {size} | {resize:,.0f} | |", flush=True)


def encoder_of(name: str, device: str, precision: Any) -> TileEncoder:
    """As the pipelines load it; with random weights where they are not at hand."""
    if name in OPEN:
        return load_tile_encoder(name, device=device, precision=precision)
    spec = replace(get_spec(name), name=f"{name} with random weights")
    module = built(name, device)
    return TileEncoder(spec, module, weights_source="random", device=device, precision=precision)


def built(name: str, device: str) -> nn.Module:
    """As slidenet runs it: batch norms folded; random weights where they are not at hand."""
    if name in OPEN:
        return folded_copy(load_tile_encoder(name, device=device).module)
    module = build_module(get_spec(name), device="meta").to_empty(device=device)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.02)
        for buffer in module.buffers():
            buffer.zero_()
    return module.requires_grad_(False)


@torch.inference_mode()
def seconds(run: Callable[[], object], options: argparse.Namespace) -> float:
    """Median over 3 to 30 turns, each until the device is done; two more warm up."""
    taken: list[float] = []
    while len(taken) < 5 or (len(taken) < 32 and sum(taken[2:]) < options.budget):
        if options.device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if options.device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


if __name__ == "__main__":
    main()
