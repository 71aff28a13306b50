"""How much faster two workers of Ray on a core each are than one, and what Ray costs beside none.

bench_ray.py [--slides 96] [--turns 1] [--folder FOLDER]

As in `bench_devices.py`: one generated JPEG pyramid of 0.25 mpp, linked under many names, tiles at
0.5 mpp (512 px shrunk to 256) and an encoder that only averages, so that decoding is most of the
work. Preprocessed once; then `embed-tiles` in one process on one core, by `--runner ray` with one
worker on one core, and with two workers on two, a core each, in turn. All of Ray runs on the same
cores, and so does the process of the command. `start` is the time from the command to its first
slide (imports, Ray, workers, the work on its way to them), `work` from there to the end of the last
slide. Files must have equal bytes.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_devices import begin_cohort, digests_of

from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.tile_encoders import InputTransform, TileEncoder

WAYS = {"one process": 1, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
"""Each with its cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=96)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--embed", type=Path, help="of this script itself: what one turn does")
    parser.add_argument("--ray", action="store_true", help="of this script itself")
    options = parser.parse_args()
    if options.embed is not None:
        embed(options.embed, on_ray=options.ray)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        compare(Path(folder), options.slides, options.turns)


def compare(folder: Path, num_slides: int, turns: int) -> None:
    """Prints the table."""
    begun, tiles = begin_cohort(folder, num_slides)
    print("| how | start, s | work, s | tiles/s of work |\n|---|---|---|---|", flush=True)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    digests = {}
    for _ in range(turns):
        for way, cores in WAYS.items():
            out = folder / "out"
            shutil.copytree(begun, out)
            start, work = timed(out, cores, on_ray="Ray" in way)
            seconds[way].append(work)
            print(f"| {way} | {start:.1f} | {work:.1f} | {tiles / work:.0f} |", flush=True)
            digests[way] = digests_of(out)
            shutil.rmtree(out)
        assert len(digests["one process"]) == num_slides
        assert len({json.dumps(found) for found in digests.values()}) == 1, "other bytes"
    local, one, two = (statistics.median(of) for of in seconds.values())
    print(f"\n1 to 2 workers: {one / two:.2f} times as fast; equal bytes")
    print(f"Ray with one worker takes {100 * (one / local - 1):+.1f} % of the time of one process")


def timed(out: Path, cores: int, *, on_ray: bool) -> tuple[float, float]:
    """Seconds until the first slide begins, and from there until the last one has ended."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    command = ["taskset", "-c", ",".join(map(str, chosen)), sys.executable, __file__]
    command += ["--embed", str(out), *(["--ray"] if on_ray else [])]
    clock, first, last = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if not line.startswith("{"):
                sys.stderr.write(line)
                continue
            event = json.loads(line)["event"]
            first = first or (time.perf_counter() if event == "slide_begins" else 0.0)
            last = time.perf_counter() if event == "slide_ended" else last
    assert run.returncode == 0
    return first - clock, last - first


def embed(out: Path, *, on_ray: bool) -> None:
    """What is measured."""
    import bench_devices  # by its name, so that workers find the encoder

    transform = InputTransform(input_px=256, resize_px=256)
    encoder = TileEncoder.from_module(
        bench_devices.Averages(), name="averages", transform=transform
    )
    of_ray = {"runner": "ray", "worker_cores": 1} if on_ray else {}
    fleet = FleetSettings(progress="json", **of_ray)
    report = embed_tiles(out.parent / "slides", out, tile_encoder=encoder, fleet=fleet)
    assert not report.failed, report.table()


if __name__ == "__main__":
    main()
