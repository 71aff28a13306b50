"""`slidenet train`: fit one slide classifier, or run a trained one over a split of its cohort."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.errors import ConfigError, IdentityMismatchError, SplitError
from slidenet.data.datamodule import BagDataModule
from slidenet.data.splits.record import SPLIT_NAMES, SplitName
from slidenet.evaluation import Predictions, write_predictions
from slidenet.evaluation.operating_points import ThresholdRule
from slidenet.pipelines.fitting.fit import (
    TrainedModel,
    TrainingPlan,
    audit_data,
    check_plan,
    train_model,
)
from slidenet.pipelines.fitting.predictions import (
    Finish,
    as_predictions,
    fit_finish,
    predict_split,
    run_bags,
)
from slidenet.stores import FeatureFile, atomic_path, check_output_folder
from slidenet.stores.h5.identity import describe_difference
from slidenet.tasks.metrics import compute_metrics
from slidenet.tasks.task import Task
from slidenet.training import Bundle, load_bundle, save_bundle

BUNDLE_NAME = "model.slidenet"


@dataclass(frozen=True)
class TrainReport:
    """What a verb on one model made.

    Attributes:
        headline: One line that says what was done.
        metrics: Per split, the metrics of the task.
        files: What was written.
        exit_code: Always 0; a failure raises.
    """

    headline: str
    metrics: Mapping[str, Mapping[str, float]]
    files: Sequence[Path]
    exit_code: int = 0

    def table(self) -> str:
        """The metrics side by side, and where everything lies."""
        lines = [self.headline]
        splits = list(self.metrics)
        if splits:
            names = list(dict.fromkeys(name for values in self.metrics.values() for name in values))
            width = max(map(len, names), default=6)
            lines += ["", "  ".join(["metric".ljust(width), *(split.rjust(8) for split in splits)])]
            for name in names:
                cells = [f"{self.metrics[split].get(name, float('nan')):8.3f}" for split in splits]
                lines.append("  ".join([name.ljust(width), *cells]))
        return "\n".join([*lines, "", *(f"wrote {path}" for path in self.files)])


def fit(
    data: BagDataModule,
    plan: TrainingPlan,
    out: Path,
    *,
    threshold_rule: ThresholdRule = "youden",
    calibrate: bool = False,
    strict: bool = False,
) -> TrainReport:
    """Audits the cohort, trains, and writes the bundle with predictions of val and test.

    A killed run goes on at its last epoch when the same command is given again.

    Args:
        data: The bags and their split.
        plan: The model and how it is trained.
        out: Folder of this model.
        threshold_rule: How the cut-off of a binary task is chosen on val.
        calibrate: Fit a temperature on val.
        strict: Refuse a cohort the audit warns about.

    Raises:
        ConfigError, UnknownNameError: As `check_plan`.
        AuditError: When strict, and the audit found an error or a warning.
        IdentityMismatchError: The folder holds another run.
    """
    check_plan(data, plan, out)  # before the audit, which may take a while
    out = check_output_folder(out)
    audit_data(data, [data.split], strict=strict)
    trained = train_model(data, plan, out)
    bundle_path = out / BUNDLE_NAME
    if not trained.is_global_zero:
        return TrainReport("another rank writes the results", {}, [])
    finish = fit_finish(trained.module, data, threshold_rule=threshold_rule, calibrate=calibrate)
    write_bundle(bundle_path, trained, data, finish, plan)
    metrics: dict[str, dict[str, float]] = {}
    files = [bundle_path]
    for split in SPLIT_NAMES[1:]:
        if data.split.slides(split):
            predictions = predict_split(trained.module, data, split, finish=finish)
            files.append(out / f"predictions_{split}.csv")
            write_predictions(files[-1], predictions)
            metrics[split] = metrics_of(predictions)
    with atomic_path(out / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    sizes = ", ".join(f"{len(data.bags(split))} {split}" for split in SPLIT_NAMES)
    headline = f"trained {plan.model.get('network', 'abmil')} on bags: {sizes}"
    if finish.threshold is not None:
        headline += (
            f"\nbalanced_accuracy and f1_macro are at a cut-off of 0.5; {BUNDLE_NAME} calls "
            f"{data.task_record.class_names[1]!r} from {finish.threshold:.3f} on"
        )
    return TrainReport(headline, metrics, files)


def run_split(data: BagDataModule, bundle_path: Path, split: SplitName, out: Path) -> TrainReport:
    """Runs a trained model over one labelled split: predictions and metrics.

    Args:
        data: The bags; their features must be made as those the model was trained on.
        bundle_path: Written by `fit`.
        split: "val" or "test".
        out: Gets `predictions_<split>.csv`.

    Raises:
        StoreError: No such bundle.
        ConfigError: A bundle of another task.
        IdentityMismatchError: Features made with other settings.
        SplitError: The split is empty.
    """
    bundle = load_bundle(bundle_path)
    check_fits(bundle, data, bundle_path)
    if not data.split.slides(split):
        raise SplitError(
            f"no slide is in {split}", remedy="give a split with some, or take another"
        )
    predictions = predict_split(bundle.module, data, split, finish=finish_in(bundle))
    path = check_output_folder(out) / f"predictions_{split}.csv"
    write_predictions(path, predictions)
    headline = f"{bundle_path.name} on {len(predictions)} bags of {split}"
    return TrainReport(headline, {split: metrics_of(predictions)}, [path])


def predict_table(data: BagDataModule, bundle_path: Path, out: Path) -> TrainReport:
    """Predictions for every bag of the table of labels, whatever its split.

    Raises:
        StoreError, ConfigError, IdentityMismatchError: As `run_split`.
    """
    bundle = load_bundle(bundle_path)
    check_fits(bundle, data, bundle_path)
    outputs = run_bags(bundle.module, data.whole_dataloader(None))
    predictions = as_predictions(
        bundle.task, outputs, data.label_table, targets=None, finish=finish_in(bundle)
    )
    path = check_output_folder(out) / "predictions.csv"
    write_predictions(path, predictions)
    return TrainReport(f"{bundle_path.name} on {len(predictions)} bags", {}, [path])


def write_bundle(
    path: Path,
    trained: TrainedModel,
    data: BagDataModule,
    finish: Finish,
    plan: TrainingPlan,
) -> None:
    """Writes the model with all that is needed to apply it to new slides."""
    task = trained.module.task
    save_bundle(
        path,
        trained.module,
        features_identity=data.features_identity,
        threshold=finish.threshold,
        temperature=finish.temperature if task.is_classification else None,
        baseline=finish.baseline,
        training={
            "bag": data.identity()["bag"],
            "given": data.given,
            "seed": plan.seed,
            "score": trained.score,
            "trainer": plan.trainer,
        },
    )


def metrics_of(predictions: Predictions) -> dict[str, float]:
    """The metrics of the task on labelled predictions."""
    return compute_metrics(predictions.task, predictions.predicted, predictions.labels)


def finish_in(bundle: Bundle) -> Finish:
    """What a bundle knows beside its weights."""
    return Finish(bundle.temperature, bundle.threshold, bundle.baseline)


def check_fits(bundle: Bundle, data: BagDataModule, source: Path) -> None:
    """Refuses a model of another task or of other features.

    Raises:
        ConfigError: Another task.
        IdentityMismatchError: Features made with other settings, naming what differs.
    """
    if bundle.task.identity() != data.task_record.identity():
        raise ConfigError(
            f"{source} was trained for {_said(bundle.task)}",
            expected=f"{_said(data.task_record)}, as the labels are read here",
            remedy="use the model of that task, or read the labels as it does",
        )
    difference = describe_difference(bundle.features_identity, data.features_identity)
    if difference:
        raise IdentityMismatchError(
            f"{source} was trained on features made with other settings ({difference})",
            remedy="make the features as it was trained on, with `slidenet run`",
        )
    check_feature_dim(bundle, source, next(iter(data.bag_files.values())))


def check_feature_dim(bundle: Bundle, source: Path, file: FeatureFile) -> None:
    """Refuses features of another length than the model takes.

    Raises:
        IdentityMismatchError: Naming the file.
    """
    if file.feature_dim != bundle.module.feature_dim:
        raise IdentityMismatchError(
            f"{file.path} has {file.feature_dim} features per tile",
            expected=f"the {bundle.module.feature_dim} that {source} was trained on",
        )


def _said(task: Task) -> str:
    classes = f" with the classes {', '.join(task.class_names)}" if task.class_names else ""
    return f"a {task.kind} task on {', '.join(task.label_columns)}{classes}"
