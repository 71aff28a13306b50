"""Several trained models as one: which they are, what they were tested on, what they call."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from slidenet.core.errors import ConfigError, StoreError
from slidenet.core.provenance import Identity
from slidenet.core.text import count_of, name_some
from slidenet.evaluation import Predictions, choose_threshold, read_predictions
from slidenet.evaluation.cross_conformal import CrossConformal, cross_conformal
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.evaluation.predictions.targets import of_target, target_path
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME
from slidenet.pipelines.fitting.folds import FOLD_NAME, PREDICTIONS_NAME
from slidenet.pipelines.results.sections import Section
from slidenet.tasks import Calibration, MultiTask, Task, task_of
from slidenet.training import Bundle, Ensemble, load_bundle, save_ensemble
from slidenet.training.bundles.ensemble import SHARED, OutOfFold, check_members

ENSEMBLE_NAME = "ensemble.slidenet"
CROSSVAL_NAME = "crossval.json"
ALPHA = 0.1


@dataclass(frozen=True)
class Crossvalidation:
    """A finished cross-validation in its folder.

    Attributes:
        folder: Of `slidenet crossval`.
        bundles: The model of each fold, in order.
        threshold_rule: By which its folds chose their cut-offs.
    """

    folder: Path
    bundles: tuple[Path, ...]
    threshold_rule: ThresholdRule


def make_ensemble(
    sources: Sequence[Path],
    out: Path,
    *,
    threshold_rule: ThresholdRule | None = None,
    allow_code: bool = False,
) -> tuple[Ensemble, Section]:
    """Writes bundles, or all of a cross-validation, as one file.

    Args:
        sources: Files of models and folders of `slidenet crossval` or `slidenet train`.
        out: The file to write.
        threshold_rule: How the cut-off is chosen; default: as the cross-validation did.
        allow_code: Whether the bundles may name code outside slidenet.

    Returns:
        The ensemble that was written, and what to say about it.

    Raises:
        ConfigError: Models that cannot be one ensemble, or one of them twice.
        IdentityMismatchError: They take different features.
        StoreError: Something is missing or damaged, or a cross-validation is not finished.
        PredictionsError: Out-of-fold predictions that cannot be read.
    """
    found = [_find(source) for source in sources]
    runs = [f for f in found if isinstance(f, Crossvalidation)]
    paths = [p for f in found for p in (f.bundles if isinstance(f, Crossvalidation) else (f,))]
    digests = [_digest(path) for path in paths]
    twice = [path for i, path in enumerate(paths) if digests[i] in digests[:i]]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice", expected="each model once")
    bundles = {str(path): _single(path, allow_code=allow_code) for path in paths}
    check_members(bundles)
    task = next(iter(bundles.values())).task
    starts = [paths.index(run.bundles[0]) for run in runs]
    rule = threshold_rule or (runs[0].threshold_rule if runs else None)
    cuts: dict[str, Calibration] = {}
    rows: dict[str, OutOfFold] = {}
    notes: list[str] = []
    for target in task.targets if isinstance(task, MultiTask) else ("",):
        predictions = [_out_of_fold(run, task, target) for run in runs]
        members = [of_target(bundle.calibration, target) for bundle in bundles.values()]
        one = task_of(task, target)
        threshold, words = _threshold(one, members, predictions, rule)
        notes += [f"{target}: {line}" if target else line for line in words]
        cuts[target] = Calibration(threshold=threshold)
        if runs and (one.exclusive_classes or one.output == "value"):
            rows[target] = _rows(one, predictions, starts)
    calibration = cuts.get("", Calibration(targets=cuts))
    names = [path.parent.name if len(found) == 1 else f"{i}" for i, path in enumerate(paths)]
    together, training = tuple(bundles.values()), _training(list(bundles.values()))
    save_ensemble(
        out, paths, names=names, calibration=calibration, training=training, out_of_fold=rows
    )
    made = Ensemble(together, calibration, training, together[0].versions, rows)
    return made, Section("Ensemble", (_headline(made, out), *notes, *_more(made)))


def _threshold(
    task: Task,
    members: Sequence[Calibration],
    predictions: Sequence[Predictions],
    rule: ThresholdRule | None,
) -> tuple[float | None, list[str]]:
    """The cut-off of the mean of one target, and where it comes from.

    Args:
        task: Of the target.
        members: What each member has.
        predictions: Out of fold, where the members come from cross-validations.
        rule: By which the cut-off is chosen on them.
    """
    if not task.has_positive_class:
        return None, []
    if predictions and rule is not None:
        score = np.concatenate([p.probabilities[:, 1] for p in predictions])
        positive = np.concatenate([p.labels == 1 for p in predictions])
        threshold = choose_threshold(score, positive, rule)
        source = f"the cut-off of {len(score)} out-of-fold predictions by the rule {rule}"
    elif rule is not None and rule != "half":
        raise ConfigError(
            f"--threshold-rule {rule} for single bundles, which hold no out-of-fold predictions",
            expected="the folder of a `slidenet crossval` among --bundles",
            remedy="leave it away: the cut-off is then the mean of the members'",
        )
    else:
        cuts = [calibration.threshold for calibration in members]
        known = [cut for cut in cuts if cut is not None]
        if rule is None and len(known) < len(cuts):
            return None, ["calls by 0.5: not every member has a cut-off"]
        threshold = 0.5 if rule == "half" else float(np.mean(known))
        source = "0.5 as asked for" if rule else "the mean of the members' cut-offs"
    return threshold, [f"calls {task.class_names[1]!r} from {threshold:.3f} on: {source}"]


def conformal_of(model: Bundle | Ensemble) -> dict[str, CrossConformal]:
    """What makes prediction sets, for each target ("" for one alone) that has them."""
    found = {}
    for target, rows in (model.out_of_fold if isinstance(model, Ensemble) else {}).items():
        parts = (rows.member, rows.patient, rows.target, rows.predicted)
        found[target] = cross_conformal(*(tensor.numpy() for tensor in parts))
    return {target: conformal for target, conformal in found.items() if conformal is not None}


def _headline(made: Ensemble, out: Path) -> str:
    networks = sorted({str(member.module.hparams["network"]) for member in made.members})
    count = count_of("model", len(made.members))
    return f"{out.name} is the mean of {count} ({', '.join(networks)})"


def _more(made: Ensemble) -> list[str]:
    """What its predictions come with, and what they lack and why."""
    lines = [
        f"{target}: {words}" if target else words
        for target, conformal in conformal_of(made).items()
        for words in [sets_promise(conformal, ALPHA)]
    ]
    if not lines and made.out_of_fold:
        lines.append("no prediction sets: its folds test the same patients more than once")
    elif not lines and (made.task.exclusive_classes or made.task.output == "value"):
        lines.append("no prediction sets: they need the out-of-fold predictions of a crossval")
    elif not lines:
        lines.append(f"no prediction sets: there are none of a {made.task.kind} task")
    without = [m for m in made.members if m.statistics is None]
    if without:
        lines.append(
            f"{len(without)} of {len(made.members)} members do not know how their training "
            "features lie (older files, or fewer than 10 patients): they pass over unusual slides"
        )
    return lines


def sets_promise(conformal: CrossConformal, alpha: float) -> str:
    """What prediction sets promise, in one sentence."""
    least = conformal.guarantee(alpha)
    return (
        f"prediction sets with alpha {alpha:g} hold the truth for at least {100 * least:.0f} % of "
        f"new patients like the {conformal.num_patients} of the {conformal.num_folds} folds "
        f"(1 - 2 alpha, less what so few cost), and usually for about {100 * (1 - alpha):.0f} %"
    )


def _find(source: Path) -> Crossvalidation | Path:
    """A finished cross-validation, or the file of a model."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise StoreError(f"there is nothing at {source}", expected="a bundle, or a folder of runs")
    if (source / CROSSVAL_NAME).is_file():
        return _crossvalidation(source)
    if (source / BUNDLE_NAME).is_file():
        return source / BUNDLE_NAME
    raise StoreError(
        f"{source} holds neither {BUNDLE_NAME} nor {CROSSVAL_NAME}",
        expected="a folder of `slidenet train` or `slidenet crossval`",
    )


