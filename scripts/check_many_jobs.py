"""Starts many jobs on one output folder, kills some, and compares with one undisturbed job.

check_many_jobs.py [--jobs 8] [--kills 2] [--slides 200] [--seed 0] [--isolate]

All jobs get the same slides and the same output folder, and drain the list together. Jobs are
killed with SIGKILL at random moments of the first half of the work. Then, without a further run,
every file must be there with the bytes of a run by one job, nothing may be left over, no job may
fail, and every result must have got its name once. A job that ends with 75 (slides in progress
elsewhere) is well, as long as others end that work.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = (
    *("--target-mpp", "0.5", "--tile-size-px", "64", "--recipe", "mean"),
    *("--encoder", "toy_encoder.moments", "--engine", "torch"),
    *("--batch-size", "16", "--num-readers", "2"),
)
SIDE_PX, NUM_PICTURES = 384, 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--isolate", action="store_true", help="open slides in processes of theirs")
    options = parser.parse_args()
    import_all()
    flags = [*FLAGS, *([] if options.isolate else ["--no-isolate"])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_child(write_slides, folder / "slides", options.slides)
        alone, together = folder / "alone", folder / "together"
        clock = time.monotonic()
        codes = run_jobs(folder, alone, flags, jobs=1, moments=[])
        lasted = time.monotonic() - clock
        print(f"one job: exit code {codes[0]}, {lasted:.1f} s", flush=True)
        chance = random.Random(options.seed)
        moments = sorted(chance.uniform(0.1, 0.5) * lasted for _ in range(options.kills))
        clock = time.monotonic()
        codes = run_jobs(folder, together, flags, jobs=options.jobs, moments=moments)
        print(
            f"{options.jobs} jobs: exit codes {codes}, {time.monotonic() - clock:.1f} s", flush=True
        )
        faults = compare(alone, together, folder / "together.renames", options.slides)
        ended = [code for code in codes if code not in (0, 75, -signal.SIGKILL)]
        faults += [f"a job ended with {code}" for code in ended]
        if codes.count(-signal.SIGKILL) != options.kills:
            faults.append(f"{options.kills} jobs were to be killed: too little work")
        if faults:
            print(*(log.read_text()[-3000:] for log in sorted(folder.glob("*.log"))), sep="\n")
    print(*(f"FAULT {fault}" for fault in faults), sep="\n")
    return 1 if faults else 0


def compare(alone: Path, together: Path, renames: Path, num_slides: int) -> list[str]:
    """What is missing, different, left over or made twice."""
    wanted, found = digests(alone), digests(together)
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    faults += [f"{name} should not be there" for name in sorted(found.keys() - wanted.keys())]
    faults += [
        f"{n} differs" for n in sorted(wanted.keys() & found.keys()) if wanted[n] != found[n]
    ]
    hidden = list(together.rglob(".*"))
    faults += [f"{p.relative_to(together)} was left over" for p in hidden]
    made = Counter(line for line in renames.read_text().splitlines() if line.endswith(".h5"))
    faults += [f"{name} got its name {n} times" for name, n in made.items() if n > 1]
    stages = json.loads((together / "run.json").read_text())["stages"]
    for verb, stage in stages.items():
        ends = Counter(slide["status"] for slide in stage["slides"])
        print(f"run.json, {verb}: {dict(ends)}")
        if len(stage["slides"]) > num_slides or ends["failed"]:
            faults.append(f"run.json tells of {dict(ends)} of {verb}")
    print(f"{len(found)} files, {sum(made.values())} h5 files named, {len(hidden)} left over")
    return faults


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that people use, by its name in the folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and not is_report(path, folder)
    }


def is_report(path: Path, folder: Path) -> bool:
    """Whether a file says what a run did, and when."""
    return path.relative_to(folder).parts[0] in ("run.json", "runs")


def run_jobs(
    folder: Path, out: Path, flags: list[str], *, jobs: int, moments: list[float]
) -> list[int]:
    """The exit codes of so many jobs; some are killed when so many seconds have passed."""
    fork = multiprocessing.get_context("fork")
    started = [
        fork.Process(target=job, args=(folder, out, flags, number)) for number in range(jobs)
    ]
    clock = time.monotonic()
    for process in started:
        process.start()
    for process, moment in zip(started[1:], moments, strict=False):
        time.sleep(max(0.0, clock + moment - time.monotonic()))
        os.kill(process.pid, signal.SIGKILL)
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def job(folder: Path, out: Path, flags: list[str], number: int) -> None:
    """One `slidenet run`, which notes every file that gets its name."""
    log = os.open(folder / f"{out.name}{number}.log", os.O_WRONLY | os.O_CREAT, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    renames = os.open(folder / f"{out.name}.renames", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    replace = os.replace

    def noted(source: str | Path, target: str | Path) -> None:
        replace(source, target)
        os.write(renames, f"{target}\n".encode())

    os.replace = noted
    from slidenet.cli.main import main as slidenet

    slides = folder / "slides" / "slides.csv"
    sys.exit(slidenet(["run", "--slides", str(slides), "--out", str(out), *flags]))


def import_all() -> None:
    """What every job needs, once, before the forks."""
    places = [str(HERE / "faults"), *filter(None, [os.environ.get("PYTHONPATH")])]
    sys.path.insert(0, places[0])
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    for name in ("openslide", "slidenet.pipelines.run", "slidenet.cli.flags", "toy_encoder"):
        import_module(name)
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def in_child(function, *arguments) -> None:
    """Does something in a process of its own, so that this one starts no threads."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__} failed")


def write_slides(folder: Path, count: int) -> None:
    """Small slides and their manifest; from the 21st on the pictures come again."""
    from slidenet.testing import write_synthetic_slide

    folder.mkdir()
    names = [f"s{number:03d}" for number in range(count)]
    for seed, name in enumerate(names):
        path = folder / f"{name}.tiff"
        if seed < NUM_PICTURES:
            write_synthetic_slide(path, SIDE_PX, SIDE_PX, 0.5, num_blobs=2, seed=seed)
        else:
            shutil.copy(folder / f"{names[seed % NUM_PICTURES]}.tiff", path)
    lines = ["slide_id,slide_path", *(f"{name},{name}.tiff" for name in names)]
    (folder / "slides.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
