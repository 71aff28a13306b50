"""CPU time per image of tile encoders by engine, and how far features are apart.

bench_engines.py [--encoders efficientnet_lite0 ...] [--images 64] [--turns 5]

All take turns on the same images of 224 px. Time is CPU time, on one thread, so that a busy machine
matters less; the ratio to PyTorch in batches of 64 is the median over turns. Vision transformers
have random weights: their time does not depend on them.
"""

import argparse
import statistics
import time

import timm
import torch

from slidenet.tile_encoders import TileEncoder, load_tile_encoder
from slidenet.tile_encoders.engines import Engine
from slidenet.tile_encoders.engines.choice import probe_images
from slidenet.tile_encoders.engines.openvino_engine import OpenVinoEngine
from slidenet.tile_encoders.engines.torch_engine import TorchEngine

ENCODERS = ("efficientnet_lite0", "vit_small_patch14_dinov2", "vit_base_patch16_224")
LISTED = "efficientnet_lite0"
SIDE_PX = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images = probe_images(options.images, SIDE_PX)
    print("| encoder | engine | batch | ms of CPU per image | ratio | distance |")
    print("|---|---|---|---|---|---|")
    for name in options.encoders:
        engines = engines_of(encoder_of(name))
        wanted = run(engines[0], images)[0]
        turns = [[run(engine, images) for engine in engines] for _ in range(options.turns)]
        for column, engine in enumerate(engines):
            milliseconds = 1e3 / options.images * statistics.median(t[column][1] for t in turns)
            ratio = statistics.median(t[0][1] / t[column][1] for t in turns)
            distance = float((turns[0][column][0] - wanted).abs().max() / wanted.abs().max())
            print(
                f"| {name} | {engine.name} | {engine.batch_size} | {milliseconds:.1f} | "
                f"{ratio:.2f} | {distance:.1e} |",
                flush=True,
            )


def encoder_of(name: str) -> TileEncoder:
    if name == LISTED:
        return load_tile_encoder(name)
    torch.manual_seed(0)
    size = {"img_size": SIDE_PX} if "vit" in name else {}
    module = timm.create_model(name, num_classes=0, **size)
    return TileEncoder.from_module(module, name=name, pooling="class" if size else "model")


def engines_of(encoder: TileEncoder) -> list[Engine]:
    """The first one is the baseline."""
    in_torch = [
        TorchEngine(encoder.module, encoder.spec, encoder.device, "fp32", batch_size=size)
        for size in (64, 8)
    ]
    return [*in_torch, OpenVinoEngine(encoder.module, encoder.spec, num_parallel=1)]


def run(engine: Engine, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Features and CPU seconds, after a call that makes ready."""
    engine.run(images[: engine.batch_size])
    clock = time.process_time()
    parts = [engine.run(part) for part in images.split(engine.batch_size)]
    return torch.cat(parts), time.process_time() - clock


if __name__ == "__main__":
    main()
