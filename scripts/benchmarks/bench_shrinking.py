"""How far scaled JPEG decoding is from averaging areas, beside a shift by one pixel.

bench_shrinking.py [SLIDE ...] [--tiles 48] [--encoder efficientnet_lite0]

Squares of 512 px of level 0, on tissue and on the grid of the file's tiles, become tiles of 256 px
by averaging areas, by scaled decoding, and by averaging areas one level-0 pixel further right.
Distances are to the first: grey levels (mean and largest) and 1 - cosine of the encoder's features
(median and 95th percentile). Without a slide it takes the JPEG slides of ../shared/data.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from slidenet.slides import Slide, open_slide
from slidenet.tile_encoders import load_tile_encoder

REAL = Path(__file__).parents[3] / "shared" / "data" / "slides"
SIDE = 512
TISSUE_STD = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slides", nargs="*", type=Path)
    parser.add_argument("--tiles", type=int, default=48)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder = load_tile_encoder(options.encoder)
    print("| slide | tiles | against areas | grey levels, mean | largest | 1 - cosine | 95 % |")
    print("|---|---|---|---|---|---|---|")
    names = ("her2st_B4.tiff", "her2st_C3.tiff", "cmu_small_region.svs")
    for path in options.slides or [REAL / name for name in names]:
        with open_slide(path) as slide:
            places = tissue_places(slide, options.tiles)
            exact, scaled = (
                np.stack([shrunk(slide, place, scaled=scaled) for place in places])
                for scaled in (False, True)
            )
            shifted = np.stack([shrunk(slide, (x + 1, y)) for x, y in places])
        for name, other in (("scaled decoding", scaled), ("1 px to the right", shifted)):
            grey = np.abs(other.astype(int) - exact)
            angle = 1 - cosines(features(encoder, exact), features(encoder, other))
            print(
                f"| {path.name} | {len(places)} | {name} | {grey.mean():.2f} | {grey.max()} "
                f"| {np.median(angle):.5f} | {np.quantile(angle, 0.95):.5f} |",
                flush=True,
            )


def tissue_places(slide: Slide, count: int) -> list[tuple[int, int]]:
    """Corners of squares that are not glass, on a lattice that all tile sides share."""
    step = {True: 480, False: 512}["240x240" in slide.reader_note]
    width, height = slide.level_dimensions[0]
    found = []
    for y in range(0, height - SIDE, step):
        for x in range(0, width - SIDE, step):
            if slide.read_shrunk((x, y), 0, (SIDE, SIDE), 8).std() > TISSUE_STD:
                found.append((x, y))
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return [found[i] for i in chosen]


def shrunk(slide: Slide, place: tuple[int, int], *, scaled: bool = False) -> np.ndarray:
    return slide.read_shrunk(place, 0, (SIDE, SIDE), 2, scaled_jpeg=scaled)


def features(encoder, tiles: np.ndarray) -> np.ndarray:
    images = encoder.prepare(torch.from_numpy(tiles).permute(0, 3, 1, 2))
    return np.concatenate([encoder.encode(part).float().numpy() for part in images.split(8)])


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


if __name__ == "__main__":
    main()
