"""How large the report of a cohort of generated slides is, how long it takes, and opens.

bench_report.py [--slides 500] [--out FOLDER] [--kind binary] [--screenshots FOLDER]

Pictures are generated scenes with noise, no two alike, as real slides would be; features, tissue,
predictions, a model and maps lie where the verbs put them. Opening needs Chromium and Playwright
(`scripts/check_report.py`); without them that line says so.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from slidenet.core.records import SlideMpp, TileGeometry, TileSet
from slidenet.core.units import Mpp
from slidenet.evaluation import Origin, Predictions, write_predictions
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport, SlideOutcome
from slidenet.pipelines.cohort.run_files import write_run_report
from slidenet.pipelines.report import report
from slidenet.pipelines.tissue.record import TissueRecord
from slidenet.stores import FeatureWriter, write_tile_set
from slidenet.stores.atomic import write_json
from slidenet.stores.tile_maps import TileMap, TileMaps, write_tile_maps
from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    MulticlassTask,
    PredictionArrays,
    RegressionTask,
    Task,
)
from slidenet.testing.tissue_scenes import make_scene
from slidenet.tissue import Reason
from slidenet.training import SlideClassifier, save_bundle
from slidenet.visualisation.curves import learning_curve_figure
from slidenet.visualisation.style import save_figure

ENCODER, FEATURE_DIM, TILE_PX = "generated", 64, 256
SCENES = ("plain", "biopsy", "tma", "dust", "folds", "haze")
SOURCES = ("vendor property openslide.mpp-x", "OME PhysicalSize", "TIFF resolution tags")
TASKS: dict[str, Task] = {
    "binary": BinaryTask(("msi",), ("MSS", "MSI")),
    "multiclass": MulticlassTask(("grade",), ("low", "middle", "high")),
    "regression": RegressionTask(("score",)),
    "cox": CoxTask(("time", "event")),
}


def write_cohort(
    out: Path,
    slide_ids: list[str],
    *,
    picture_px: int = 1200,
    num_failed: int = 3,
    num_explained: int = 0,
    scenes: Sequence[str] = SCENES,
    seed: int = 0,
) -> None:
    """Fills an output folder as preprocess, embed-tiles and explain would.

    Args:
        out: The folder.
        slide_ids: Of the slides.
        picture_px: Longer side of the overlays.
        num_failed: So many more slides are said to have failed.
        num_explained: So many of the slides get maps.
        scenes: What the pictures show, in turn.
        seed: Decides everything.
    """
    layout, rng = OutputLayout(out), np.random.default_rng(seed)
    for folder in ("tiles", "tissue", "overlays", f"tile_features/{ENCODER}"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    pictures = _pictures(picture_px, scenes, seed)
    outcomes = []
    for number, slide_id in enumerate(slide_ids):
        tile_set = _tile_set(slide_id, number, rng)
        write_tile_set(layout.tiles(slide_id), tile_set)
        _record(tile_set, rng).write(layout.tissue_record(slide_id))
        picture = pictures[number % len(pictures)]
        noise = rng.integers(-6, 7, picture.shape, dtype=np.int16)
        noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(layout.overlay(slide_id), quality=88)
        _write_features(layout, tile_set, rng)
        detail = f"{tile_set.num_tiles} tiles"
        outcomes.append(SlideOutcome(slide_id, "done", detail, tile_set.num_tiles, seconds=1.5))
        if number < num_explained:
            _write_maps(out, tile_set, noisy, rng)
    why = "the file is cut short: level 0 ends at byte 20,000; copy it again"
    outcomes += [SlideOutcome(f"failed_{i}", "failed", why) for i in range(num_failed)]
    settings = {"target_mpp": 0.5, "tile_size_px": TILE_PX, "segmenter": "optical_density"}
    started = "2026-01-01T00:00:00+00:00"
    write_run_report(layout, RunReport("preprocess", settings, started, 9.0, outcomes))
    done = outcomes[: len(slide_ids)]
    write_run_report(layout, RunReport("embed-tiles", {"encoder": ENCODER}, started, 90.0, done))


def write_run(folder: Path, slide_ids: list[str], kind: str = "binary", seed: int = 0) -> None:
    """Fills the folder of a run as `slidenet train` would, but for the training itself."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, task = np.random.default_rng((seed, 1)), TASKS[kind]
    module = SlideClassifier(task, FEATURE_DIM, "abmil", {"hidden_dim": 16, "attention_dim": 8})
    seen = [f"{i:012x}" for i in range(2 * len(slide_ids))]
    identity = {
        "tiles": {"target_mpp": 0.5, "tile_size_px": TILE_PX},
        "tile_encoder": {"id": ENCODER},
    }
    save_bundle(
        folder / "model.slidenet",
        module,
        features_identity=identity,
        training={
            "seed": seed,
            "run": "0123456789abcdef",
            "seen": {"slides": seen, "patients": seen},
        },
    )
    write_json(
        folder / "plan.json", {"data": {"task": task.identity()}, "model": {"network": "abmil"}}
    )
    losses = 0.7 * np.exp(-np.arange(20) / 6) + 0.1
    epochs = [
        {"epoch": float(i), "train_loss": float(v), "val_loss": float(v + 0.05 + 0.002 * i)}
        for i, v in enumerate(losses)
    ]
    save_figure(
        learning_curve_figure(epochs, "val_loss", 12), folder / "learning_curve.png", dpi=120
    )
    text = (
        "# Results of train\n\ntrained abmil\n\n## Metrics\n\n| metric | test |\n| --- | ---: |\n"
    )
    (folder / "results.md").write_text(f"{text}| auroc | 0.9 |\n")
    write_predictions(
        folder / "predictions_test.csv",
        _predictions(task, slide_ids, rng),
        origin=Origin("train", "0123456789abcdef", split="test"),
    )


