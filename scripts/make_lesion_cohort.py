"""Writes a cohort of generated slides with known lesions (`slidenet.testing.write_lesion_cohort`).

make_lesion_cohort.py FOLDER [--num-patients 48] [--rule near_vs_far] [--seed 0] [--processes 2]
"""

import argparse
import os
import time
from pathlib import Path

from slidenet.testing import write_lesion_cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--num-patients", type=int, default=48)
    parser.add_argument("--rule", choices=["near_vs_far", "present_vs_absent"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    started = time.monotonic()
    manifest = write_lesion_cohort(
        options.folder,
        num_patients=options.num_patients,
        rule=options.rule or "near_vs_far",
        seed=options.seed,
        num_processes=options.processes,
    )
    num_slides = len(manifest.read_text().splitlines()) - 1
    print(f"{num_slides} slides in {time.monotonic() - started:.0f} s; manifest {manifest}")


if __name__ == "__main__":
    main()
