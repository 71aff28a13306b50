"""Does a second target with many labels help a first one with few?

bench_targets.py [--seeds 11] [--signal 3.5] [--network abmil] [--processes 2]

Cohorts of slidenet.testing.write_target_cohort: 160 patients, of 80 to train on 16 have the first
label and all have the second, which is wrong in one of ten; both follow from the same lesions. The
model of both targets and that of the first alone train with the defaults of `slidenet train` on the
same split, and are judged by the AUROC of the first target on the other 80 patients.
"""

import argparse
import multiprocessing
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from over_seeds import t_interval

import slidenet
from slidenet.testing.cohorts.target_cohort import FIRST, SECOND, write_target_cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=11)
    parser.add_argument("--signal", type=float, default=3.5, help="lesion over spread of tiles")
    parser.add_argument("--network", default="abmil")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    work = partial(judge, signal=options.signal, network=options.network)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        found = pool.map(work, range(options.seeds), chunksize=1)
    print("| seed | both targets | first alone |\n|---:|---:|---:|")
    for seed, (both, alone) in enumerate(found):
        print(f"| {seed} | {both:.3f} | {alone:.3f} |")
    differences = [both - alone for both, alone in found]
    low, high = t_interval(differences)
    mean = statistics.mean(differences)
    print(f"\ndifference {mean:+.3f} (95 % interval {low:+.3f} to {high:+.3f})")


def judge(seed: int, *, signal: float, network: str) -> tuple[float, float]:
    """AUROC of the first target on test: of both targets together, of the first alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cohort = write_target_cohort(folder / "cohort", seed=seed, signal=signal)
        settings: dict[str, Any] = {
            "labels": cohort.labels, "features": cohort.features, "splits": cohort.splits,
            "network": network, "cache": True, "accelerator": "cpu", "drop_unlabelled": True,
            "probes": False, "ablation": False,
        }  # fmt: skip
        both = slidenet.train(
            folder / "both", targets={FIRST: "binary", SECOND: "binary"}, **settings
        )
        alone = slidenet.train(folder / "alone", label_columns=[FIRST], **settings)
    return both.metrics["test"][f"{FIRST}_auroc"], alone.metrics["test"]["auroc"]


if __name__ == "__main__":
    main()
