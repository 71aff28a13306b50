"""How well segmenters find tissue: generated scenes with known truth, and four real slides.

bench_tissue.py [--segmenters otsu saturation ...] [--kinds KIND ...] [--texture b]
    [--seeds 1000 1001 ...] [--real FOLDER] [--overlays DIR] [--csv FILE]

Each cell is the mean IoU over the scenes of a kind (the lowest in brackets), the share of tissue
that was missed and the share of what was found that is no tissue. A segmenter that refuses a scene
found nothing. Nothing is cut short: each scene becomes a file, which `find_tissue` segments. Times
are of segmentation alone, on the same array, as ratios to otsu's; medians. With --overlays, a sheet
per kind is written, and one of all kinds with the last segmenter: truth in green (what counts
neither way striped), masks in pink.

Family "b" and seeds from 1000 were kept out of tuning: its textures, stains, inks, tints and haze
are others than those of "a" and "c". `--real ''` leaves the real slides out.
"""

import argparse
import contextlib
import csv
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tissue_sheets as sheets
from scipy.stats import spearmanr

from slidenet.core.errors import EmptyTissueError
from slidenet.slides import Slide, open_slide
from slidenet.testing.tissue_scenes import KINDS, Marks, Scene, make_scene, score
from slidenet.tissue import DEFAULT_SEGMENTER, find_tissue, make_segmenter, rasterize, read_regions
from slidenet.tissue.masks import overview

HERE = Path(__file__).parent
REAL = HERE.parents[2] / "shared" / "data" / "slides"
OUTLINES = HERE / "tissue_outlines"
ASSUMED_MPP = {"tcga-cr-7395-01a-01-ts1": 0.5}  # its file does not say
REAL_MPP = 8.0
TURNS = 3


