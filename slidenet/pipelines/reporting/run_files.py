"""What the folder of a run holds: plan, folds, learning curves, predictions, models."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.evaluation.predictions.sidecar import Sidecar, read_sidecar
from slidenet.pipelines.applying.ensembles import CROSSVAL_NAME, ENSEMBLE_NAME
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME
from slidenet.pipelines.fitting.claim import PLAN_NAME
from slidenet.pipelines.fitting.folds import FOLD_NAME, PREDICTIONS_NAME
from slidenet.pipelines.reporting.cohort_files import UNREADABLE, line_of
from slidenet.pipelines.results.sections import RESULTS_NAME
from slidenet.stores.json_file import read_json
from slidenet.training import Bundle, Ensemble, load_bundle
from slidenet.training.learning_curve import CURVE_NAME

REMEDY = "make the run again, or leave its folder away"
EVALUATION_NAME, METRICS_NAME = "report.md", "metrics.csv"
"""Of `slidenet evaluate`."""
ALL = "predictions_all"
"""Of `slidenet train predict`: every bag, those trained on too, without labels."""


@dataclass(frozen=True)
class PredictionFile:
    """A file of predictions.

    Attributes:
        path: The CSV.
        sidecar: The note beside it; None where an older version or somebody else wrote it.
    """

    path: Path
    sidecar: Sidecar | None

    @property
    def split(self) -> str:
        """train, val or test; "" for all bags of a cross-validation or of a cohort."""
        if self.sidecar is not None:
            return self.sidecar.origin.split
        names = ("test", "val")
        return next((s for s in names if self.path.stem.startswith(f"predictions_{s}")), "")


@dataclass(frozen=True)
class RunFound:
    """What the folder of a run holds.

    Attributes:
        folder: Its path.
        verb: train or crossval; "" where nothing says it.
        plan: The identity of the run, as its file says; empty where it is not there.
        folds: Folders of the folds, those that are done.
        num_folds: How many there are to be; 0 where it is no cross-validation.
        curves: Pictures of learning curves, by what they are of.
        results: The files that say what the run reported.
        predictions: Files of predictions, those on test first.
        bundle: File of the model; None where there is none.
        model: What it holds; None where it cannot be read.
        evaluation: `report.md` of a `slidenet evaluate` into this folder; None where there is none.
        problems: What could not be read, a line each.
    """

    folder: Path
    verb: str
    plan: Mapping[str, Any]
    folds: tuple[Path, ...]
    num_folds: int
    curves: Mapping[str, Path]
    results: tuple[Path, ...]
    predictions: tuple[PredictionFile, ...]
    bundle: Path | None
    model: Bundle | Ensemble | None
    evaluation: Path | None
    problems: tuple[str, ...]

    @property
    def is_run(self) -> bool:
        """Whether it is the folder of a training."""
        return bool(self.verb)

    @property
    def network(self) -> str:
        """The network that was trained; "" where nothing says it."""
        plan = self.plan.get("plan", self.plan)  # of a cross-validation, of one fit
        model = plan.get("model") if isinstance(plan, Mapping) else None
        if isinstance(model, Mapping) and "network" in model:
            return str(model["network"])
        if self.model is not None:
            return str(self.model.members[0].module.hparams["network"])
        return ""


def read_run(folder: Path, *, allow_code: bool = False) -> RunFound:
    """Reads what there is.

    Args:
        folder: Of `slidenet train`, `crossval`, `predict` or `evaluate`.
        allow_code: Whether a model in it may name classes outside slidenet.
    """
    problems: list[str] = []
    verb, plan = "", {}
    for name, of in ((CROSSVAL_NAME, "crossval"), (PLAN_NAME, "train")):
        if not verb and (folder / name).is_file():
            verb = of
            try:
                plan = read_json(folder / name, remedy=REMEDY)
            except UNREADABLE as error:
                problems.append(line_of(error))
    all_folds = sorted(p for p in folder.glob("fold_*") if p.is_dir())
    folds = tuple(p for p in all_folds if (p / FOLD_NAME).is_file())
    listed = plan.get("folds")
    num_folds = len(listed) if isinstance(listed, list) else len(all_folds)
    named = {"": folder, **{f"fold {p.name[5:]}": p for p in all_folds}}
    curves = {n: p / CURVE_NAME for n, p in named.items() if (p / CURVE_NAME).is_file()}
    model, bundle = None, None
    for name in (ENSEMBLE_NAME, BUNDLE_NAME):
        if bundle is None and (folder / name).is_file():
            bundle = folder / name
            try:
                model = load_bundle(bundle, allow_code=allow_code)
            except UNREADABLE as error:
                problems.append(line_of(error))
    files = _prediction_files(folder, problems)
    listed_results = folder.glob(f"{Path(RESULTS_NAME).stem}*.md")
    results = tuple(sorted(path for path in listed_results if path.is_file()))
    evaluated = all((folder / name).is_file() for name in (EVALUATION_NAME, METRICS_NAME))
    evaluation = folder / EVALUATION_NAME if evaluated else None
    return RunFound(
        folder, verb, plan, folds, num_folds if verb == "crossval" else 0, curves, results,
        files, bundle, model, evaluation, tuple(problems),
    )  # fmt: skip


def size_and_digest(path: Path) -> tuple[str, str]:
    """Bytes and SHA-256 of a file, as words; why not, where it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{path.stat().st_size:,}", digest
    except OSError as error:
        return "", line_of(error)


def _prediction_files(folder: Path, problems: list[str]) -> tuple[PredictionFile, ...]:
    """Files with a note of slidenet, and those that are called as slidenet calls them."""
    found = []
    stem = Path(PREDICTIONS_NAME).stem
    for path in sorted(path for path in folder.glob("*.csv") if path.is_file()):
        try:
            sidecar = read_sidecar(path)
        except UNREADABLE as error:
            problems.append(line_of(error))
            sidecar = None
        if sidecar is not None or (path.stem == stem or path.stem.startswith(f"{stem}_")):
            found.append(PredictionFile(path, sidecar))
    order = {"test": 0, "": 1, "val": 2, "train": 3}
    return tuple(sorted(found, key=lambda one: (order.get(one.split, 4), one.path.name)))