def _pictures(longest: int, scenes: Sequence[str], seed: int) -> list[np.ndarray]:
    found = []
    for number, kind in enumerate(scenes):
        image = Image.fromarray(make_scene(kind, seed + number).image)
        scale = longest / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        found.append(np.asarray(image.resize(size)).astype(np.int16))
    return found


def _tile_set(slide_id: str, number: int, rng: np.random.Generator) -> TileSet:
    mpp = Mpp((0.25, 0.2527, 0.5)[number % 3])
    side = int(rng.integers(5, 12))
    step = round(TILE_PX * 0.5 / mpp)
    cells = np.argwhere(rng.random((side, side)) < 0.8)
    geometry = TileGeometry(
        SlideMpp(mpp, SOURCES[number % 3]), Mpp(0.5), Mpp(0.5), 0, TILE_PX, TILE_PX, TILE_PX,
        side * step, side * step,
    )  # fmt: skip
    return TileSet(
        slide_id, f"{slide_id}.svs", f"{number:064x}", geometry,
        (cells * step).astype(np.int64), np.ones(len(cells), np.float32),
        {"segmenter": "optical_density", "target_mpp": 0.5},
        tissue_doubt=round(float(rng.beta(1, 6)), 3),
    )  # fmt: skip


def _record(tile_set: TileSet, rng: np.random.Generator) -> TissueRecord:
    areas = {Reason.TISSUE: float(rng.uniform(2e7, 2e8)), Reason.GROUND: 4e8}
    if rng.random() < 0.3:
        areas[Reason.INK] = float(rng.uniform(1e5, 1e7))
    if rng.random() < 0.2:
        areas[Reason.DEBRIS] = float(rng.uniform(1e4, 1e6))
    doubtful = (tile_set.tissue_doubt or 0) > 0.4
    notes = ("pale tissue: the outline may be too tight",) if doubtful else ()
    return TissueRecord(
        tile_set.slide_id, "optical_density", tile_set.tissue_doubt, notes, areas, 3
    )


