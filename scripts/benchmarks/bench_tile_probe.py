"""How good are the features of a tile encoder? A linear probe beside its colour floor.

bench_tile_probe.py FOLDER [--encoder NAME] [--weights FILE] [--seeds 5]

FOLDER holds tiles.csv (path,label,group). Tiles of one group never lie on both sides of a split,
for LC25000's tiles are augmented copies of a few photographs. The colour floor is the same probe on
the mean and deviation of each RGB channel: what a classifier gets without seeing any shape.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from slidenet import load_tile_encoder

BATCH_SIZE = 64
TEST_SHARE = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="efficientnet_lite0")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    with (options.folder / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.array([row["label"] for row in rows])
    groups = np.array([row["group"] for row in rows])
    paths = [options.folder / row["path"] for row in rows]
    encoder = load_tile_encoder(options.encoder, weights=options.weights, device="auto")

    features, colours = [], []
    for start in tqdm(range(0, len(paths), BATCH_SIZE), unit="batch"):
        tiles = np.stack([np.asarray(Image.open(p)) for p in paths[start : start + BATCH_SIZE]])
        features.append(encoder.encode(torch.from_numpy(tiles).permute(0, 3, 1, 2)).numpy())
        colours.append(np.concatenate([tiles.mean(axis=(1, 2)), tiles.std(axis=(1, 2))], axis=1))

    print(f"{len(rows)} tiles, {len(set(groups))} groups, {len(set(labels))} classes")
    print(f"balanced accuracy on {TEST_SHARE:.0%} of the groups, {options.seeds} seeds")
    print("| features | median | lowest | highest |\n|---|---|---|---|")
    for name, matrix in [
        (options.encoder, np.concatenate(features)),
        ("colour mean and deviation (floor)", np.concatenate(colours)),
    ]:
        scores = [probe(matrix, labels, groups, seed) for seed in range(options.seeds)]
        low, middle, high = min(scores), float(np.median(scores)), max(scores)
        print(f"| {name} | {middle:.3f} | {low:.3f} | {high:.3f} |")


def probe(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int) -> float:
    """Balanced accuracy of logistic regression on groups it has not seen."""
    split = GroupShuffleSplit(n_splits=1, test_size=TEST_SHARE, random_state=seed)
    train, test = next(split.split(features, labels, groups))
    assert not set(groups[train]) & set(groups[test])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(features[train], labels[train])
    return float(balanced_accuracy_score(labels[test], model.predict(features[test])))


if __name__ == "__main__":
    main()
