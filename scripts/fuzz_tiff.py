"""Feeds admission TIFF files with wrong bytes in their index, and reports what it cannot take.

    python scripts/fuzz_tiff.py --minutes 10

A finding is any exception but a refusal, more than a second of CPU, or more than 200 MB of memory.
Findings are kept as files; each belongs into `tests/slides/tiff/test_fuzz.py` once it is mended.
What is accepted though it differs from the whole file is counted by what differs: nothing in the
file contradicts it.
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np

from slidenet.testing.tiff_fuzz import Facts, facts_of, fuzz_seeds, mutant

_CPU_S = 1.0
_MEMORY_BYTES = 200_000_000
_FIELDS = (
    "size", "tile", "codec", "photometric", "predictor", "orientation", "offsets", "byte counts",
    "a level unused", "told incomplete", "told unreadable",
)  # fmt: skip


class _TooSlowError(Exception):
    """The CPU budget of one file is spent."""


def main() -> int:
    """Runs for the asked time; the exit status is 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("fuzz_found"), help="folder of findings")
    arguments = parser.parse_args()
    _limit_memory()
    signal.signal(signal.SIGVTALRM, _stop)
    rng = np.random.default_rng(arguments.seed)
    verdicts: Counter[str] = Counter()
    differences: Counter[str] = Counter()
    findings: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeds = fuzz_seeds(folder)
        path = folder / "mutant.tif"
        truth = {}
        for layout, seed in seeds.items():
            path.write_bytes(seed.data)
            truth[layout] = facts_of(path)
        names = list(seeds)
        end = time.monotonic() + 60 * arguments.minutes
        while time.monotonic() < end:
            layout = names[rng.integers(len(names))]
            data = mutant(seeds[layout], rng)
            path.write_bytes(data)
            signal.setitimer(signal.ITIMER_VIRTUAL, _CPU_S)
            try:
                facts = facts_of(path)
            except Exception as error:  # whatever it is, it is what we look for
                finding = f"{type(error).__name__}: {error}"
                if not findings[finding]:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    kept = arguments.keep / f"{len(findings):03}.tif"
                    kept.write_bytes(data)
                    print(f"found ({layout}, kept as {kept}): {finding}", flush=True)
                findings[finding] += 1
                continue
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            verdicts["refused" if facts is None else "accepted"] += 1
            if facts is not None and facts != truth[layout]:
                differences[_difference(facts, truth[layout])] += 1
    tried = verdicts.total() + findings.total()
    print(f"{tried} files, seed {arguments.seed}: {dict(verdicts)}, findings {findings.total()}")
    for words, count in differences.most_common():
        print(f"  accepted, and differs in {words}: {count} ({count / tried:.2%})")
    return 1 if findings else 0


def _difference(facts: Facts, truth: Facts | None) -> str:
    if truth is None or len(facts) != len(truth):
        return "number of levels"
    found = {
        field
        for mine, theirs in zip(facts, truth, strict=True)
        for field, one, other in zip(_FIELDS, mine, theirs, strict=True)
        if one != other
    }
    return ", ".join(field for field in _FIELDS if field in found)


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY_BYTES,) * 2)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise _TooSlowError(f"more than {_CPU_S} s of CPU")


if __name__ == "__main__":
    sys.exit(main())
