"""What a bag of millions of tiles takes of memory: drawn from, gone through, read as a whole.

    python scripts/benchmarks/bench_huge_bag.py --num-tiles 2000000 --feature-dim 1536

The features file is one of CLAM's kind, generated with holes: a few rows of every 4,096 are random,
all else is zero and takes no disk. Each reading is a process of its own, whose peak of resident
memory is told above what it has after its imports. `--whole` reads all tiles as one bag, too, which
needs the memory. `--train` runs `slidenet train` on such bags with small ones in val and test.
"""

import argparse
import csv
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

MPP = 0.5


def write_bag(path: Path, num_tiles: int, feature_dim: int, *, level: float, seed: int) -> None:
    """A features file with holes; `level` is what the label of the slide can be told by."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as h5:
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((num_tiles, feature_dim))
        h5py.h5d.create(h5.id, b"features", h5py.h5t.IEEE_F16LE, space, dcpl=layout)
        rows = min(num_tiles, 8)
        for start in range(0, num_tiles, 4096):
            stop = min(start + rows, num_tiles)
            drawn = rng.normal(level, 1, (stop - start, feature_dim))
            h5["features"][start:stop] = drawn.astype(np.float16)
        side = int(np.ceil(np.sqrt(num_tiles)))
        index = np.arange(num_tiles)
        h5["coords"] = np.stack([index % side, index // side], axis=1) * 256


def measured(work: Callable[..., None], *arguments: object) -> tuple[float, float]:
    """Peak of memory above that after the imports, in MB, and seconds, in a new process."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(send, work, arguments))
    process.start()
    send.close()
    try:
        found: tuple[float, float] = receive.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} ended without a result (memory?)") from None
    finally:
        process.join()
    return found


def _measure(
    send: "multiprocessing.connection.Connection",
    work: Callable[..., None],
    arguments: tuple[object, ...],
) -> None:
    import slidenet.pipelines.train  # noqa: F401

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    work(*arguments)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    send.send(((after - before) / 1024, time.perf_counter() - start))


def draw(path: Path, max_tiles: int, draws: int) -> None:
    """Draws some tiles of a bag, several times."""
    dataset = _dataset(path, max_tiles)
    for number in range(draws):
        assert len(dataset.read(0, number).features) == max_tiles


def go_through(path: Path) -> None:
    """All tiles, block by block, as the probes do."""
    for _ in _dataset(path, None).blocks(0, 4096):
        pass


def read_whole(path: Path) -> None:
    """All tiles as one bag."""
    _dataset(path, None).read(0, 0)


def _dataset(path: Path, max_tiles: int | None) -> "BagDataset":  # noqa: F821
    from slidenet import read_features
    from slidenet.data.bags.dataset import BagDataset, BagSource

    file = read_features(path, slide_mpp=MPP, tile_size_px=256, target_mpp=MPP)
    return BagDataset([BagSource(file.slide_id, (file,))], max_tiles=max_tiles)


def train_on(folder: Path, max_tiles: int) -> None:
    """A training of two epochs whose bags of val and test are small."""
    import slidenet

    report = slidenet.train(
        folder / "run",
        labels=folder / "labels.csv",
        features=folder / "features",
        splits=folder / "splits.csv",
        slide_mpp=MPP,
        tile_size_px=256,
        target_mpp=MPP,
        max_tiles=max_tiles,
        max_epochs=2,
        accelerator="cpu",
    )
    print(report.headline)


def write_cohort(folder: Path, num_tiles: int, feature_dim: int) -> None:
    """Six large bags to train on, and six small ones each to validate and to test."""
    rows, splits = [], []
    for number in range(18):
        name, label = f"s{number:02d}", number % 2
        size = num_tiles if number < 6 else 2000
        path = folder / "features" / f"{name}.h5"
        write_bag(path, size, feature_dim, level=float(label), seed=number)
        rows.append((name, name, label))
        splits.append((name, "train" if number < 6 else "val" if number < 12 else "test"))
    for name, header, lines in (
        ("labels.csv", ("slide_id", "patient_id", "label"), rows),
        ("splits.csv", ("slide_id", "split"), splits),
    ):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([header, *lines])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-tiles", type=int, default=2_000_000)
    parser.add_argument("--feature-dim", type=int, default=1536)
    parser.add_argument("--max-tiles", type=int, default=8192)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--train", action="store_true")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "bag" / "huge.h5"
        write_bag(path, given.num_tiles, given.feature_dim, level=0.0, seed=0)
        size = given.num_tiles * given.feature_dim * 2 / 2**20
        print(f"{given.num_tiles} tiles x {given.feature_dim}, {size:.0f} MB as float16")
        works: list[tuple[str, Callable[..., None], tuple[object, ...]]] = [
            (
                f"{given.draws} draws of {given.max_tiles}",
                draw,
                (path, given.max_tiles, given.draws),
            ),
            ("all, block by block", go_through, (path,)),
        ]
        if given.whole:
            works.append(("all as one bag", read_whole, (path,)))
        if given.train:
            write_cohort(Path(name), given.num_tiles, given.feature_dim)
            works.append(("train, two epochs", train_on, (Path(name), given.max_tiles)))
        print(f"{'what':28}  peak MB  seconds")
        for words, work, arguments in works:
            peak, seconds = measured(work, *arguments)
            print(f"{words:28}  {peak:7.0f}  {seconds:7.1f}", flush=True)


if __name__ == "__main__":
    main()
