"""Are two lesions near each other or far apart? A task that only positions solve.

bench_positions.py [--seeds 5] [--slides 400] [--signal 10] [--epochs 90] [--split test]
                   [--processes 2]

Slides of slidenet.testing (`near_vs_far`): as many lesion tiles on every slide, the label is the
distance of the two lesions, and features say of a tile only whether it is lesion. ABMIL cannot see
where tiles lie; LongNet takes their cells for positions. Both train with the package's own code
(read_bags, SlideClassifier, default_callbacks, best epoch by validation loss) on the same
slides and splits. A seed decides slides, split, and initial weights. Settings were chosen with
`--split val`, which never looks at test slides.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from over_seeds import parse_options, t_interval

from slidenet.data.datamodule import read_bags
from slidenet.testing.cohorts.feature_cohort import (
    FeatureCohort,
    generate_features,
    write_generated,
)
from slidenet.training import SlideClassifier, default_callbacks, quiet_lightning, seed_run

NUM_TILES, FEATURE_DIM = 64, 24
TRAIN_TILES = 40
VAL_SHARE, TEST_SHARE = 0.15, 0.3
BATCH_SIZE = 16
TURN = {"abmil": False, "longnet": True}
MODELS: dict[str, dict[str, Any]] = {
    "abmil": {"learning_rate": 1e-3},
    "longnet": {
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "warmup_epochs": 5,
        "network_settings": {
            "embed_dim": 64,
            "depth": 2,
            "ffn_dim": 128,
            "num_heads": 4,
            "pooling": "class_token",
        },
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=400, help="of all splits, one per patient")
    parser.add_argument("--signal", type=float, default=10.0, help="lesion over spread of tiles")
    parser.add_argument("--epochs", type=int, default=90)
    options = parse_options(parser)
    print(
        f"{options.slides} slides per seed ({1 - VAL_SHARE - TEST_SHARE:.0%} for training), AUROC "
        f"on {options.split} slides, {options.seeds} seeds\n\nCommand: "
        f"`python scripts/benchmarks/bench_positions.py {' '.join(sys.argv[1:])}`\n"
    )
    jobs = [(options, seed) for seed in range(options.seeds)]
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes, torch.set_num_threads, (1,)) as pool:
        scores = pool.starmap(score_both, jobs, chunksize=1)
    print("| model | mean AUROC | 95 % interval | lowest | highest |\n|---|---|---|---|---|")
    for name in MODELS:
        print_row(name, [score[name] for score in scores], most=1.0)
    gains = [score["longnet"] - score["abmil"] for score in scores]
    print_row("longnet - abmil, paired", gains)


def print_row(name: str, values: list[float], most: float = float("inf")) -> None:
    mean, (low, high) = statistics.mean(values), t_interval(values)
    interval = f"{low:.3f} to {min(high, most):.3f}"
    print(f"| {name} | {mean:.3f} | {interval} | {min(values):.3f} | {max(values):.3f} |")


def score_both(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """AUROC of both models on the slides of one seed."""
    slides = generate_features(
        num_patients=options.slides,
        slides_per_patient=(1,),
        num_tiles=NUM_TILES,
        feature_dim=FEATURE_DIM,
        signal=options.signal,
        rule="near_vs_far",
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        cohort = write_generated(slides, folder)
        return {name: score(name, cohort, options, seed) for name in MODELS}


def score(name: str, cohort: FeatureCohort, options: argparse.Namespace, seed: int) -> float:
    data = read_bags(
        labels=cohort.labels,
        features=cohort.features,
        batch_size=BATCH_SIZE,
        # Bags of one length: LongNet packs bags of different lengths and goes through them singly.
        max_tiles=TRAIN_TILES,
        turn_positions=TURN[name],
        val_fraction=VAL_SHARE,
        test_fraction=TEST_SHARE,
        seed=seed,
        cache=True,
    )
    seed_run(seed)
    module = SlideClassifier(data.task_record, data.feature_dim, name, **MODELS[name])
    folder = Path(cohort.features).parent / name
    with quiet_lightning():
        trainer = Trainer(
            max_epochs=options.epochs,
            callbacks=default_callbacks(
                data.task_record, folder, seed=seed, patience=None, progress=False
            ),
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            gradient_clip_val=1.0,
            num_sanity_val_steps=0,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data)
        bags = data.test_dataloader() if options.split == "test" else data.val_dataloader()
        best = str(folder / "best.ckpt")
        (values,) = trainer.test(module, bags, ckpt_path=best, verbose=False)
    return float(values["test_auroc"])


if __name__ == "__main__":
    main()
