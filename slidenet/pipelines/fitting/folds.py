"""The folds of a cross-validation: who is in which, and the work on each.

The folder of a fold is that of a fit, with `predictions.csv` of its test split, the bundle, and
`fold.json`, which says that the fold is done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.core.errors import ConfigError, StoreError
from slidenet.data import Split, hold_out_validation, make_folds, read_splits
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.make import LeaveOneOut
from slidenet.data.splits.record import check_split
from slidenet.evaluation import Origin
from slidenet.evaluation.predictions.targets import write_targets
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME, write_bundle
from slidenet.pipelines.fitting.claim import alone_in
from slidenet.pipelines.fitting.fit import prepare_fit
from slidenet.pipelines.fitting.plan import TrainingPlan
from slidenet.pipelines.fitting.predictions import data_digest, fit_calibration, predict_split
from slidenet.pipelines.probing.as_network import data_to_fit
from slidenet.stores import check_output_folder
from slidenet.stores.atomic import write_json
from slidenet.stores.json_file import read_json
from slidenet.training import model_digest

PREDICTIONS_NAME = "predictions.csv"
FOLD_NAME = "fold.json"
VERB = "crossval"
"""In the notes beside files of predictions."""


@dataclass(frozen=True)
class FoldSettings:
    """How a cohort is cut into folds, and what is chosen inside each.

    Args:
        num_folds: Folds the patients are cut into; each is tested once.
        num_repeats: How often, each time by another shuffle.
        fold_seed: Decides who is in which fold; default: the seed of the run.
        inner_val_fraction: Share of the patients not tested that is held out for early stopping.
        site_column: Column of the table of labels; all slides of a site are tested together.
        leave_one_out: A fold for every "patient", or for every "site" of site_column, instead of
            num_folds.
        search: Settings to choose among inside every fold, never by its test split:
            {"learning_rate": [1.0e-4, 1.0e-3], "network_settings.hidden_dim": [128, 256]}.
        num_inner_folds: Folds of the patients not tested, over which a choice is judged.
        only_folds: Run these folds only, so that a cluster can share the work; the out-of-fold
            predictions are written by the run that finds all folds done.
    """

    num_folds: int = 5
    num_repeats: int = 1
    fold_seed: int | None = None
    inner_val_fraction: float = 0.2
    site_column: str | None = None
    leave_one_out: LeaveOneOut | None = None
    search: dict[str, list[Any]] = field(default_factory=dict)
    num_inner_folds: int = 3
    only_folds: list[int] | None = None


def make_splits(
    data: BagDataModule, settings: FoldSettings, splits: Path | None, *, seed: int
) -> list[Split]:
    """The split of every fold.

    Args:
        data: The bags.
        settings: How they are cut.
        splits: Splits to use instead: our splits.csv, CLAM's splits_{i}.csv, or a folder of them;
            val is held out of train where they have none.
        seed: Decides who is in which fold, where the settings give none.

    Raises:
        SplitError: Folds that leak, lack a class or cannot be made.
    """
    seed = seed if settings.fold_seed is None else settings.fold_seed
    table, task = data.label_table, data.task_record
    if splits is None:
        return list(
            make_folds(
                table,
                task,
                num_folds=settings.num_folds,
                num_repeats=settings.num_repeats,
                seed=seed,
                val_fraction=settings.inner_val_fraction,
                site_column=settings.site_column,
                leave_one_out=settings.leave_one_out,
            )
        )
    if settings.leave_one_out is not None:
        raise ConfigError(
            f"--folds.leave-one-out {settings.leave_one_out} with --data.splits {splits}",
            expected="one of them: the splits are the folds",
        )
    # By all rows: a split may name slides that are left out for want of a label or a file.
    cohort, fraction = data.cohort, settings.inner_val_fraction
    found = [cohort.of_bags(split) for split in read_splits(splits, cohort.rows)]
    for number, split in enumerate(found):
        check_split(split, cohort.rows, name=f"fold {number}")
    return [
        split
        if split.val or fraction == 0
        else hold_out_validation(
            split.among(cohort.files), table, task, val_fraction=fraction, seed=seed
        )
        for split in found
    ]


@dataclass(frozen=True)
class FoldWork:
    """Trains and tests the folds of one cross-validation.

    Attributes:
        data: The bags.
        plan: The model and how it is trained; fold i trains with its seed plus i.
        settings: How settings are chosen inside a fold.
        candidates: The settings to choose among.
    """

    data: BagDataModule
    plan: TrainingPlan
    settings: FoldSettings
    candidates: Sequence[dict[str, Any]]

    def run(self, number: int, split: Split, folder: Path) -> None:
        """Makes a fold's predictions and bundle, unless it is done."""
        if (folder / FOLD_NAME).is_file():
            return
        check_output_folder(folder)
        run = self.plan.settings
        data, plan = self._prepared(number, split)
        overrides, scores = self._choose(number, split, folder)
        trained = prepare_fit(data, plan, folder, overrides=overrides).run()
        if not trained.is_global_zero:
            return
        calibration = fit_calibration(
            trained.module,
            data,
            threshold_rule=run.threshold_rule,
            calibrate=run.calibrate,
            # The same times for all folds, so that their Cox curves can be joined.
            cohort=self.data.targets(),
            held_out=trained.held_out,
        )
        found = predict_split(trained.module, data, "test", calibration, fold=number)
        origin = Origin(
            VERB,
            trained.run,
            (model_digest(trained.module, calibration),),
            data_digest(data),
            "test",
            number,
        )
        write_targets(folder / PREDICTIONS_NAME, found, calibration, origin=origin, of_run=True)
        write_bundle(folder / BUNDLE_NAME, trained, data, calibration, plan)
        content = {
            "metrics": found.compute_metrics(),
            "chosen": overrides,
            "search": scores,
            "threshold": calibration.threshold,
            "temperature": calibration.temperature,
            "learning": None if trained.learning is None else trained.learning.identity(),
        }
        if calibration.targets:
            content["targets"] = {
                name: {"threshold": one.threshold, "temperature": one.temperature}
                for name, one in calibration.targets.items()
            }
        # Last, because this file is what says that the fold is done.
        write_json(folder / FOLD_NAME, content, sort_keys=True)

    def score(self, number: int, split: Split, folder: Path, candidate: int, inner: int) -> float:
        """How a candidate does in an inner fold; trained unless that is done.

        Args:
            number: Of the fold.
            split: Of the fold.
            folder: Of the fold.
            candidate: Which of the candidates.
            inner: Which of the folds of the patients not tested.

        Raises:
            ClaimedElsewhere: Another process is training it.
        """
        data, plan = self._prepared(number, split)
        fold = self._inner_folds(data, split, plan)[inner]
        # The inner test split serves as val: it stops the fit and judges it.
        halves = data.with_split(Split(fold.train, fold.test))
        place = folder / "search" / f"candidate_{candidate:02d}" / f"inner_{inner}"
        with alone_in(place):
            return _score(halves, plan, check_output_folder(place), self.candidates[candidate])

    def _prepared(self, number: int, split: Split) -> tuple[BagDataModule, TrainingPlan]:
        """The bags of a fold, and how it is trained."""
        data = data_to_fit(self.data.with_split(split), self.plan.model["network"])
        return data, self.plan.with_seed(self.plan.settings.seed + number)

    def _inner_folds(self, data: BagDataModule, split: Split, plan: TrainingPlan) -> list[Split]:
        return list(
            make_folds(
                data.label_table.select((*split.train, *split.val)),
                data.task_record,
                num_folds=self.settings.num_inner_folds,
                seed=plan.settings.seed,
                val_fraction=0,
            )
        )

    def _choose(
        self, number: int, split: Split, folder: Path
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The candidate that does best over inner folds of the patients not tested."""
        if len(self.candidates) == 1:
            return self.candidates[0], []
        scores: list[dict[str, Any]] = []
        for position, candidate in enumerate(self.candidates):
            values = [
                self.score(number, split, folder, position, i)
                for i in range(self.settings.num_inner_folds)
            ]
            scores.append({"settings": candidate, "scores": values, "mean": float(np.mean(values))})
        task = self.data.task_record
        sign = 1 if task.lower_is_better(self.plan.settings.monitor or task.monitor) else -1
        best = min(scores, key=lambda score: sign * score["mean"])
        return best["settings"], scores


def _score(
    data: BagDataModule, plan: TrainingPlan, folder: Path, overrides: Mapping[str, Any]
) -> float:
    done = folder / FOLD_NAME
    if not done.is_file():
        trained = prepare_fit(data, plan, folder, overrides=overrides).run()
        assert trained.score is not None, "an inner fold has a val split"
        if not trained.is_global_zero:
            return trained.score
        write_json(done, {"score": trained.score}, sort_keys=True)
    return float(read_fold(folder, "score")["score"])


def read_fold(folder: Path, *needs: str) -> dict[str, Any]:
    """What `fold.json` says of a fold that is done.

    Raises:
        StoreError: It is damaged, or lacks something.
    """
    remedy = "delete it, and the fold is done again from its checkpoints"
    found = read_json(folder / FOLD_NAME, needs=needs, remedy=remedy)
    metrics = found.get("metrics", {})
    numbers = [*metrics.values(), found.get("score", 0.0)] if isinstance(metrics, dict) else [None]
    if not all(type(number) in (int, float) for number in numbers):
        raise StoreError(
            f"{folder / FOLD_NAME} holds metrics that are no numbers",
            expected="what slidenet wrote there",
            remedy=remedy,
        )
    return found
