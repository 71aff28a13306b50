"""What an ensemble of folds is worth on patients that no fold has seen, and what `predict` notices.

    python scripts/benchmarks/bench_ensembles.py --seeds 0,1
    python scripts/benchmarks/bench_ensembles.py --distance

The first trains `crossval` with the shipped defaults on 40 generated patients and judges the
ensemble and each of its members on 120 others: AUROC, and the difference to the mean member with an
interval of a bootstrap of patients. The second counts how many slides of the same kind, and of
shifted ones, are named as unlike the training cohort. Both print a markdown table.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

NUM_TRAINING, NUM_OTHERS, NUM_RESAMPLES = 40, 120, 1000


def ensemble_rows(seed: int, network: str, folder: Path) -> str:
    """One line of the table of ensembles."""
    from sklearn.metrics import roc_auc_score

    import slidenet
    from slidenet.data.datamodule import read_bags
    from slidenet.data.settings import DataSettings
    from slidenet.testing import write_feature_cohort
    from slidenet.training import load_bundle

    cohort = write_feature_cohort(
        folder / "cohort",
        num_patients=NUM_TRAINING + NUM_OTHERS,
        slides_per_patient=(1,),
        num_tiles=16,
        feature_dim=64,
        signal=2.0,
        seed=seed,
    )
    rows = list(csv.DictReader(cohort.labels.open()))
    tables = {"train": rows[:NUM_TRAINING], "others": rows[NUM_TRAINING:]}
    for name, part in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    slidenet.crossval(
        folder / "cv",
        labels=folder / "train.csv",
        features=cohort.features,
        positive="1",
        network=network,
        accelerator="cpu",
        probes=False,
        cache=True,
        enable_progress_bar=False,
    )
    others = DataSettings(labels=folder / "others.csv", features=cohort.features, positive="1")
    data = read_bags(others, unsplit=True)
    truth = data.targets()

    def scores(path: Path) -> np.ndarray:
        model = load_bundle(path)
        found: dict[str, float] = {}
        for batch in data.whole_dataloader(None):
            found |= zip(batch.bag_ids, model.predict(batch).probabilities[:, 1], strict=True)
        return np.array([found[bag.bag_id] for bag in data.bags()])

    together = scores(folder / "cv" / "ensemble.slidenet")
    alone = [scores(path) for path in sorted(folder.glob("cv/fold_*/model.slidenet"))]

    def gain(drawn: np.ndarray) -> float:
        each = np.mean([roc_auc_score(truth[drawn], score[drawn]) for score in alone])
        return roc_auc_score(truth[drawn], together[drawn]) - each

    rng = np.random.default_rng(0)
    draws = [gain(rng.integers(len(truth), size=len(truth))) for _ in range(NUM_RESAMPLES)]
    low, high = np.quantile(draws, (0.025, 0.975))
    each = [roc_auc_score(truth, score) for score in alone]
    return (
        f"| {network} | {seed} | {roc_auc_score(truth, together):.3f} | {np.mean(each):.3f} "
        f"({min(each):.3f} to {max(each):.3f}) | {gain(np.arange(len(truth))):+.3f} "
        f"({low:+.3f} to {high:+.3f}) |"
    )


def distance_rows(num_slides: int, feature_dim: int, repeats: int) -> str:
    """One line of the table of slides named as unlike the training cohort."""
    from slidenet.training.features.statistics import FAR, fit_statistics

    rng = np.random.default_rng(0)
    named: dict[float, list[float]] = {0.0: [], 0.3: [], 1.0: []}
    for _ in range(repeats):
        mixing = 2 * rng.normal(size=(12, feature_dim)) / np.arange(1, 13)[:, None]

        def slides(count: int, mixing: np.ndarray = mixing) -> np.ndarray:
            noise = 0.3 * rng.normal(size=(count, feature_dim))
            return rng.normal(size=(count, 12)) @ mixing + noise

        statistics = fit_statistics(slides(num_slides))
        assert statistics is not None
        limit = max(FAR, statistics.least_share) + 1e-9
        for size, shares in named.items():
            new = slides(200) + size * rng.normal(size=feature_dim)
            shares.append(float((statistics.shares_as_far(new) <= limit).mean()))
    cells = " | ".join(f"{100 * np.mean(shares):.1f} %" for shares in named.values())
    return f"| {num_slides} | {feature_dim} | {cells} |"


def main() -> None:
    """Prints one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--network", default="abmil")
    parser.add_argument("--distance", action="store_true")
    arguments = parser.parse_args()
    if arguments.distance:
        print("| training slides | features | same kind | shift of 0.3 | shift of 1 |")
        print("|---|---|---|---|---|")
        for num_slides, feature_dim in ((40, 64), (40, 1024), (200, 1024)):
            print(distance_rows(num_slides, feature_dim, 30), flush=True)
        return
    print("| network | seed | ensemble | mean member (range) | gain (95 % interval) |")
    print("|---|---|---|---|---|")
    for seed in map(int, arguments.seeds.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            print(ensemble_rows(seed, arguments.network, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
