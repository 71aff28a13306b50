"""Whether `slidenet plan` is right: three cohorts, each bound by something else, planned and run.

bench_plan.py [--cohorts decode encode network] [--turns 3] [--scale 1.0]

Cohorts are eight generated JPEG pyramids with tissue of different sizes. Each is planned first by
`slidenet plan`, which looks for tissue on five of the eight, and then run by `slidenet run` in a
new folder, `--turns` times, of which the median counts, from the start of Python to its end:

- decode: tiles that overlap, of pixels finer than asked for, and an encoder that does next to
  nothing;
- encode: the default encoder, on tiles that are read quickly;
- network: the first encoder, and slides on a web server of this machine that sends `--network-mb`
  megabytes per second to all who ask. The cache is empty before every run; what the server has
  sent is compared, too.

Goal: time within 25 %, tiles and gigabytes within 5 %, and the bottleneck named. Exit code 1 where
one is missed. Nothing else should run on the machine. `--scale 0.5` makes slides of half the side.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slidenet.pipelines.planning.tissue_sample import bytes_below
from slidenet.testing import Blob, SyntheticSlide, write_pyramid
from slidenet.tile_encoders import InputTransform, TileEncoder

MOST_TIME, MOST_AMOUNT = 0.25, 0.05
SLIDES, SAMPLE = 8, 5


class Moments(torch.nn.Module):
    """Mean and deviation of each channel in 64 parts of a tile: features that cost nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 32, 32) to (B, 384)."""
        parts = images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
        return torch.cat([parts.mean(-1), parts.std(-1)], dim=1).flatten(1)


def light(**_: object) -> TileEncoder:
    """An encoder of another package, as `--encoder bench_plan.light` finds it."""
    transform = InputTransform(input_px=32, resize_px=32)
    return TileEncoder.from_module(Moments(), name="bench_plan.light", transform=transform)


@dataclass(frozen=True)
class Cohort:
    """One of the cohorts.

    Attributes:
        name: What bounds it.
        side: Of the largest slide, in pixels.
        mpp: Of level 0.
        flags: Of the run.
    """

    name: str
    side: int
    mpp: float
    flags: tuple[str, ...]


LIGHT = ("--encoder", "bench_plan.light", "--batch-size", "64")
COHORTS = (
    Cohort("decode", 8000, 0.25, (*LIGHT, "--stride-px", "24")),
    Cohort("encode", 8000, 0.5, ()),
    Cohort("network", 8000, 0.25, LIGHT),
)


class SlowServer(ThreadingHTTPServer):
    """Hands out the files of a folder, so many bytes per second to all connections together.

    Args:
        folder: Where the files lie.
        rate: Bytes per second.

    Attributes:
        sent: Bytes of files so far.
    """

    daemon_threads = True
    part_bytes = 1 << 14

    def __init__(self, folder: Path, rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.rate, self.sent = folder, rate, 0
        self._free_at, self._lock = time.monotonic(), threading.Lock()

    def wait_for_turn(self, num_bytes: int) -> None:
        """Waits until so many bytes may be sent."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() - 0.05) + num_bytes / self.rate
            self.sent += num_bytes
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SlowServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.server.folder / Path(self.path).name
        if not path.is_file():
            self.send_error(404)
            return
        size, start = path.stat().st_size, 0
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            start = int(asked[6:].partition("-")[0])
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{path.name}-{size}"')
        self.end_headers()
        with suppress(OSError), path.open("rb") as file:  # a client that has seen enough is gone
            file.seek(start)
            while with_body and (part := file.read(self.server.part_bytes)):
                self.server.wait_for_turn(len(part))
                self.wfile.write(part)


