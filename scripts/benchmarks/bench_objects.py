"""What it costs that slides come from a bucket and results go into one: time beside local files.

bench_objects.py [--slides 6] [--side 6144] [--turns 3]

The same slides go through `slidenet run` (default encoder, a core of its own) in turn: from files
into files, from a bucket into files, from a bucket into a bucket. The server (moto) has the other
core. Each turn begins with an empty cache and a new output. The ratio is that of each turn, of the
time between the start of the command and its end; the medians are shown.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from slidenet.testing import write_synthetic_slide
from slidenet.testing.s3_server import become_user, s3_server

TARGET = 1.15
BUCKET = "bench"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--side", type=int, default=6144)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("needs two cores: one for slidenet, one for the server")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, cores[-1:])  # threads and processes stay where they are started from
    with s3_server() as address, tempfile.TemporaryDirectory() as name:
        os.sched_setaffinity(0, cores[:1])
        become_user(address)
        folder = Path(name)
        megabytes = write_slides(folder / "slides", options.slides, options.side)
        print(f"{options.slides} slides, {megabytes:.0f} MB", flush=True)
        local, there = str(folder / "slides" / "slides.csv"), f"s3://{BUCKET}/slides/slides.csv"
        turns: dict[str, list[float]] = {}
        for turn in range(options.turns):
            ways: dict[str, tuple[str, Callable[[], str]]] = {
                "files to files": (local, lambda turn=turn: str(folder / f"out{turn}")),
                "bucket to files": (there, lambda turn=turn: str(folder / f"from{turn}")),
                "bucket to bucket": (there, lambda turn=turn: f"s3://{BUCKET}/out{turn}"),
            }
            for way, (slides, out) in ways.items():
                shutil.rmtree(folder / "cache", ignore_errors=True)
                seconds = run(slides, out(), folder / "cache")
                turns.setdefault(way, []).append(seconds)
                print(f"turn {turn + 1}, {way}: {seconds:.1f} s", flush=True)
    print("\n| | seconds | of files to files |\n|---|---|---|")
    base, worst = turns["files to files"], 0.0
    for way, seconds in turns.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        worst = max(worst, ratio)
        print(f"| {way} | {statistics.median(seconds):.1f} | {ratio:.3f} |")
    print(f"\nat most {TARGET}: {'yes' if worst <= TARGET else 'no'}")
    return 0 if worst <= TARGET else 1


def write_slides(folder: Path, count: int, side: int) -> float:
    """Slides with much tissue, here and in the bucket; their megabytes."""
    import boto3

    folder.mkdir()
    lines = ["slide_id,slide_path"]
    for number in range(count):
        path = folder / f"s{number}.tiff"
        write_synthetic_slide(path, side, side, 0.5, num_blobs=12, seed=number)
        lines.append(f"{path.stem},{path.name}")
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for path in folder.iterdir():
        client.upload_file(str(path), BUCKET, f"slides/{path.name}")
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def run(slides: str, out: str, cache: Path) -> float:
    """Seconds of one `slidenet run` on the core of this thread."""
    command = ["-m", "slidenet.cli.main", "run", "--slides", slides, "--out", out]
    flags = ["--recipe", "mean", "--engine", "torch", "--progress", "none", "--cache", str(cache)]
    started = time.perf_counter()
    found = subprocess.run([sys.executable, *command, *flags], capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(found.stdout + found.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