class Result(NamedTuple):
    """What one segmenter made of one scene."""

    kind: str
    scene: str
    segmenter: str
    mask: np.ndarray
    marks: Marks
    doubt: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segmenters", nargs="+")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1000, 1006)))
    parser.add_argument("--texture", default="b", choices=["a", "b", "c"])
    parser.add_argument("--real", default=str(REAL), help="folder of the real slides; '' for none")
    parser.add_argument("--overlays", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    names = options.segmenters or list(dict.fromkeys(["otsu", "saturation", DEFAULT_SEGMENTER]))
    cv2.setNumThreads(1)
    if options.overlays:
        options.overlays.mkdir(parents=True, exist_ok=True)
    print("| kind | " + " | ".join(f"{name}: IoU (lowest), missed, taken" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    results, times, panels = [], [], []
    for kind in options.kinds:
        rows, of_kind = [], []
        for seed in options.seeds:
            scene = make_scene(kind, seed, texture=options.texture)
            found = on_scene(scene, names)
            of_kind += found
            rows.append(sheets.row(f"{kind} {seed}", scene, found))
            if seed == options.seeds[0]:
                panels.append(sheets.row(kind, scene, found[-1:], sheets.SMALL_HEIGHT))
                times.append(ratios(scene.image, scene.mpp, names))
        print_row(kind, of_kind, names)
        results += of_kind
        if options.overlays:
            sheets.write(options.overlays / f"{kind}.jpg", sheets.stacked(rows))
    print_means(results, names)
    real = on_real_slides(options, names) if options.real else []
    for stem in dict.fromkeys(result.scene for result in real):
        print_row(stem, [result for result in real if result.scene == stem], names)
    print()
    print_doubt(results, names)
    print_times(times, names)
    if options.overlays:
        sheets.write(options.overlays / "all_kinds.jpg", sheets.all_kinds(panels, 3))
    if options.csv:
        write_csv(options.csv, results + real)


def on_scene(scene: Scene, names: list[str]) -> list[Result]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.png"
        assert cv2.imwrite(str(path), scene.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        with open_slide(path, mpp=scene.mpp) as slide:
            return [judged(slide, name, scene, str(scene.seed)) for name in names]


def judged(slide: Slide, name: str, scene: Scene, label: str) -> Result:
    doubt = None
    try:
        tissue = find_tissue(slide, name)
        mask = tissue.mask
        doubt = tissue.finding.doubt if tissue.finding else None
    except EmptyTissueError:
        mask = np.zeros(scene.truth.shape, bool)
    if mask.shape != scene.truth.shape:  # a segmenter that works at another resolution
        size = scene.truth.shape[::-1]
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return Result(scene.kind, label, name, mask, score(mask, scene), doubt)


def on_real_slides(options: argparse.Namespace, names: list[str]) -> list[Result]:
    """Results on the slides whose outlines were drawn by hand."""
    results, rows = [], []
    for outline in sorted(OUTLINES.glob("*.geojson")):
        path = next(Path(options.real).glob(f"{outline.stem}.*"), None)
        if path is None:
            raise SystemExit(f"{options.real} has no {outline.stem}; --real '' leaves these out")
        with open_slide(path, mpp=ASSUMED_MPP.get(outline.stem)) as slide:
            scene = outlined_slide(slide, outline)
            found = [judged(slide, name, scene, outline.stem) for name in names]
        results += found
        rows.append(sheets.row(outline.stem, scene, found))
    if options.overlays:
        sheets.write(options.overlays / "real.jpg", sheets.stacked(rows))
    return results


def outlined_slide(slide: Slide, outline: Path) -> Scene:
    image, mpp = overview(slide, REAL_MPP)
    drawn = read_regions(outline, slide, frame="level0")
    width, height = slide.level_dimensions[0]
    scale = {
        "shape": image.shape[:2],
        "downsample_xy": (width / image.shape[1], height / image.shape[0]),
    }
    tissue, ignored = (
        rasterize([r.polygon for r in drawn.regions if r.excludes == excludes], **scale)
        for excludes in (False, True)
    )
    return Scene("real", 0, image, mpp, tissue, ignored)


def ratios(image: np.ndarray, mpp: float, names: list[str]) -> dict[str, float]:
    """Time of each segmenter on the array as a ratio to otsu's, by medians of mixed turns."""
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(TURNS):
        for name in dict.fromkeys(["otsu", *names]):
            segmenter = make_segmenter(name)
            start = time.perf_counter()
            with contextlib.suppress(EmptyTissueError):
                segmenter.judge(image, mpp)
            taken[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(seconds)) for name, seconds in taken.items()}
    return {name: medians[name] / medians["otsu"] for name in names}


def print_row(label: str, results: list[Result], names: list[str]) -> None:
    cells = [cell([result for result in results if result.segmenter == name]) for name in names]
    print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def cell(results: list[Result]) -> str:
    marks = np.array([result.marks for result in results])
    iou, missed, taken = marks.mean(0)
    lowest = f" ({marks[:, 0].min():.2f})" if len(marks) > 1 else ""
    return f"{iou:.2f}{lowest}, {missed:.2f}, {taken:.2f}"


def print_means(results: list[Result], names: list[str]) -> None:
    """The means of the kinds, each kind counting the same, and the worst kind."""
    kinds = list(dict.fromkeys(result.kind for result in results))
    cells = []
    for name in names:
        means = np.array(
            [
                np.mean([r.marks for r in results if (r.kind, r.segmenter) == (kind, name)], axis=0)
                for kind in kinds
            ]
        )
        worst = int(means[:, 0].argmin())
        iou, missed, taken = means.mean(0)
        cells.append(
            f"**{iou:.3f}**, {missed:.3f}, {taken:.3f}; worst {kinds[worst]} {means[worst, 0]:.2f}"
        )
    print("| **mean of the kinds** | " + " | ".join(cells) + " |")


def print_doubt(results: list[Result], names: list[str]) -> None:
    """What doubt is worth: do scenes that are doubted have the low IoUs?"""
    for name in names:
        pairs = [(r.doubt, r.marks.iou) for r in results if r.segmenter == name]
        doubt, iou = np.array([pair for pair in pairs if pair[0] is not None]).reshape(-1, 2).T
        if len(doubt) < 2:
            continue
        rank = spearmanr(doubt, 1 - iou).statistic
        order, tenth = np.argsort(-doubt, kind="stable"), max(len(doubt) // 10, 1)
        print(
            f"{name}: rank correlation of doubt with 1 - IoU {rank:.2f}; mean IoU of the most "
            f"doubted tenth {iou[order[:tenth]].mean():.2f}, of the others "
            f"{iou[order[tenth:]].mean():.2f}"
        )


def print_times(times: list[dict[str, float]], names: list[str]) -> None:
    for name in names:
        values = [ratio[name] for ratio in times]
        print(
            f"{name}: {np.median(values):.1f} times otsu's time (median of {len(values)} scenes; "
            f"90 % under {np.quantile(values, 0.9):.1f})"
        )


def write_csv(path: Path, results: list[Result]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "scene", "segmenter", *Marks._fields, "doubt"])
        for kind, scene, name, _, marks, doubt in results:
            writer.writerow([kind, scene, name, *(f"{mark:.4f}" for mark in marks), doubt])


if __name__ == "__main__":
    main()
