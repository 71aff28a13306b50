"""How much faster two processes on a core each are than one on one core: `embed-tiles --devices 2`.

bench_devices.py [--slides 96] [--devices 2] [--turns 1] [--folder FOLDER]

One generated JPEG pyramid of 0.25 mpp, linked under many names, tiles at 0.5 mpp (512 px shrunk to
256) and an encoder that only averages, so that decoding is most of the work. Preprocessed once;
then `embed-tiles` in a process that may use one core, and with `--devices` in one that may use so
many, in turn. The time is that of the whole command, its start and that of the workers included.
Files must have equal bytes. The CPU time beside it, of all processes, is what other work on the
machine does not change.
"""

import argparse
import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from bench_reading import textured_pyramid

from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.preprocess import preprocess
from slidenet.tile_encoders import InputTransform, TileEncoder

SIDE_PX = 20_000


class Averages(torch.nn.Module):
    """Three numbers a tile, of every sixteenth pixel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) to (B, 3)."""
        return images[:, :, ::16, ::16].mean(dim=(2, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=96)
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--embed", type=Path, help="of this script itself: what one turn does")
    options = parser.parse_args()
    if options.embed is not None:
        embed(options.embed, options.devices)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare(Path(folder), options.slides, options.devices, options.turns)


def begin_cohort(folder: Path, num_slides: int) -> tuple[Path, int]:
    """One pyramid under many names, preprocessed; the output folder and the number of tiles."""
    slides = folder / "slides"
    slides.mkdir()
    pyramid = textured_pyramid(folder, SIDE_PX)
    for number in range(num_slides):
        (slides / f"s{number:03}.tif").symlink_to(pyramid)
    begun = folder / "begun"
    report = preprocess(slides, begun, segmenter="all", fleet=FleetSettings(progress="none"))
    assert not report.failed, report.table()
    tiles = sum(outcome.num_tiles or 0 for outcome in report.outcomes)
    print(f"{num_slides} slides, {tiles:,} tiles\n")
    return begun, tiles


def compare(folder: Path, num_slides: int, devices: int, turns: int) -> None:
    """Prints the table."""
    begun, tiles = begin_cohort(folder, num_slides)
    print("| processes | s | tiles/s | CPU s |\n|---|---|---|---|")
    ratios = []
    for _ in range(turns):
        seconds, digests = {}, {}
        for count in (1, devices):
            out = folder / f"out{count}"
            shutil.copytree(begun, out)
            seconds[count], cpu = timed(out, count)
            print(f"| {count} | {seconds[count]:.1f} | {tiles / seconds[count]:.0f} | {cpu:.1f} |")
            digests[count] = digests_of(out)
            shutil.rmtree(out)
        assert len(digests[1]) == num_slides
        assert digests[1] == digests[devices], "other bytes"
        ratios.append(seconds[1] / seconds[devices])
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\n{statistics.median(ratios):.2f} times as fast ({shown}); equal bytes")


def timed(out: Path, count: int) -> tuple[float, float]:
    """Seconds of a command, and CPU seconds of all of its processes."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    before, clock = _cpu_of_children(), time.perf_counter()
    subprocess.run(
        [
            *("taskset", "-c", ",".join(map(str, cores)), sys.executable, __file__),
            *("--embed", str(out), "--devices", str(count)),
        ],
        check=True,
    )
    return time.perf_counter() - clock, _cpu_of_children() - before


def embed(out: Path, count: int) -> None:
    """What is measured."""
    import bench_devices  # by its name, so that workers find the encoder

    transform = InputTransform(input_px=256, resize_px=256)
    encoder = TileEncoder.from_module(
        bench_devices.Averages(), name="averages", transform=transform
    )
    fleet = FleetSettings(devices=count if count > 1 else None, progress="none")
    report = embed_tiles(out.parent / "slides", out, tile_encoder=encoder, fleet=fleet)
    assert not report.failed, report.table()


def digests_of(out: Path) -> dict[str, str]:
    """SHA-256 of every features file."""
    files = sorted(out.glob("tile_features/averages/*.h5"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