def _crossvalidation(folder: Path) -> Crossvalidation:
    try:
        identity = json.loads((folder / CROSSVAL_NAME).read_text())
        count, rule = len(identity["folds"]), identity["threshold_rule"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{folder / CROSSVAL_NAME} is not what slidenet writes ({type(error).__name__})",
            remedy="copy the folder again",
        ) from error
    folds = [folder / f"fold_{number:02d}" for number in range(count)]
    missing = [fold.name for fold in folds if not (fold / FOLD_NAME).is_file()]
    if not missing and not any(folder.glob(f"{Path(PREDICTIONS_NAME).stem}*.csv")):
        missing = [PREDICTIONS_NAME]
    if missing:
        raise StoreError(
            f"the cross-validation in {folder} is not finished ({name_some(missing)} to come)",
            remedy="make the same call of `slidenet crossval` again, or give the bundles of folds",
        )
    return Crossvalidation(folder, tuple(fold / BUNDLE_NAME for fold in folds), rule)


def _single(path: Path, *, allow_code: bool) -> Bundle:
    bundle = load_bundle(path, allow_code=allow_code)
    if isinstance(bundle, Ensemble):
        raise ConfigError(
            f"{path} is an ensemble already", expected="the models it is to be made of"
        )
    return bundle


def _out_of_fold(run: Crossvalidation, task: Task, target: str) -> Predictions:
    """The out-of-fold predictions of a target, of the classes of its models."""
    path, wanted = target_path(run.folder / PREDICTIONS_NAME, target), task_of(task, target)
    predictions = read_predictions(path, task=wanted.kind)
    folds = predictions.folds
    if (
        predictions.task.class_names != wanted.class_names
        or folds is None
        or not 0 <= folds.min() <= folds.max() < len(run.bundles)
    ):
        raise StoreError(
            f"{path} does not hold the predictions of the models beside it",
            expected=f"{wanted.describe()}, with the folds 0 to {len(run.bundles) - 1}",
            remedy="make the same call of `slidenet crossval` again",
        )
    return predictions


