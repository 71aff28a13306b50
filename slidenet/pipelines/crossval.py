"""`slidenet crossval`: every bag predicted by a model that has not seen its patient.

A folder of a cross-validation holds `crossval.json` (its identity), `splits.csv`, one folder
`fold_00`, `fold_01` ... per fold and, at the end, `predictions.csv` (out-of-fold) and `report/`. A
fold is done when its `fold.json` is there; a killed run goes on at the first that is not.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError
from slidenet.core.provenance import Identity
from slidenet.data import Split, hold_out_validation, make_folds, read_splits, write_splits
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SPLIT_NAMES
from slidenet.evaluation import read_predictions, write_predictions
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.pipelines.fitting.fit import TrainingPlan, audit_data, claim_folder, train_model
from slidenet.pipelines.fitting.predictions import fit_finish, predict_split
from slidenet.pipelines.fitting.search import candidates_of, check_candidates
from slidenet.pipelines.train import BUNDLE_NAME, metrics_of, write_bundle
from slidenet.stores import atomic_path, check_output_folder
from slidenet.tasks.baseline import survival_report_times
from slidenet.training import default_monitor, monitor_mode

IDENTITY_NAME = "crossval.json"
PREDICTIONS_NAME = "predictions.csv"
FOLD_NAME = "fold.json"


@dataclass(frozen=True)
class FoldSettings:
    """How a cohort is cut into folds, and what is chosen inside each.

    Args:
        num_folds: Parts the patients are cut into; each is tested once.
        num_repeats: How often, each time by another shuffle.
        fold_seed: Decides who is in which fold.
        inner_val_fraction: Share of the patients not tested that is held out for early stopping.
        site_column: Column of the table of labels; all slides of a site are tested together.
        splits: Splits to use instead: our splits.csv, CLAM's splits_{i}.csv, or a folder of them.
        search: Settings to choose among inside every fold, never by its test part:
            {"learning_rate": [1.0e-4, 1.0e-3], "network_settings.hidden_dim": [128, 256]}.
        num_inner_folds: Folds of the patients not tested, over which a choice is judged.
        only_folds: Run these folds only, so that a cluster can share the work; the out-of-fold
            predictions are written by the run that finds all folds done.
    """

    num_folds: int = 5
    num_repeats: int = 1
    fold_seed: int = 0
    inner_val_fraction: float = 0.2
    site_column: str | None = None
    splits: Path | None = None
    search: dict[str, list[Any]] = field(default_factory=dict)
    num_inner_folds: int = 3
    only_folds: list[int] | None = None


@dataclass(frozen=True)
class CrossvalReport:
    """What a cross-validation ended with.

    Attributes:
        headline: One line.
        folds: Per fold, the metrics of its test part.
        files: What was written.
        exit_code: Always 0; a failure raises.
    """

    headline: str
    folds: Mapping[int, Mapping[str, float]]
    files: Sequence[Path]
    exit_code: int = 0

    def table(self) -> str:
        """Metrics by fold with their mean and standard deviation, and where everything lies."""
        names = list(dict.fromkeys(name for values in self.folds.values() for name in values))
        width = max(map(len, names), default=6)
        heads = [f"fold {number}" for number in self.folds]
        last = "mean (sd)" if len(heads) > 1 else "mean"
        lines = ["  ".join(["metric".ljust(width), *(h.rjust(8) for h in heads), last])]
        for name in names:
            values = [fold.get(name, float("nan")) for fold in self.folds.values()]
            spread = f"{np.mean(values):.3f}"
            if len(values) > 1:
                spread += f" ({np.std(values, ddof=1):.3f})"
            lines.append("  ".join([name.ljust(width), *(f"{v:8.3f}" for v in values), spread]))
        return "\n".join([*lines, "", self.headline, *(f"wrote {path}" for path in self.files)])


def crossval(
    data: BagDataModule,
    plan: TrainingPlan,
    out: Path,
    settings: FoldSettings = FoldSettings(),
    *,
    threshold_rule: ThresholdRule = "youden",
    calibrate: bool = False,
    strict: bool = False,
) -> CrossvalReport:
    """Patient-grouped, label-stratified cross-validation with out-of-fold predictions.

    Args:
        data: The bags; a split of their own is not used (`UnsplitBags` makes none).
        plan: The model and how it is trained; fold i trains with seed `plan.seed + i`.
        out: Folder of the cross-validation.
        settings: Folds and the choice of settings.
        threshold_rule: How the cut-off of a binary task is chosen on the val part of each fold.
        calibrate: Fit a temperature on the val part of each fold.
        strict: Refuse a cohort the audit warns about.

    Raises:
        SplitError: Folds that leak, lack a class or cannot be made.
        ConfigError: Settings out of range.
        AuditError: When strict, and the audit found an error or a warning.
        IdentityMismatchError: The folder holds a cross-validation of other settings or data.
    """
    folds = list(_splits(data, settings))
    chosen = _check_folds(data, settings, len(folds))
    candidates = candidates_of(settings.search)
    whole = data.with_split(folds[0])
    check_candidates(whole, plan, out, candidates)
    out = check_output_folder(out)
    identity: Identity = {
        "plan": plan.identity(whole, {}),
        "folds": [[list(split.slides(name)) for name in SPLIT_NAMES] for split in folds],
        "search": candidates,
        "num_inner_folds": settings.num_inner_folds if len(candidates) > 1 else None,
        "threshold_rule": threshold_rule,
        "calibrate": calibrate,
    }
    claim_folder(out, identity, IDENTITY_NAME)
    audit_data(whole, folds, strict=strict)
    write_splits(out / "splits.csv", folds)
    work = _FoldWork(data, plan, settings, candidates, threshold_rule, calibrate)
    for number in tqdm(chosen, desc="crossval", unit=" folds", disable=None):
        work.run(number, folds[number], _fold_folder(out, number))
    return _report(data, plan, out, len(folds))


@dataclass(frozen=True)
class _FoldWork:
    """Trains and tests one fold after another."""

    data: BagDataModule
    plan: TrainingPlan
    settings: FoldSettings
    candidates: list[dict[str, Any]]
    threshold_rule: ThresholdRule
    calibrate: bool

    def run(self, number: int, split: Split, folder: Path) -> None:
        """Makes a fold's predictions and bundle, unless it is done."""
        if (folder / FOLD_NAME).is_file():
            return
        check_output_folder(folder)
        data = self.data.with_split(split)
        plan = self.plan.with_seed(self.plan.seed + number)
        overrides, scores = self._choose(data, split, plan, folder)
        trained = train_model(data, plan, folder, overrides=overrides)
        finish = fit_finish(
            trained.module,
            data,
            threshold_rule=self.threshold_rule,
            calibrate=self.calibrate,
            report_times=self._report_times(),
        )
        predictions = predict_split(trained.module, data, "test", finish=finish, fold=number)
        write_predictions(folder / PREDICTIONS_NAME, predictions)
        write_bundle(folder / BUNDLE_NAME, trained, data, finish, plan)
        # Last, because this file is what says that the fold is done.
        _write_json(
            folder / FOLD_NAME,
            {
                "metrics": metrics_of(predictions),
                "chosen": overrides,
                "search": scores,
                "threshold": finish.threshold,
                "temperature": finish.temperature,
            },
        )

    def _report_times(self) -> Sequence[float] | None:
        """The same for all folds, so that their Cox curves can be put together."""
        if self.data.task_record.kind != "cox":
            return None
        return survival_report_times(self.data.targets())

    def _choose(
        self, data: BagDataModule, split: Split, plan: TrainingPlan, folder: Path
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The candidate that does best over inner folds of the patients not tested."""
        if len(self.candidates) == 1:
            return self.candidates[0], []
        task = data.task_record
        table = data.label_table.select((*split.train, *split.val))
        inner = make_folds(
            table, task, num_folds=self.settings.num_inner_folds, seed=plan.seed, val_fraction=0
        )
        scores: list[dict[str, Any]] = []
        for position, candidate in enumerate(self.candidates):
            values = []
            for i, part in enumerate(inner):
                # The inner test part serves as val: it stops the fit and judges it.
                halves = data.with_split(Split(part.train, part.test))
                place = folder / "search" / f"candidate_{position:02d}" / f"inner_{i}"
                values.append(_score(halves, plan, check_output_folder(place), candidate))
            scores.append({"settings": candidate, "scores": values, "mean": float(np.mean(values))})
        monitor = plan.monitor or default_monitor(task)
        sign = 1 if monitor_mode(task, monitor) == "min" else -1
        best = min(scores, key=lambda score: sign * score["mean"])
        return best["settings"], scores


def _score(
    data: BagDataModule, plan: TrainingPlan, folder: Path, overrides: Mapping[str, Any]
) -> float:
    done = folder / FOLD_NAME
    if not done.is_file():
        score = train_model(data, plan, folder, overrides=overrides).score
        assert score is not None, "an inner fold has a val part"
        _write_json(done, {"score": score})
    return float(json.loads(done.read_text())["score"])


def _splits(data: BagDataModule, settings: FoldSettings) -> Sequence[Split]:
    if settings.splits is None:
        return make_folds(
            data.label_table,
            data.task_record,
            num_folds=settings.num_folds,
            num_repeats=settings.num_repeats,
            seed=settings.fold_seed,
            val_fraction=settings.inner_val_fraction,
            site_column=settings.site_column,
        )
    splits = read_splits(settings.splits, data.label_table)
    return [
        split
        if split.val or settings.inner_val_fraction == 0
        else hold_out_validation(
            split,
            data.label_table,
            data.task_record,
            val_fraction=settings.inner_val_fraction,
            seed=settings.fold_seed,
        )
        for split in splits
    ]


def _check_folds(data: BagDataModule, settings: FoldSettings, count: int) -> list[int]:
    chosen = list(range(count)) if settings.only_folds is None else list(settings.only_folds)
    wrong = [number for number in chosen if not 0 <= number < count]
    if wrong:
        raise ConfigError(f"only_folds {wrong}", expected=f"folds 0 to {count - 1}")
    if data.task_record.kind == "discrete_time" and not data.given_time_edges:
        edges = ", ".join(f"{edge:g}" for edge in data.task_record.time_edges)
        raise ConfigError(
            "every fold would choose time bins of its own",
            expected="the same bins in all folds, so that their curves can be put together",
            remedy=f"give --data.time-edges, such as [{edges}]",
        )
    if settings.search:
        check_whole(least=2, num_inner_folds=settings.num_inner_folds)
    return chosen


def _report(data: BagDataModule, plan: TrainingPlan, out: Path, num_folds: int) -> CrossvalReport:
    done = {
        number: json.loads((_fold_folder(out, number) / FOLD_NAME).read_text())["metrics"]
        for number in range(num_folds)
        if (_fold_folder(out, number) / FOLD_NAME).is_file()
    }
    network = plan.model.get("network", "abmil")
    if len(done) < num_folds:
        headline = f"{network}: {len(done)} of {num_folds} folds are done"
        return CrossvalReport(headline, done, [out])
    path = out / PREDICTIONS_NAME
    with atomic_path(path) as temporary:
        temporary.write_text(_joined([_fold_folder(out, number) for number in range(num_folds)]))
    predictions = read_predictions(path, task=data.task_record.kind)
    headline = (
        f"{network}: {predictions.num_bags} bags of {predictions.num_patients} patients, each "
        "predicted by a model that has not seen the patient"
    )
    return CrossvalReport(headline, done, [path])


def _joined(folders: Sequence[Path]) -> str:
    """The predictions of all folds under one header, as they were written."""
    texts = [(folder / PREDICTIONS_NAME).read_text() for folder in folders]
    headers = {text.partition("\n")[0] for text in texts}
    assert len(headers) == 1, f"folds of one run differ in their columns: {headers}"
    return headers.pop() + "\n" + "".join(text.partition("\n")[2] for text in texts)


def _fold_folder(out: Path, number: int) -> Path:
    return out / f"fold_{number:02d}"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
