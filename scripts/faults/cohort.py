"""A small cohort of generated slides, and processes that work on it, quickly started by a fork."""

import faulthandler
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NUM_SLIDES = 3
SLIDES = tuple(f"s{n}" for n in range(NUM_SLIDES))
SIDE_PX = 512
ENCODER = "toy_encoder.moments"
_CUT = ("--target-mpp", "0.5", "--tile-size-px", "32")
_ENCODE = ("--encoder", ENCODER, "--engine", "torch", "--batch-size", "32")
_READ = ("--num-readers", "2")
FLAGS = {
    "run": (*_CUT, *_ENCODE, *_READ, "--recipe", "mean"),
    "preprocess": _CUT,
    "embed-tiles": (*_ENCODE, *_READ),
    "embed-slides": ("--encoder", ENCODER, "--recipe", "mean"),
    "export-tiles": ("--shard-mb", "0.1"),
}
"""Of each verb."""
MODULES = (
    *("h5py", "openslide", "timm", "toy_encoder", "slidenet.tile_encoders.architecture"),
    *("slidenet.cli.main", "slidenet.cli.flags", "slidenet.pipelines.run"),
    "slidenet.pipelines.export_tiles",
)
# What a run says of itself, and files under way, are no results.
NO_RESULTS = ("run.json", "runs")


def is_result(path: Path, out: Path) -> bool:
    """Whether a file of the output folder is one that people use."""
    parts = path.relative_to(out).parts
    return parts[0] not in NO_RESULTS and not any(part.startswith(".") for part in parts)


def results(out: Path) -> dict[str, str]:
    """Digest of every result in an output folder."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and is_result(path, out)
    }


def leftovers(out: Path) -> list[str]:
    """Hidden files: partial rows, temporary files, claims; not what is kept on purpose."""
    hidden = [p for p in sorted(out.rglob(".*")) if p.is_file() and p.name != ".origins.json"]
    return [str(path.relative_to(out)) for path in hidden]


def import_all() -> None:
    """What every process under test needs, once, before the forks."""
    sys.path.insert(0, str(HERE))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    for name in MODULES:
        import_module(name)
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def write_slides(folder: Path) -> None:
    """Slides, a manifest, and one more slide of the same size to replace one with."""
    from slidenet.testing import write_synthetic_slide

    folder.mkdir()
    rows = ["slide_id,slide_path"]
    for number in range(NUM_SLIDES + 1):
        name = "other" if number == NUM_SLIDES else f"s{number}"
        # The last one is of JPEG tiles, as most scanners write them.
        quality = 85 if number in (NUM_SLIDES - 1, NUM_SLIDES) else None
        path = folder / f"{name}.tiff"
        write_synthetic_slide(
            path, SIDE_PX, SIDE_PX, 0.5, num_blobs=2, seed=number, jpeg_quality=quality
        )
        if number < NUM_SLIDES:
            rows.append(f"{name},{path.name}")
    shutil.move(folder / "other.tiff", folder.parent / "other.tiff")
    (folder / "slides.csv").write_text("\n".join(rows) + "\n")


@dataclass
class Job:
    """One process that runs slidenet.

    Attributes:
        arguments: Of the command line.
        log: Where its output goes.
        faults: A plan of `injection.install`, or None.
        memory_mb: More than it has at its start it gets no memory.
        hurried: Claims are given up after seconds instead of minutes.
    """

    arguments: Sequence[str]
    log: Path
    faults: dict[str, Any] | None = None
    memory_mb: int | None = None
    hurried: bool = False
    process: Any = field(init=False, default=None)

    def start(self) -> "Job":
        """Starts it."""
        self.process = multiprocessing.get_context("fork").Process(target=self._main)
        self.process.start()
        return self

    def signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def is_stopped(self) -> bool:
        """Whether SIGSTOP has stopped it."""
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in "Tt"

    def wait_stopped(self, limit_s: float) -> bool:
        """Waits until it is stopped; False where it ends (or is too slow) instead."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.process.is_alive():
            if self.is_stopped():
                return True
            time.sleep(0.01)
        return False

    def wait(self, limit_s: float) -> int | None:
        """Its exit code, -N where signal N ended it; None where it hung (and is killed)."""
        self.process.join(limit_s)
        if self.process.is_alive():
            self.signal(signal.SIGUSR1)  # its log gets the lines where it hangs
            time.sleep(0.5)
            self.signal(signal.SIGKILL)
            self.process.join()
            return None
        return self.process.exitcode

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _main(self) -> None:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        if self.faults is not None:
            from injection import install

            os.environ["SLIDENET_FAULTS"] = json.dumps(self.faults)
            install(self.faults)
        if self.memory_mb is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + self.memory_mb * 2**20,) * 2)
        if self.hurried:
            from slidenet.stores import claims

            claims.HEARTBEAT_S, claims.STALE_S = 0.5, 3.0
        from slidenet.cli.main import main

        sys.exit(main(list(self.arguments)))


def in_child(function: Callable[..., None], *arguments: Any) -> None:
    """Does something in a process of its own, so that this one starts no threads."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__} failed")