def _rows(task: Task, predictions: Sequence[Predictions], starts: Sequence[int]) -> OutOfFold:
    """Predictions of several cross-validations, with the numbers of the members that made them."""
    names = [
        [p or f"bag {b}" for b, p in zip(f.bag_ids, f.patient_ids, strict=True)]
        for f in predictions
    ]
    patient = np.unique(np.concatenate([np.asarray(n) for n in names]), return_inverse=True)[1]
    folds = [
        p.folds + start for p, start in zip(predictions, starts, strict=True) if p.folds is not None
    ]
    arrays = [getattr(p.predicted, task.output) for p in predictions]
    target = np.concatenate([p.labels for p in predictions])
    kind = np.int64 if task.exclusive_classes else np.float32
    return OutOfFold(
        torch.from_numpy(np.concatenate(folds).astype(np.int64)),
        torch.from_numpy(patient.astype(np.int64)),
        torch.from_numpy(target.astype(kind)),
        torch.from_numpy(np.concatenate(arrays).astype(np.float32)),
    )


def _training(bundles: Sequence[Bundle]) -> Identity:
    """What the members have in common, and the record of each."""
    first = bundles[0].training
    common = {key: first[key] for key in SHARED if key in first}
    return {**common, "members": [dict(bundle.training) for bundle in bundles]}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read ({error.strerror})", expected="the bundle of a model"
        ) from error
