"""Do the shipped defaults train small cohorts about as well as the best fixed setting?

bench_small_cohorts.py [--networks abmil,clam_sb,longnet] [--slides 40,80] [--signals 4,6]
                       [--seeds 3] [--test 160] [--processes 2] [--out FOLDER]

Slides of slidenet.testing (`present_vs_absent`): bags of 64 tiles, about 5 of them shifted in one
direction where the label is 1. A fifth of the slides is val. Each network trains with the YAML that
is shipped for it, as `slidenet train` does, and with eight fixed settings: four learning rates,
each for 25 and 50 epochs without early stopping. The best fixed setting is chosen by one half of
the test patients and everything is judged by the other half. A finished training is not repeated:
with the same --out a killed benchmark goes on. More slides, signals, seeds: by the flags.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slidenet.core.arrays import FloatArray
from slidenet.data.datamodule import read_bags
from slidenet.pipelines.fitting.fit import prepare_fit
from slidenet.pipelines.fitting.plan import TrainSettings, read_arguments
from slidenet.pipelines.fitting.predictions import predict_split
from slidenet.stores.atomic import write_json
from slidenet.tasks.calibration import UNCALIBRATED
from slidenet.testing.cohorts.feature_cohort import generate_features, write_generated
from slidenet.testing.cohorts.lesion_cohort import write_rows

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
NUM_TILES, DRAWN_FROM, FEATURE_DIM = 64, 121, 32
FIXED = list(itertools.product((1e-4, 3e-4, 1e-3, 3e-3), (25, 50)))
DEFAULTS = "defaults"
RESAMPLES = 2000
Cell = tuple[int, float, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default="abmil,clam_sb,longnet")
    parser.add_argument("--slides", default="40,80", help="of train and val, one per patient")
    parser.add_argument("--signals", default="4,6", help="lesion over spread of tiles")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=160, help="test slides, in two halves")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="keeps what is trained, to go on")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="small_cohorts_"))
    sizes = [int(n) for n in options.slides.split(",")]
    signals = [float(s) for s in options.signals.split(",")]
    cells = list(itertools.product(sizes, signals, range(options.seeds)))
    networks = options.networks.split(",")
    for cell in cells:
        write_cohort(out, cell, options.test)
    work = [
        (out, network, cell, name)
        for network in networks
        for cell in cells
        for name in (DEFAULTS, *map(setting_name, FIXED))
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for done, _ in enumerate(pool.imap_unordered(train_once, work), 1):
            print(f"\r{done} of {len(work)} trainings", end="", file=sys.stderr, flush=True)
    print(f"\nCommand: {' '.join(sys.argv)}\n")
    print("| network | slides | defaults | best fixed setting | chosen | share of it |")
    print("|---|---|---|---|---|---|")
    for network in networks:
        for of_size in [*([n] for n in sizes), sizes]:
            chosen = [cell for cell in cells if cell[0] in of_size]
            print(table_row(out, network, chosen, ", ".join(map(str, of_size))))


def setting_name(setting: tuple[float, int]) -> str:
    return f"{setting[0]:.0e}, {setting[1]} epochs"


def cell_folder(out: Path, cell: Cell) -> Path:
    return out / f"slides_{cell[0]}_signal_{cell[1]:g}_seed_{cell[2]}"


def write_cohort(out: Path, cell: Cell, num_test: int) -> None:
    """The features of a cohort, its labels, and a split whose test slides nobody trains on."""
    folder = cell_folder(out, cell)
    if (folder / "split.csv").is_file():
        return
    num_slides, signal, seed = cell
    cohort = generate_features(
        num_patients=num_slides + num_test,
        slides_per_patient=(1,),
        num_tiles=DRAWN_FROM,
        feature_dim=FEATURE_DIM,
        signal=signal,
        seed=seed,
    )
    rng = np.random.default_rng((seed, 2))
    for slide in cohort.slides:
        # Bags of one length: LongNet packs bags of different lengths and goes through them singly.
        kept = np.sort(rng.permutation(len(slide.coords))[:NUM_TILES])
        assert len(kept) == NUM_TILES, "a slide has more tiles than its bag"
        slide.keep_tiles(kept)
    write_generated(cohort, folder)
    rows, seen = [["slide_id", "split"]], {"0": 0, "1": 0}
    for slide in cohort.slides:
        place = seen[slide.row["label"]]
        seen[slide.row["label"]] += 1
        inside = place < num_slides // 2
        rows.append([slide.slide_id, ("val" if place % 5 == 0 else "train") if inside else "test"])
    write_rows(folder / "split.csv", rows)


def train_once(work: tuple[Path, str, Cell, str]) -> None:
    """One training; leaves the labels and scores of the test slides."""
    out, network, cell, name = work
    cohort = cell_folder(out, cell)
    path = cohort / f"{network}_{name.replace(', ', '_').replace(' ', '_')}.json"
    if path.is_file():
        return
    config = yaml.safe_load((CONFIGS / f"{network}.yaml").read_text())
    model, trainer = config["model"], {**config.get("trainer", {}), "accelerator": "cpu"}
    settings: dict[str, Any] = {"seed": cell[2]}
    for rate, epochs in FIXED:
        if name == setting_name((rate, epochs)):
            model["learning_rate"], trainer["max_epochs"] = rate, epochs
            settings["patience"] = None
    data = {
        **config["data"],
        "labels": cohort / "labels.csv",
        "features": cohort / "features",
        "splits": cohort / "split.csv",
    }
    wanted, plan, _ = read_arguments(
        TrainSettings(**settings), {}, data=data, model=model, trainer=trainer
    )
    bags = read_bags(wanted)
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    trained = prepare_fit(bags, plan, folder).run()
    found = predict_split(trained.module, bags, "test", UNCALIBRATED)
    scores = {
        bag: [int(target), float(probability)]
        for bag, target, probability in zip(
            found.bag_ids, found.labels, found.probabilities[:, 1], strict=True
        )
    }
    shutil.rmtree(folder)
    write_json(path, {"learning": trained.learning.identity(), "scores": scores})


def table_row(out: Path, network: str, cells: list[Cell], sizes: str) -> str:
    names = [DEFAULTS, *map(setting_name, FIXED)]
    scores = {name: [read_scores(out, network, cell, name) for cell in cells] for name in names}
    by_choice = {name: excess([s[::2] for s in scores[name]]) for name in names[1:]}
    best = max(by_choice, key=lambda name: by_choice[name])
    judged = {name: [s[1::2] for s in scores[name]] for name in (DEFAULTS, best)}
    ours, fixed = excess(judged[DEFAULTS]), excess(judged[best])
    # Test patients are drawn anew within each cohort, the same ones for both settings.
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = [resample(s, rng) for s in judged[DEFAULTS]]
        pair = [excess([s[r] for s, r in zip(judged[n], rows, strict=True)]) for n in judged]
        drawn.append((*pair, pair[0] / pair[1]) if len(pair) == 2 else (pair[0], pair[0], 1.0))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    cells_of = [
        f"{value:.3f} ({low[i]:.3f} to {high[i]:.3f})" for i, value in enumerate((ours, fixed))
    ]
    share = f"{ours / fixed:.0%} ({low[2]:.0%} to {high[2]:.0%})"
    return f"| {network} | {sizes} | {cells_of[0]} | {cells_of[1]} | {best} | {share} |"


def read_scores(out: Path, network: str, cell: Cell, name: str) -> FloatArray:
    """(N, 2): label and score of the test slides, classes in turn, so that halves are alike."""
    path = cell_folder(out, cell) / f"{network}_{name.replace(', ', '_').replace(' ', '_')}.json"
    found = np.array(list(json.loads(path.read_text())["scores"].values()))
    order = np.argsort(found[:, 0], kind="stable")
    return found[order]


def resample(scores: FloatArray, rng: np.random.Generator) -> Any:
    """Rows drawn with replacement, as many of either class as there are."""
    classes = [np.flatnonzero(scores[:, 0] == label) for label in (0, 1)]
    return np.concatenate([rng.choice(rows, len(rows)) for rows in classes])


def excess(cohorts: list[FloatArray]) -> float:
    """Mean over cohorts of the area under the ROC curve, less a half."""
    values = []
    for scores in cohorts:
        low, high = (scores[scores[:, 0] == label, 1] for label in (0, 1))
        above = np.sign(high[:, None] - low[None, :])
        values.append(float(above.mean()) / 2)
    return float(np.mean(values))


if __name__ == "__main__":
    main()
