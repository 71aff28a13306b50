"""Draws the picture that README opens with: what a trained model makes of a slide's tiles.

draw_explanation.py [--work explanation_output] [--out docs/images/explanation.jpg]

Slides with and without lesions are generated, embedded, and ABMIL is trained on whether there are
any; no one tells it where. A larger slide that it has never seen is explained, and the outline of
its lesions, which only the generator knows, is drawn over the map. Offline, CPU, about two minutes;
what is there already is not made again.
"""

import argparse
import csv
import os
from pathlib import Path

import cv2
import numpy as np
from shapely.geometry import Polygon

import slidenet
from slidenet.metrics.classification import auroc
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.slides import open_slide
from slidenet.stores import read_tile_maps
from slidenet.stores.csv_writing import write_csv
from slidenet.testing import write_lesion_cohort
from slidenet.testing.painting import Lesion, Stain, with_overlays
from slidenet.testing.pyramid import write_pyramid
from slidenet.testing.synthetic import Blob, SyntheticSlide
from slidenet.visualisation import save_figure
from slidenet.visualisation.heatmaps import Outlines, map_figure

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "explanation.jpg"
WORDS = {"absent": "normal", "present": "tumour"}
WIDTH, HEIGHT = 7168, 5120
TISSUE = (
    Blob(2900, 2600, 2400, 1950),
    Blob(5300, 2100, 1500, 1300),
    Blob(4700, 3700, 1500, 1000),
)
LESIONS = (
    Lesion(1900, 2100, 620, seed=3),
    Lesion(3350, 3350, 430, seed=4),
    Lesion(5600, 1800, 520, seed=5),
    Lesion(5150, 3900, 300, seed=6),
)
LEAST_SHARE = 0.5
"""Of a tile that is lesion, from which on it counts as one."""


def write_cohort(folder: Path) -> Path:
    """Small slides to train on; their table says `tumour` or `normal`."""
    table = folder / "training.csv"
    if not table.is_file():
        manifest = write_lesion_cohort(
            folder,
            num_patients=30,
            rule="present_vs_absent",
            seed=5,
            num_processes=os.cpu_count() or 1,
        )
        with manifest.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        cells = [[r["slide_id"], r["slide_path"], r["patient_id"], WORDS[r["label"]]] for r in rows]
        write_csv(table, ("slide_id", "slide_path", "patient_id", "diagnosis"), cells)
    return table


def write_shown_slide(folder: Path) -> Path:
    """The large slide, and a table with it alone."""
    table, path = folder / "shown.csv", folder / "slides" / "unseen_slide.tif"
    if not table.is_file():
        painter = with_overlays(
            SyntheticSlide(WIDTH, HEIGHT, TISSUE, seed=77),
            *LESIONS,
            Stain((1.05, 0.95, 1.0), WIDTH, 0.12, seed=8),
        )
        write_pyramid(path, WIDTH, HEIGHT, 0.5, painter)
        write_csv(table, ("slide_id", "slide_path"), [[path.stem, f"slides/{path.name}"]])
    return table


def lesion_outlines() -> list[Polygon]:
    """The lesions as the generator draws them, level-0 pixels."""
    found = []
    for lesion in LESIONS:
        reach = int(lesion.reach) + 2
        left, top = int(lesion.x) - reach, int(lesion.y) - reach
        mask = lesion.mask(left, top, 2 * reach, 2 * reach)
        assert mask is not None
        rings, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        found.append(Polygon(rings[0][:, 0] + (left, top)).simplify(4))
    return found


def lesion_share(coords: "np.ndarray", side: int) -> "np.ndarray":
    """How much of each tile is lesion, (N,)."""
    share = np.zeros(len(coords))
    for lesion in LESIONS:
        for number, (x, y) in enumerate(coords.tolist()):
            mask = lesion.mask(x, y, side, side)
            share[number] += 0 if mask is None else mask.mean()
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("explanation_output"))
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    cohort, made = options.work / "cohort", options.work / "out"
    training, shown = write_cohort(cohort), write_shown_slide(cohort)
    slidenet.run(training, made, target_mpp=0.5, encoder="efficientnet_lite0")
    trained = slidenet.train(
        options.work / "abmil",
        labels=training,
        features=made / "tile_features" / "efficientnet_lite0",
        task="binary",
        label_columns=["diagnosis"],
        network="abmil",
        feature_components=16,
        learning_rate=1e-3,
        cache=True,
        patience=None,
        trainer={"max_epochs": 12},
        seed=1,
    )
    print(f"AUROC of test slides: {trained.metrics['test']['auroc']:.3f}")
    bundle = options.work / "abmil" / "model.slidenet"
    explained = slidenet.explain(bundle, shown, made, formats=("figures", "galleries"))
    if explained.exit_code:
        raise SystemExit(explained.table())
    layout = OutputLayout(made).explanations()
    maps = read_tile_maps(layout.maps("unseen_slide"))
    share = lesion_share(maps.coords, maps.geometry.tile_size_level0)
    clear = (share >= LEAST_SHARE) | (share == 0)
    for one in maps.maps:
        found = auroc(one.values[clear], share[clear] > 0)
        print(f"AUROC of tiles, {one.method}: {found:.3f}")
    with open_slide(cohort / "slides" / "unseen_slide.tif") as slide:
        overview = slide.thumbnail(2000)
    said = next(iter(maps.prediction.values()))
    caption = f"ABMIL, trained on labels of whole slides only, says: {said['words']}."
    outlines = Outlines("lesions", lesion_outlines())
    figure = map_figure(maps, 0, overview, outlines=outlines, caption=caption)
    save_figure(figure, options.out, dpi=200)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
