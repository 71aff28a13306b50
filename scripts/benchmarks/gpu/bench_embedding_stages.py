"""Does `embed-tiles` on a GPU run at the rate of its slower stage?

bench_embedding_stages.py [--encoders efficientnet_lite0 kaiko_vitb16] [--precisions fp32 bf16]
                          [--batch-sizes 64 256] [--slides 4] [--turns 3] [--device cuda]

A JPEG pyramid of 0.25 mpp with real texture (`bench_reading.py`), its 256 px tiles at 0.5 mpp,
under several names. In every turn, in this order, tiles per second of

- reading: all slides one after another, by the threads `embed-tiles` has, and nothing else;
- encoding: tiles in memory through the encoder, as many calls at a time as `embed-tiles` makes,
  resizing and copies included;
- embed-tiles: `embed_tiles` on all slides, from opening the first to the last finished file.

The share is that of embed-tiles in the slower of the other two. Encoders whose weights need a
licence run with random ones, which takes as long.
"""

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_embedding import copies_of, embed
from bench_reading import textured_pyramid
from bench_tile_throughput import encoder_of

from slidenet.core.records import TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.preprocess import preprocess
from slidenet.pipelines.settings import EmbedTilesSettings, PreprocessSettings
from slidenet.slides import open_slide, read_tiles
from slidenet.stores import read_tile_set
from slidenet.tile_encoders import TileEncoder
from slidenet.weights.device import available_cores

BATCHES_IN_MEMORY = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--encoders", nargs="+", default=["efficientnet_lite0", "kaiko_vitb16"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--side", type=int, default=12_000, help="of the generated slide")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    readers = min(16, max(2, available_cores()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = copies_of(textured_pyramid(folder, options.side), folder, options.slides)
        preprocess(rows, folder / "out", PreprocessSettings(segmenter="all", drop_blank=False))
        tile_set = read_tile_set(OutputLayout(folder / "out").tiles("slide_0"))
        total = tile_set.num_tiles * len(rows)
        print(f"{name}, PyTorch {torch.__version__}, {available_cores()} cores, {total} tiles\n")
        print("| encoder | precision | batch | reading | encoding | embed-tiles | of the slower |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for encoder_name in options.encoders:
            for precision in options.precisions:
                encoder = encoder_of(encoder_name, options.device, precision)
                for size in options.batch_sizes:
                    settings = EmbedTilesSettings(batch_size=size)
                    embed(rows[:1], folder / "out", settings, encoder)  # warms up
                    turns = []
                    for _ in range(options.turns):
                        rates = (
                            reading_rate(tile_set, size, readers, len(rows)),
                            encoding_rate(tile_set, size, encoder),
                        )
                        started = time.perf_counter()
                        embed(rows, folder / "out", settings, encoder)
                        whole = total / (time.perf_counter() - started)
                        turns.append((*rates, whole, whole / min(rates)))
                    read, encode, whole, share = map(statistics.median, zip(*turns, strict=True))
                    print(
                        f"| {encoder_name} | {precision} | {size} | {read:,.0f} | {encode:,.0f} |"
                        f" {whole:,.0f} | {share:.2f} |",
                        flush=True,
                    )


def reading_rate(tile_set: TileSet, size: int, readers: int, times: int) -> float:
    """Tiles per second that threads read, opening included."""
    started = time.perf_counter()
    for _ in range(times):
        with open_slide(tile_set.slide_path) as slide:
            for _batch in read_tiles(
                slide, tile_set.geometry, tile_set.coords, batch_size=size, num_readers=readers
            ):
                pass
    return times * tile_set.num_tiles / (time.perf_counter() - started)


def encoding_rate(tile_set: TileSet, size: int, encoder: TileEncoder) -> float:
    """Tiles per second from pixels in memory to features in memory."""
    side = tile_set.geometry.tile_size_px
    generator = torch.Generator().manual_seed(0)
    shape = (size, 3, side, side)
    tiles = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    with ThreadPoolExecutor(encoder.engine.num_parallel) as pool:
        list(pool.map(encoder.encode, [tiles] * encoder.engine.num_parallel))
        started = time.perf_counter()
        list(pool.map(encoder.encode, [tiles] * BATCHES_IN_MEMORY))
        return size * BATCHES_IN_MEMORY / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
