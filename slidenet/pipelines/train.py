"""`slidenet train`: fit one slide classifier, or run a trained one over a split of its cohort."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from slidenet.core.checks import check_choice
from slidenet.core.errors import SplitError
from slidenet.core.extras import data_frame
from slidenet.core.text import text_table
from slidenet.data.bags.parts import SEPARATOR
from slidenet.data.datamodule import BagDataModule, read_bags
from slidenet.data.settings import DataSettings
from slidenet.data.splits.record import SPLIT_NAMES
from slidenet.evaluation import Origin, Predictions, check_origin, split_predictions
from slidenet.evaluation.predictions.targets import prediction_files, write_targets
from slidenet.pipelines.applying.doubts import seen_doubts
from slidenet.pipelines.fitting.bundles import BUNDLE_NAME, check_fits, holds_model, write_bundle
from slidenet.pipelines.fitting.claim import (
    PLAN_NAME,
    alone_in,
    claim_folder,
    undone_if_refused,
)
from slidenet.pipelines.fitting.fit import audit_data, prepare_fit
from slidenet.pipelines.fitting.plan import TrainingPlan, TrainSettings, read_arguments
from slidenet.pipelines.fitting.predictions import (
    apply_to_split,
    cut_off_sections,
    data_digest,
    fit_calibration,
    predict_split,
    temperature_section,
)
from slidenet.pipelines.probing.as_network import data_to_fit
from slidenet.pipelines.probing.beside_network import probe_sections
from slidenet.pipelines.results.ablation import split_section
from slidenet.pipelines.results.cohort_report import (
    cohort_section,
    write_left_out,
    write_objects,
)
from slidenet.pipelines.results.learning import flat_targets, learning_section
from slidenet.pipelines.results.sections import Section, metrics_section, write_results
from slidenet.stores import check_output_folder
from slidenet.stores.atomic import write_json
from slidenet.training import Bundle, Ensemble, load_bundle, model_digest
from slidenet.training.ranks import is_first

if TYPE_CHECKING:
    import pandas

Step = Literal["fit", "validate", "test", "predict"]

VERB = "train"
"""In the notes beside files of predictions."""


@dataclass(frozen=True)
class TrainReport:
    """What a verb on one model made.

    Attributes:
        headline: One line that says what was done.
        metrics: Per split, the metrics of the task.
        files: What was written.
        sections: What else there is to report.
        exit_code: Always 0; a failure raises.
    """

    headline: str
    metrics: Mapping[str, Mapping[str, float]]
    files: Sequence[Path]
    sections: Sequence[Section] = ()
    exit_code: int = 0

    def table(self) -> str:
        """The metrics side by side, what else there is to report, and where everything lies."""
        lines = [self.headline]
        if self.metrics:
            columns = {f"{split:>8}": values for split, values in self.metrics.items()}
            metrics = metrics_section("", columns)
            right = range(1, len(metrics.header))
            lines += ["", text_table(metrics.header, metrics.rows, right=right, rule=False)]
        lines += [
            line for section in self.sections if (text := section.text()) for line in ("", text)
        ]
        return "\n".join([*lines, "", *(f"wrote {path}" for path in self.files)])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per split, one column per metric.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([{"split": split, **values} for split, values in self.metrics.items()])


def train(
    out: str | Path,
    settings: TrainSettings | None = None,
    *,
    data: DataSettings | Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    step: Step = "fit",
    bundle: str | Path | None = None,
    allow_code: bool = False,
    **keywords: Any,
) -> TrainReport:
    """Train a slide classifier and test it.

    `train("runs/a", labels="slides.csv", features="out/tile_features/uni", network="abmil")`. A
    killed run goes on at its last epoch when the same call is made again.

    Args:
        out: Folder of the model.
        settings: What belongs to the run as a whole.
        data: The bags; or fields of `DataSettings`: labels, features, task, label_columns, ...
        model: Arguments of `SlideClassifier`: network, network_settings, learning_rate, ...
        trainer: Arguments of Lightning's Trainer: max_epochs, accelerator, precision, ...
        step: "fit"; or what a trained model is to do: "validate" and "test" run it over that split,
            "predict" over every bag of the table of labels.
        bundle: The trained model; default: that in `out`.
        allow_code: Let the trained model name classes outside slidenet; importing them runs their
            code.
        **keywords: Any of the settings above by name, as none has the name of another.

    Raises:
        ConfigError, UnknownNameError: Settings that do not fit; raised before anything is written.
        LabelError, SplitError, StoreError: Labels, splits or features that cannot be used.
        AuditError: When strict, and the audit found an error or a warning.
        IdentityMismatchError: The folder holds another run, or the model takes other features.
        ClaimedElsewhere: Another process trains in the folder.
    """
    check_choice(("fit", "validate", "test", "predict"), step=step)
    bags, plan, _ = read_arguments(settings, keywords, data=data, model=model, trainer=trainer)
    out = Path(out)
    if step == "fit":
        plan.trainer.meet_ranks(out)
        with alone_in(out):
            return _fit(read_bags(bags), plan, out)
    if not is_first():  # a trained model is applied by one process
        return TrainReport("rank 0 writes the results", {}, [])
    return _apply(read_bags(bags), Path(bundle or out / BUNDLE_NAME), step, out, allow_code)


def _fit(data: BagDataModule, plan: TrainingPlan, out: Path) -> TrainReport:
    """Audits the cohort, trains, and writes the bundle with predictions of val and test."""
    settings, data = plan.settings, data_to_fit(data, plan.model["network"])
    fit = prepare_fit(data, plan, out)  # before the audit, which may take a while
    origins = {
        split: Origin(VERB, fit.run_hash, data=data_digest(data), split=split)
        for split in SPLIT_NAMES[1:]
        if data.split.slides(split)
    }
    begun = (out / PLAN_NAME).is_file()
    if begun:  # another run is refused by its settings, before its files are looked at
        claim_folder(out, fit.identity)
    for split, origin in origins.items():
        for file in prediction_files(predictions_path(out, split), data.task_record).values():
            check_origin(file, origin, of_run=begun)
    with undone_if_refused(out, PLAN_NAME):
        check_output_folder(out)
        audit_data(data, [data.split], strict=settings.strict)
        trained = fit.run()
    if not trained.is_global_zero:
        return TrainReport("rank 0 writes the results", {}, [])
    calibration = fit_calibration(
        trained.module,
        data,
        threshold_rule=settings.threshold_rule,
        calibrate=settings.calibrate,
        held_out=trained.held_out,
    )
    files = [out / BUNDLE_NAME]
    models = (model_digest(trained.module, calibration),)
    if not holds_model(files[0], *models):  # a run of an older version, run again, keeps its file
        write_bundle(files[0], trained, data, calibration, plan)
    predicted: dict[str, Predictions] = {}
    for split, origin in origins.items():
        predicted[split] = predict_split(trained.module, data, split, calibration)
        path, origin = predictions_path(out, split), replace(origin, models=models)
        files += write_targets(path, predicted[split], calibration, origin=origin, of_run=True)
    metrics = {split: found.compute_metrics() for split, found in predicted.items()}
    write_json(out / "metrics.json", metrics, sort_keys=True)
    files += [*write_left_out(out, data), *write_objects(out, data)]
    flat = [flat_targets(split_predictions(found)) for found in predicted.values()]
    sections = [cohort_section(data, [data.split])]
    if trained.learning is not None:
        flatness = {"": flat[-1] if flat else None}
        sections.append(learning_section({"": trained.learning}, flatness))
    tested = split_predictions(predicted["test"]) if "test" in predicted else {}
    if settings.ablation and tested:
        sections += split_section(data, plan, out, tested)
    sections += probe_sections(data, [data.split], [out], tested, plan)
    sizes = ", ".join(f"{len(data.bags(split))} {split}" for split in SPLIT_NAMES)
    headline = f"trained {plan.model['network']} on bags: {sizes}"
    where, of_val = "val", split_predictions(predicted["val"]) if "val" in predicted else {}
    fitted_on = {target: len(one) for target, one in of_val.items()}
    if trained.held_out is not None:
        where, fitted_on = "inner folds of train and val", {"": len(trained.held_out[1])}
    sections += temperature_section(calibration, fitted_on, fitted_on=where)
    sections += cut_off_sections(predicted, calibration, chosen_on=where)
    splits = metrics_section("Metrics by split", metrics)
    files.append(write_results(out, VERB, headline, [splits, *sections]))
    return TrainReport(headline, metrics, files, sections)


def predictions_path(out: Path, split: str) -> Path:
    """Where a model that a run left, or one applied to its bags, writes what it predicts.

    Args:
        out: Folder of the run.
        split: "val" or "test"; "all" for every bag, without labels.
    """
    return out / f"predictions_{split}.csv"


def _apply(data: BagDataModule, path: Path, step: Step, out: Path, allow_code: bool) -> TrainReport:
    """Runs a trained model over a labelled split, or over every bag without its label."""
    bundle = load_bundle(path, allow_code=allow_code)
    check_fits(bundle, data, path)
    origin = Origin(
        VERB if step != "predict" else f"{VERB} predict",
        str(bundle.training.get("run", "")),
        bundle.digests,
        data_digest(data),
    )
    if step == "predict":
        path_all, bags = predictions_path(out, "all"), [bag.bag_id for bag in data.bags()]
        for file in prediction_files(path_all, bundle.task).values():
            check_origin(file, origin, bags)
        found = apply_to_split(bundle.task, bundle.predict, data, None)
        check_output_folder(out)
        files = write_targets(path_all, found, bundle.calibration, origin=origin)
        return TrainReport(f"{path.name} on {len(found)} bags", {}, files)
    split: Literal["val", "test"] = "val" if step == "validate" else "test"
    if not data.split.slides(split):
        raise SplitError(
            f"no slide is in {split}", remedy="give a split with some, or take another"
        )
    origin, bags = replace(origin, split=split), [bag.bag_id for bag in data.bags(split)]
    for file in prediction_files(predictions_path(out, split), bundle.task).values():
        check_origin(file, origin, bags)
    found = apply_to_split(bundle.task, bundle.predict, data, split)
    check_output_folder(out)
    files = write_targets(predictions_path(out, split), found, bundle.calibration, origin=origin)
    headline, metrics = f"{path.name} on {len(found)} bags of {split}", found.compute_metrics()
    sections = [] if split == "val" else _not_new(bundle, data)
    return TrainReport(headline, {split: metrics}, files, sections)


def _not_new(model: Bundle | Ensemble, data: BagDataModule) -> list[Section]:
    """Says which slides and patients of test the model was trained on."""
    rows = [data.label_table.row(bag) for bag in data.split.test]
    rows = [replace(row, slide_id=row.slide_id.partition(SEPARATOR)[0]) for row in rows]
    doubts = seen_doubts(model, rows)
    return [Section("Not new to the model", tuple(doubts))] if doubts else []
