"""How long it takes to know how much of every tile lies in which drawn region.

    python scripts/benchmarks/bench_regions.py
    python scripts/benchmarks/bench_regions.py --side 40 --repeats 1

The baseline asks GEOS (shapely) to cut every tile against the region it touches, with a tree over
the tiles; both give the same shares. Times are medians, in seconds of CPU time of one thread.
"""

import argparse
import os
import time
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import shapely

from slidenet.core.text import text_table
from slidenet.tiling.region_shares import largest_shares

TILE_PX = 512


def ragged(x, y, radius, corners, rng):
    """An outline as people and pixel classifiers draw it."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    far = radius * (1 + 0.05 * np.sin(7 * angle) + 0.2 / corners * rng.normal(size=corners))
    outline = np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], axis=1)
    return shapely.make_valid(shapely.Polygon(outline))


def cases(extent, rng):
    """Names with the regions of a slide of `extent` px."""
    middle = extent / 2
    for corners in (100, 1_000, 10_000):
        yield (
            f"1 region of {corners:,} corners",
            [ragged(middle, middle, 0.43 * extent, corners, rng)],
        )
    step = extent / 32
    spots = [(step * (i + 0.5), step * (j + 0.5)) for i in range(32) for j in range(32)]
    yield "1,024 regions of 200 corners", [ragged(x, y, 0.4 * step, 200, rng) for x, y in spots]


def by_geos(shapes, coords):
    """Share of every tile, with one call of GEOS per pair of tile and region."""
    boxes = shapely.box(*coords.T, *(coords + TILE_PX).T)
    region, tile = shapely.STRtree(boxes).query(shapes)
    areas = shapely.area(shapely.intersection(np.array(shapes)[region], boxes[tile]))
    share = np.zeros(len(coords))
    np.maximum.at(share, tile, areas / TILE_PX**2)
    return share


def seconds(repeats, work, *given):
    """The median, and the result."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        result = work(*given)
        times.append(time.process_time() - start)
    return median(times), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=160, help="tiles along a side of the slide")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    place = np.arange(args.side) * TILE_PX
    coords = np.stack(np.meshgrid(place, place), axis=-1).reshape(-1, 2)
    rows = []
    for name, shapes in cases(args.side * TILE_PX, np.random.default_rng(0)):
        ours, (_, share) = seconds(args.repeats, largest_shares, shapes, coords, TILE_PX)
        geos, wanted = seconds(args.repeats, by_geos, shapes, coords)
        apart = np.abs(share - wanted).max()
        rows.append((name, f"{ours:.2f}", f"{geos:.2f}", f"{geos / ours:.1f}", f"{apart:.0e}"))
    header = (f"{len(coords):,} tiles", "slidenet", "GEOS", "ratio", "apart")
    print(text_table(header, rows, right=(1, 2, 3, 4)))


if __name__ == "__main__":
    main()
