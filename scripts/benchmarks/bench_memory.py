"""Does the memory of embedding grow with the number of tiles? Peak of 1,000 tiles beside 50,000.

bench_memory.py [--tiles 1000 50000] [--encoder efficientnet_lite0]

Writes one generated pyramid per size into a temporary folder and runs preprocess, embed-tiles and
embed-slides on it, each size in a process of its own; the peak is the largest resident set of that
process and of the one that reads slides for it, added. By default the encoder is a small pooling
module with as many features as the default encoder (1280), so that 50,000 tiles take minutes on a
CPU; the memory in question is that of the pipeline, which is the same for any encoder.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TILE_PX = 256
LIMIT_MB = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[1000, 50_000])
    parser.add_argument("--encoder", help="a tile encoder by name, instead of the small module")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(embed(options.child, options.encoder)))
        return
    print("| tiles | peak memory, MB | seconds | tiles/s |\n|---|---|---|---|")
    peaks = []
    for num_tiles in options.tiles:
        with tempfile.TemporaryDirectory() as folder:
            write_slide(Path(folder) / "slide.tiff", num_tiles)
            command = [sys.executable, __file__, "--child", folder]
            command += ["--encoder", options.encoder] if options.encoder else []
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found = json.loads(output.splitlines()[-1])
        peaks.append(found["peak_mb"])
        rate = found["tiles"] / found["seconds"]
        print(f"| {found['tiles']:,} | {peaks[-1]:.0f} | {found['seconds']:.0f} | {rate:.0f} |")
    growth = peaks[-1] - peaks[0]
    print(f"growth: {growth:.0f} MB (allowed: {LIMIT_MB} MB)")
    sys.exit(growth > LIMIT_MB)


def write_slide(path: Path, num_tiles: int) -> None:
    """A square slide whose lattice holds at least `num_tiles` tiles, all of them tissue."""
    from slidenet.testing import write_pyramid

    side = math.ceil(math.sqrt(num_tiles)) * TILE_PX
    noise = np.random.default_rng(0).integers(0, 40, (TILE_PX, TILE_PX, 3), dtype=np.uint8)

    def paint(x: int, y: int, width: int, height: int) -> np.ndarray:
        stain = np.array([180 + x // TILE_PX % 16, 90 + y // TILE_PX % 16, 160], np.uint8)
        return (stain + noise[:height, :width]).astype(np.uint8)

    write_pyramid(path, side, side, 0.5, paint)


def embed(folder: Path, encoder_name: str | None) -> dict[str, float]:
    """Runs the main job on the slide in `folder`; returns tiles, seconds and peak memory."""
    from slidenet.core.records import SlideRow
    from slidenet.pipelines import EmbedSlidesSettings, EmbedTilesSettings, PreprocessSettings
    from slidenet.pipelines.embed_slides import embed_slides
    from slidenet.pipelines.embed_tiles import embed_tiles
    from slidenet.pipelines.preprocess import preprocess
    from slidenet.tile_encoders import load_tile_encoder

    rows = [SlideRow(slide_id="slide", slide_path=str(folder / "slide.tiff"))]
    out = folder / "out"
    encoder = load_tile_encoder(encoder_name) if encoder_name else small_encoder()
    name = encoder.spec.name
    clock = time.monotonic()
    reports = [
        preprocess(rows, out, PreprocessSettings(segmenter="all")),
        embed_tiles(rows, out, EmbedTilesSettings(), tile_encoder=encoder),
        embed_slides(rows, out, EmbedSlidesSettings(recipe="mean_std"), encoder=name),
    ]
    for report in reports:
        assert not report.failed, report.table()
    return {
        "tiles": reports[-1].outcomes[0].num_tiles or 0,
        "seconds": time.monotonic() - clock,
        "peak_mb": sum(
            resource.getrusage(who).ru_maxrss / 1024
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        ),
    }


def small_encoder():
    """Average colours of a 21 x 21 grid, cut to 1280 features."""
    import torch

    from slidenet.tile_encoders import InputTransform, TileEncoder

    class Grid(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            pooled = torch.nn.functional.adaptive_avg_pool2d(images, 21)
            return pooled.flatten(1)[:, :1280]

    transform = InputTransform(input_px=224, resize_px=224)
    return TileEncoder.from_module(Grid(), name="grid_colours", transform=transform)


if __name__ == "__main__":
    main()