def _write_features(layout: OutputLayout, tile_set: TileSet, rng: np.random.Generator) -> None:
    rows = rng.normal(1.0, 1.0, (tile_set.num_tiles, FEATURE_DIM)).astype(np.float32)
    rows[:, 0] = 0.5  # a column that says nothing
    identity = {"tiles": dict(tile_set.identity), "tile_encoder": {"id": ENCODER}}
    with FeatureWriter(
        layout.features(tile_set.slide_id, ENCODER), tile_set, FEATURE_DIM, "float16", identity,
        identity["tile_encoder"], max(tile_set.num_tiles, 1),
    ) as writer:  # fmt: skip
        writer.append(rows)
        writer.finish()


def _write_maps(
    out: Path, tile_set: TileSet, picture: np.ndarray, rng: np.random.Generator
) -> None:
    values = rng.normal(size=tile_set.num_tiles).astype(np.float32)
    one = TileMap(values, "evidence", "MSI", True, "logit", True)
    other = TileMap(np.abs(values), "attention", "MSI", False, "share", False)
    said = {tile_set.slide_id: {"words": "MSI (0.93)", "called": ["MSI"], "scores": {}}}
    maps = TileMaps(
        tile_set.slide_id, tile_set.slide_path, tile_set.fingerprint, tile_set.geometry,
        tile_set.coords, (one, other), {"method": "evidence"}, said,
    )  # fmt: skip
    for folder in ("h5", "figures"):
        (out / "explanations" / folder).mkdir(parents=True, exist_ok=True)
    write_tile_maps(out / "explanations" / "h5" / f"{tile_set.slide_id}.h5", maps)
    beside = np.concatenate([picture, np.roll(picture, 60, axis=1)], axis=1)
    Image.fromarray(beside).save(out / "explanations" / "figures" / f"{tile_set.slide_id}.png")


def _predictions(task: Task, slide_ids: list[str], rng: np.random.Generator) -> Predictions:
    count, kind = len(slide_ids), task.kind
    signal = rng.normal(size=count)
    noisy = signal + rng.normal(0, 0.8, count)
    if task.has_classes:
        number = task.num_classes
        edges = np.quantile(signal, np.linspace(0, 1, number + 1)[1:-1])
        targets = np.digitize(signal, edges).astype(np.int64)
        centres = np.linspace(-1.2, 1.2, number)
        logits = -2.0 * np.square(noisy[:, None] - centres)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
        arrays = PredictionArrays(shares)
    elif kind == "regression":
        targets, arrays = (
            signal.astype(np.float32),
            PredictionArrays(value=noisy.astype(np.float32)),
        )
    else:
        times = rng.exponential(np.exp(-signal) * 24).clip(0.1, 90)
        targets = np.stack([times, times < 60], axis=1).astype(np.float32)
        arrays = PredictionArrays(risk=noisy.astype(np.float32))
    patients = tuple(f"patient_{i}" for i in range(count))
    return Predictions(task, tuple(slide_ids), patients, targets, arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slides", type=int, default=500)
    parser.add_argument("--kind", choices=sorted(TASKS), default="binary")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--screenshots", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        slide_ids = [f"slide_{i:04d}" for i in range(options.slides)]
        if not (folder / "out" / "run.json").is_file():
            write_cohort(folder / "out", slide_ids, num_explained=min(60, options.slides))
        write_run(folder / f"run_{options.kind}", slide_ids, options.kind)
        started = time.process_time()
        made = report(folder / "out", folder / f"run_{options.kind}")
        seconds = time.process_time() - started
        print(
            f"{options.slides} slides: {made.num_bytes / 1e6:.1f} MB in {seconds:.0f} s of CPU",
            flush=True,
        )
        command = [sys.executable, "scripts/check_report.py", str(made.path)]
        if options.screenshots:
            command += ["--screenshots", str(options.screenshots)]
        subprocess.run(command, check=False)


if __name__ == "__main__":
    main()
