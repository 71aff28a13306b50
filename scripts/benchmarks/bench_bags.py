"""Does a bag of 200 tiles hold carcinoma? Mean pooling, ABMIL and CLAM-SB on real tiles.

bench_bags.py FOLDER [--features FILE] [--shares 0.05 0.01] [--models mean abmil clam_sb]
              [--seeds 5] [--split test] [--processes 2]

FOLDER holds tiles.csv (path,label,group) of LC25000. Negative bags hold normal lung and colon
tiles; in positive bags a share of them is replaced by carcinoma tiles. Groups (augmented copies of
one photograph) lie in one split each: half for training, a fifth for validation, the rest for
testing, per label. A seed decides the splits, the bags and the initial weights. Training is that of
the package: SlideClassifier, default_callbacks, best epoch by validation loss. Settings were chosen
with `--split val`, which never looks at test bags.
"""

import argparse
import csv
import multiprocessing
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from over_seeds import parse_options, t_interval
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slidenet import load_tile_encoder
from slidenet.data import Bag, collate_bags
from slidenet.tasks import BinaryTask
from slidenet.training import SlideClassifier, default_callbacks, quiet_lightning, seed_run
from slidenet.training.features.reduction import FeatureReduction

TASK = BinaryTask(("carcinoma",), ("no", "yes"))
ENCODER = "efficientnet_lite0"
NORMAL = ("lung_n", "colon_n")
BAG_TILES = 200
SPLITS = {"train": 0.5, "val": 0.2, "test": 0.3}
NUM_BAGS = {"train": 12_000, "val": 200, "test": 400}
BATCH_SIZE, ENCODE_BATCH = 16, 64
MAX_EPOCHS = 2
COMPONENTS, FEATURE_SCALE = 32, 1.0
WIDTHS = {"hidden_dim": 128, "attention_dim": 64}
# Without dropout both know the training tiles by heart. CLAM by default calls the 8 tiles with the
# highest attention positive; the bags hold as few as 2.
MODELS: dict[str, dict[str, Any]] = {
    "mean": {"learning_rate": 1e-2},
    "abmil": {"learning_rate": 1e-3, "network_settings": {**WIDTHS, "dropout": 0.5}},
    "clam_sb": {
        "learning_rate": 1e-3,
        "network_settings": {**WIDTHS, "dropout": 0.25, "num_instances": 2},
    },
}


@dataclass(frozen=True)
class Tiles:
    """Every tile once: features (N, D), label and group of each."""

    features: Tensor
    labels: np.ndarray
    groups: np.ndarray


class SampledBags(Dataset[Bag]):
    """Bags of tiles drawn from some rows of the matrix; bag i is always the same.

    Args:
        features: The matrix, (N, k).
        normal: Rows of normal tiles bags may hold.
        carcinoma: Rows of carcinoma tiles bags may hold.
        num_bags: How many; every second one is positive.
        num_carcinoma: Carcinoma tiles of a positive bag.
        rng: Decides. Tiles are drawn with replacement, since the splits hold few.
    """

    def __init__(
        self,
        features: Tensor,
        normal: np.ndarray,
        carcinoma: np.ndarray,
        num_bags: int,
        num_carcinoma: int,
        rng: np.random.Generator,
    ) -> None:
        self.features = features
        self.drawn = rng.choice(normal, (num_bags, BAG_TILES))
        positive = self.drawn[1::2]
        positive[:, :num_carcinoma] = rng.choice(carcinoma, (len(positive), num_carcinoma))
        self.drawn = rng.permuted(self.drawn, axis=1)

    def __len__(self) -> int:
        return len(self.drawn)

    def __getitem__(self, index: int) -> Bag:
        # These models know no places.
        nowhere = torch.zeros(BAG_TILES, 2, dtype=torch.int64)
        features = self.features[self.drawn[index]]
        name = f"bag_{index}"
        return Bag(name, (name,), features, nowhere, nowhere, torch.tensor(index % 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default="../shared/data/tiles_lc25000")
    parser.add_argument("--features", type=Path, help="keep the encoded tiles in this .npy file")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.01])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parse_options(parser)
    tiles = read_tiles(options.folder, options.features)
    print(
        f"{len(tiles.labels)} tiles in {len(set(tiles.groups))} groups; AUROC on {options.split} "
        f"bags, {options.seeds} seeds\n\nCommand: `python scripts/benchmarks/bench_bags.py "
        f"{' '.join(sys.argv[1:])}`\n"
    )
    print("| positive tiles | model | mean AUROC | 95 % interval | lowest | highest |")
    print("|---|---|---|---|---|---|", flush=True)
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.processes, start_worker, (tiles,)) as pool:
        for share in options.shares:
            for model in options.models:
                jobs = [(model, share, seed, options.split) for seed in range(options.seeds)]
                print_row(model, share, pool.starmap(score, jobs, chunksize=1))


