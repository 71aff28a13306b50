"""Kills `slidenet run` at random moments and compares the files with an uninterrupted run.

check_resume.py MANIFEST [--kills 3] [--seed 0] [flags of slidenet run ...]

Runs once undisturbed; then runs again into another folder, killed with SIGKILL at `--kills` random
moments of the undisturbed duration before it may finish. Every .h5 and .geojson must have the same
bytes in both folders.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, resumed = Path(folder) / "whole", Path(folder) / "resumed"
        clock = time.monotonic()
        code = start(options.manifest, whole, flags).wait()
        duration = time.monotonic() - clock
        print(f"undisturbed: exit code {code}, {duration:.0f} s")
        moments = random.Random(options.seed)
        for _ in range(options.kills):
            wait = moments.uniform(0.1, 0.8) * duration
            run = start(options.manifest, resumed, flags)
            time.sleep(wait)
            run.kill()
            run.wait()
            print(f"killed after {wait:.0f} s: {len(digests(resumed))} finished files")
        code_again = start(options.manifest, resumed, flags).wait()
        print(f"last run: exit code {code_again}")
        expected, found = digests(whole), digests(resumed)
        leftovers = [p for p in resumed.rglob(".*") if p.is_file()]
    for name in sorted(expected | found):
        same = expected.get(name) == found.get(name)
        print(f"{'equal    ' if same else 'DIFFERENT'}  {name}")
    print(f"left over: {[p.name for p in leftovers]}")
    sys.exit(expected != found or code != code_again or bool(leftovers))


def start(manifest: Path, out: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    """`slidenet run` in the background, quietly."""
    command = [sys.executable, "-m", "slidenet.cli.main", "run"]
    command += ["--slides", str(manifest), "--out", str(out), *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every finished file slidenet stands behind."""
    files = [p for kind in ("*.h5", "*.geojson") for p in folder.rglob(kind)]
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if not p.name.startswith(".")
    }


if __name__ == "__main__":
    main()