@contextmanager
def served(folder: Path, rate: float) -> Iterator[SlowServer]:
    """A server that runs for the block."""
    server = SlowServer(folder, rate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", nargs="+", default=[cohort.name for cohort in COHORTS])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--network-mb", type=float, default=1.5)
    parser.add_argument("--probe-seconds", default="30")
    parser.add_argument("--verbose", action="store_true", help="show the plans")
    options = parser.parse_args()
    print(
        "| cohort | bound by | time planned | measured (turns) | off by | tiles planned, made "
        "| MB in | MB out planned, made | planning took |\n|---|---|---|---|---|---|---|---|---|"
    )
    right = True
    for cohort in COHORTS:
        if cohort.name in options.cohorts:
            with tempfile.TemporaryDirectory() as name:
                (Path(name) / "slides").mkdir()
                rate = options.network_mb * 1e6
                with served(Path(name) / "slides", rate) as server:
                    right &= is_right(cohort, Path(name), server, options)
    sys.exit(int(not right))


def is_right(cohort: Cohort, folder: Path, server: SlowServer, options: argparse.Namespace) -> bool:
    """Plans and runs one cohort, prints its row."""
    slides, out, file = folder / "slides", folder / "out", folder / "plan.json"
    cache = folder / "cache"
    for number in range(SLIDES):
        side = int(cohort.side * options.scale)
        write_slide(slides / f"slide_{number}.tif", side, cohort.mpp, seed=number)
    manifest = folder / "slides.csv"
    where = str(slides)
    if cohort.name == "network":
        where = f"http://127.0.0.1:{server.server_address[1]}"
    names = sorted(path.name for path in slides.iterdir())
    manifest.write_text("slide_path\n" + "".join(f"{where}/{name}\n" for name in names))
    flags = ("--slides", str(manifest), "--out", str(out), "--cache", str(cache), *cohort.flags)
    further = ("--sample", str(SAMPLE), "--probe-seconds", options.probe_seconds)
    took, text = slidenet("plan", *flags, *further, "--json", str(file))
    if options.verbose:
        print(text, file=sys.stderr)
    planned = json.loads(file.read_text())
    seconds = []
    for _ in range(options.turns):
        for used in (out, cache):
            shutil.rmtree(used, ignore_errors=True)
        server.sent = 0
        seconds.append(slidenet("run", *flags)[0])
    stage = json.loads((out / "run.json").read_text())["stages"]["embed-tiles"]
    tiles = sum(slide["num_tiles"] for slide in stage["slides"])
    measured = statistics.median(seconds)
    amounts = {
        "tiles": (planned["tiles"], tiles, 1),
        "in": (planned["bytes_in"], server.sent or bytes_below(slides), 1e6),
        "out": (planned["bytes_out"], bytes_below(out), 1e6),
    }
    off = planned["seconds"] / measured - 1
    turns = ", ".join(f"{one:.1f}" for one in seconds)
    cells = [
        cohort.name,
        planned["bottleneck"],
        f"{planned['seconds']:.1f} s",
        f"{measured:.1f} s ({turns})",
        f"{off:+.0%}",
        *(
            f"{a / unit:,.4g}, {b / unit:,.4g} ({a / b - 1:+.1%})"
            for a, b, unit in amounts.values()
        ),
        f"{took:.0f} s",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    return (
        planned["bottleneck"] == cohort.name
        and abs(off) <= MOST_TIME
        and all(abs(a / b - 1) <= MOST_AMOUNT for a, b, _ in amounts.values())
    )


def slidenet(*arguments: str) -> tuple[float, str]:
    """Runs a command; its seconds and what it printed."""
    paths = (str(Path(__file__).parent), str(Path(__file__).parents[2]))
    environment: dict[str, Any] = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "slidenet.cli.main", *arguments, "--progress", "none"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, done.stdout


def write_slide(path: Path, side: int, mpp: float, *, seed: int) -> None:
    """A slide with one large piece of tissue and a small one, of sizes that differ by slide."""
    rng = np.random.default_rng(seed)
    side = int(side * rng.uniform(0.75, 1.0)) // 512 * 512
    radius = side * rng.uniform(0.35, 0.4)
    blobs = (
        Blob(side / 2, side / 2, radius, radius * rng.uniform(0.85, 1.0)),
        Blob(side * 0.1, side * 0.1, side * 0.06, side * 0.06),
    )
    painter = SyntheticSlide(side, side, blobs, seed=seed)
    write_pyramid(path, side, side, mpp, painter, jpeg_quality=85)


if __name__ == "__main__":
    main()