def print_row(model: str, share: float, scores: list[float]) -> None:
    mean, (low, high) = statistics.mean(scores), t_interval(scores)
    count = round(share * BAG_TILES)
    print(
        f"| {count} of {BAG_TILES} ({share:.0%}) | {model} | {mean:.3f} "
        f"| {low:.3f} to {min(high, 1.0):.3f} | {min(scores):.3f} | {max(scores):.3f} |",
        flush=True,
    )


def read_tiles(folder: Path, cache: Path | None) -> Tiles:
    """The table, and the features from `cache` where it exists."""
    with (folder / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if cache is not None and cache.exists():
        matrix = np.load(cache)
        if len(matrix) != len(rows):
            raise SystemExit(f"{cache} holds {len(matrix)} tiles, {folder} {len(rows)}: delete it")
    else:
        matrix = encode([folder / row["path"] for row in rows])
        if cache is not None:
            np.save(cache, matrix)
    labels, groups = (np.array([row[name] for row in rows]) for name in ("label", "group"))
    return Tiles(torch.from_numpy(matrix), labels, groups)


def encode(paths: list[Path]) -> np.ndarray:
    encoder = load_tile_encoder(ENCODER, device="auto")
    blocks = []
    for start in tqdm(range(0, len(paths), ENCODE_BATCH), desc="encode", unit="batch"):
        batch = paths[start : start + ENCODE_BATCH]
        pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in batch])
        blocks.append(encoder.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy())
    return np.concatenate(blocks)


def split_by_group(tiles: Tiles, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of each split. Groups never come apart; every label is split alike."""
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    edges = np.cumsum(list(SPLITS.values()))[:-1]
    for label in np.unique(tiles.labels):
        groups = rng.permutation(np.unique(tiles.groups[tiles.labels == label]))
        cuts = np.round(edges * len(groups)).astype(int)
        for split, chosen in zip(SPLITS, np.split(groups, cuts), strict=True):
            names[split].extend(chosen)
    rows = {name: np.flatnonzero(np.isin(tiles.groups, chosen)) for name, chosen in names.items()}
    assert sum(len(x) for x in rows.values()) == len(tiles.groups), "a group in two splits"
    return rows


def start_worker(tiles: Tiles) -> None:
    global TILES
    TILES = tiles
    torch.set_num_threads(1)


def score(model: str, share: float, seed: int, split: str) -> float:
    """AUROC of one model on one split, of its best epoch by validation loss."""
    rng = np.random.default_rng(seed)
    rows = split_by_group(TILES, rng)
    # Here instead of inside SlideClassifier, which would reduce every tile again for every bag.
    reduction = FeatureReduction(TILES.features.shape[1], COMPONENTS, FEATURE_SCALE)
    reduction.fit(TILES.features[rows["train"]].numpy())
    features = reduction(TILES.features)
    loaders = {}
    for name, chosen in rows.items():
        normal = np.isin(TILES.labels[chosen], NORMAL)
        count = round(share * BAG_TILES)
        bags = SampledBags(features, chosen[normal], chosen[~normal], NUM_BAGS[name], count, rng)
        loaders[name] = DataLoader(
            bags, BATCH_SIZE, shuffle=name == "train", collate_fn=collate_bags
        )
    seed_run(seed)
    module = SlideClassifier(TASK, COMPONENTS, model, **MODELS[model])
    with tempfile.TemporaryDirectory() as folder, quiet_lightning():
        trainer = Trainer(
            max_epochs=MAX_EPOCHS,
            callbacks=default_callbacks(TASK, folder, seed=seed, patience=None, progress=False),
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            enable_model_summary=False,
        )
        trainer.fit(module, loaders["train"], loaders["val"])
        best = str(Path(folder) / "best.ckpt")
        (values,) = trainer.test(module, loaders[split], ckpt_path=best, verbose=False)
    return float(values["test_auroc"])


if __name__ == "__main__":
    main()
