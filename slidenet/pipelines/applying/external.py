"""A trained model judged on the slides of another cohort: predicted, joined with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from slidenet.core.errors import ConfigError, LabelError, PredictionsError
from slidenet.core.text import count_of, name_some
from slidenet.data import LabelTable, encode_bag_targets, encode_targets, read_label_table
from slidenet.data.bags.parts import SEPARATOR
from slidenet.data.labels.table import read_region_table
from slidenet.evaluation import Predictions, check_origin, write_predictions
from slidenet.evaluation.predictions.targets import of_target, split_predictions, target_path
from slidenet.pipelines.applying.application import Application, Applied, prepare
from slidenet.pipelines.applying.bags import averaged_by_patient, dividing, takes_patients
from slidenet.pipelines.applying.doubts import unit_doubts, unsaid_doubts
from slidenet.pipelines.applying.remarks import coverage_lines
from slidenet.pipelines.applying.truth import left_out_lines, match_truth
from slidenet.pipelines.applying.work import PREDICTIONS_NAME
from slidenet.pipelines.cohort.features import EncodingChoice
from slidenet.pipelines.cohort.report import RunReport, exit_code_of
from slidenet.pipelines.cohort.runner import Runner
from slidenet.stores import check_output_folder
from slidenet.tasks import MultiTask, Task
from slidenet.training import Bundle, Ensemble, load_bundle

VERB = "evaluate"


@dataclass(frozen=True)
class ExternalSettings:
    """A trained model to judge on slides of another cohort, instead of a file of predictions.

    Args:
        bundle: A model.slidenet; it predicts the slides of labels, and the report is about that.
        labels: Table of the other cohort: slide_id and labels, in columns and classes of its own.
        features: Folder of features of its slides; without it they are made of the slides.
        more_features: Folders of further feature sets, for a model that was trained on several.
        slides: Manifest of the slides, where labels does not say where they lie (slide_path).
        class_map: Their class=class of the model, where they are called differently; with nothing
            after the sign such slides are left out.
        target: Which target is judged, of a model of several.
        site_column: Column of labels that names the centre; metrics are also given by centre.
        device: Where encoder and model run: auto, cpu, cuda or cuda:N.
        weights: Local weights file of the tile encoder, instead of the hub or its cache.
        allow_code: Let the bundle name classes outside slidenet; importing them runs their code.
    """

    bundle: Path | None = None
    labels: Path | None = None
    features: Path | None = None
    more_features: Sequence[Path] = ()
    slides: Path | None = None
    class_map: Sequence[str] = ()
    target: str | None = None
    site_column: str | None = None
    device: str = "auto"
    weights: Path | None = None
    allow_code: bool = False


@dataclass(frozen=True, eq=False)
class External:
    """A model's predictions of another cohort.

    Attributes:
        predictions: With labels.
        path: The file of them.
        threshold: Cut-off of the model; None where it has none.
        sites: The centre of each row; None where nobody asked.
        lines: What was done and left out, a line each.
        cautions: What must be known before a result is quoted.
        stages: Reports of the steps.
    """

    predictions: Predictions
    path: Path
    threshold: float | None
    sites: Sequence[str] | None
    lines: tuple[str, ...]
    cautions: tuple[str, ...]
    stages: Sequence[RunReport]

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 0."""
        return exit_code_of(self.stages)


def judge_elsewhere(
    settings: ExternalSettings,
    out: Path,
    *,
    label_columns: Sequence[str],
    patient_column: str | None,
    by_patient: bool,
    runner: Runner,
) -> External:
    """Predicts the labelled slides of another cohort and writes `predictions.csv`.

    Args:
        settings: The model and the cohort.
        out: Output folder.
        label_columns: Columns of the labels, in the order of the model's; by name where empty.
        patient_column: Says whose slide it is; found by its name where not given.
        by_patient: Whether there is to be one row per patient, the mean over the patient's slides.
        runner: Who does the work.

    Raises:
        ConfigError, LabelError: What cannot be judged, before anything is made.
        PredictionsError: No slide could be predicted.
    """
    assert settings.bundle is not None, "checked by the verb"
    if settings.labels is None:
        raise ConfigError("--bundle without --labels", expected="the table of the other cohort")
    model = load_bundle(settings.bundle, allow_code=settings.allow_code)
    target = _target(model, settings)
    task = model.task.targets[target] if isinstance(model.task, MultiTask) else model.task
    calibration = of_target(model.calibration, target)
    if dividing(model) is None:
        table, regions = read_label_table(settings.labels, patient_column=patient_column), None
    else:
        table, regions = read_region_table(settings.labels, patient_column=patient_column)
    truth = match_truth(
        table if regions is None else regions,
        task,
        label_columns=label_columns,
        class_map=parse_class_map(settings.class_map),
    )
    if settings.site_column is not None:
        table.check_column(settings.site_column)
    slides = table.select(_slides_of(truth.table, table))
    _check_enough(slides, truth.table, task)
    application = prepare(
        model,
        settings.bundle,
        _with_files(slides, settings).rows,
        source=str(settings.labels),
        folders=_folders(settings),
    )
    doubts = [*application.doubts, *unsaid_doubts(model)]
    doubts += unit_doubts(model, task, truth.table) if not target else []
    path, origin = target_path(out / PREDICTIONS_NAME, target), application.origin(VERB)
    origin = replace(origin, threshold=calibration.threshold)
    asked = None if by_patient else application.asked
    check_origin(path, origin, asked)
    choice = EncodingChoice(
        weights=settings.weights, device=settings.device, allow_code=settings.allow_code
    )
    applied = application.run(check_output_folder(out), choice, runner)
    predictions, lines = _joined(application, applied, truth.table, target)
    assert applied.predictions is not None, "refused above"
    places = {bag_id: row for row, bag_id in enumerate(applied.predictions.bag_ids)}
    rows = np.array([places[bag_id] for bag_id in predictions.bag_ids], np.int64)
    remarks = applied.remarks.of_target(target).take(rows)
    lines += [*remarks.lines, *coverage_lines(remarks, predictions)]
    columns = remarks.columns
    if by_patient and not takes_patients(model):
        averaged, more = averaged_by_patient(predictions, slides.rows, calibration)
        lines += [line for line in more if line.startswith("left out")]
        if averaged is None:
            raise PredictionsError("every patient lacks a slide, so nobody can be judged")
        predictions, columns = averaged, {}  # which are those of slides
    called = task.decide(predictions.predicted, calibration.threshold)
    write_predictions(path, predictions, called=called, origin=origin, asked=asked, remarks=columns)
    sites = None
    if settings.site_column is not None:
        sites = _sites(predictions, slides, settings.site_column)
    lines = [*truth.notes, *_applied_lines(model, target), *left_out_lines(truth.left_out),
             *application.notes, *lines]  # fmt: skip
    return External(
        predictions,
        path,
        calibration.threshold,
        sites,
        tuple(lines),
        (*doubts, *applied.doubts, *remarks.doubts, *_failed(applied)),
        applied.stages,
    )


def _check_enough(slides: LabelTable, labels: LabelTable, task: Task) -> None:
    """Refuses a cohort on which nothing is defined, before it is predicted.

    Raises:
        LabelError: One patient, a label that does not fit, or no event.
    """
    patients = {slides.patient_of(slide_id) for slide_id in slides.slide_ids}
    if len(patients) < 2:
        raise LabelError(
            f"{labels.path} has labels the model knows of {count_of('slide', len(slides))} of "
            f"{count_of('patient', len(patients))}",
            expected="two patients at least, to say how sure a number is",
        )
    lack = task.find_lack(encode_targets(task, labels, labels.slide_ids))
    if lack is not None and task.output == "risk":
        raise LabelError(
            f"{labels.path}, column {lack.column!r} {lack.found}", expected=lack.expected
        )


def _target(model: Bundle | Ensemble, settings: ExternalSettings) -> str:
    """Which of several targets is judged; "" for a model of one.

    Raises:
        ConfigError: None is named, or one the model does not have.
    """
    if isinstance(model.task, MultiTask):
        if settings.target is None or settings.target not in model.task.targets:
            raise ConfigError(
                f"{settings.bundle} predicts several targets, and --target is "
                f"{settings.target or 'not given'}",
                expected=f"one of {', '.join(model.task.targets)}",
            )
        return settings.target
    if settings.target is not None:
        raise ConfigError(
            f"--target {settings.target} for a model of {model.task.describe()}",
            expected="a model of several targets",
            remedy="leave it away",
        )
    return ""


def parse_class_map(words: Sequence[str]) -> dict[str, str]:
    """`["MSI-H=MSIH", "MSS=nonMSI"]` as a mapping; the last sign of equality counts.

    Raises:
        ConfigError: A word without one, or a class twice.
    """
    found: dict[str, str] = {}
    for word in words:
        theirs, equals, ours = (part.strip() for part in word.rpartition("="))
        if not equals or not theirs or theirs in found:
            raise ConfigError(
                f"--class-map {word!r}",
                expected="THEIRS=OURS, each of theirs once",
                remedy="write such as --class-map MSI-H=MSIH,MSS=nonMSI",
            )
        found[theirs] = ours
    return found


def _folders(settings: ExternalSettings) -> list[Path]:
    first = [] if settings.features is None else [settings.features]
    return [*first, *settings.more_features]


def _with_files(slides: LabelTable, settings: ExternalSettings) -> LabelTable:
    """The slides, with the place of their files where features are to be made of them."""
    if settings.features is not None:
        return slides
    if settings.slides is not None:
        manifest = read_label_table(settings.slides)
        rows = [
            replace(row, slide_path=there.slide_path, mpp=there.mpp or row.mpp, mpp_xy=there.mpp_xy)
            for row in slides.rows
            if (there := manifest.row(row.slide_id))
        ]
        slides = replace(slides, rows=tuple(rows))
    homeless = [row.slide_id for row in slides.rows if not row.slide_path]
    if homeless:
        raise ConfigError(
            f"neither --features nor the file of {count_of('slide', len(homeless))}: "
            f"{name_some(homeless)}",
            expected="a column slide_path in --labels, --slides, or --features FOLDER",
        )
    return slides


def _slides_of(labels: LabelTable, table: LabelTable) -> list[str]:
    """The slides that have a labelled row, in order of the table."""
    named = {slide_id.partition(SEPARATOR)[0] for slide_id in labels.slide_ids}
    return [slide_id for slide_id in table.slide_ids if slide_id in named]


def _joined(
    application: Application, applied: Applied, labels: LabelTable, target: str
) -> tuple[Predictions, list[str]]:
    """The predictions with their labels; bags of regions without a label are left out."""
    found = applied.predictions
    if found is None:
        reasons = [o.detail for stage in applied.stages for o in stage.failed]
        raise PredictionsError(
            f"no slide could be predicted ({reasons[0] if reasons else 'none was given'})",
            expected="features or files of the slides in the table of labels",
        )
    found = split_predictions(found)[target]
    slides = []
    for bag_id in found.bag_ids:
        members = application.members.get(bag_id, ())
        slide_id = bag_id.partition(SEPARATOR)[0]
        own = [bag_id] if bag_id in labels.index else [slide_id]
        slides.append([row.slide_id for row in members] or own)
    labelled = np.array([all(s in labels.index for s in of_bag) for of_bag in slides])
    if not labelled.any():
        raise PredictionsError(
            f"no bag such as {found.bag_ids[0]!r} has a label in {labels.path}",
            expected="labels of slides, or of the regions they were cut into",
        )
    lines = []
    if not labelled.all():
        without = [b for b, good in zip(found.bag_ids, labelled, strict=True) if not good]
        lines = [
            f"Left out: {count_of('bag', len(without))} without a label: {name_some(without)}."
        ]
    kept = [of_bag for of_bag, good in zip(slides, labelled, strict=True) if good]
    targets = encode_bag_targets(found.task, labels, kept)
    return replace(found.take(labelled), targets=targets), lines


def _failed(applied: Applied) -> list[str]:
    """Slides that should have been predicted and could not be."""
    failed = {o.slide_id: o.detail for stage in applied.stages for o in stage.failed}
    if not failed:
        return []
    verb = "is" if len(failed) == 1 else "are"
    return [
        f"{count_of('slide', len(failed))} could not be predicted and {verb} not judged: "
        f"{name_some(failed)} ({next(iter(failed.values()))})"
    ]


def _applied_lines(model: Bundle | Ensemble, target: str) -> list[str]:
    """The temperature and cut-off the model brings along."""
    lines, threshold = [], of_target(model.calibration, target).threshold
    temperatures = [of_target(m.calibration, target).temperature for m in model.members]
    if any(temperature != 1 for temperature in temperatures):
        shown = ", ".join(f"{temperature:.3f}" for temperature in temperatures)
        lines.append(f"Probabilities are at the temperature of the model ({shown}).")
    if threshold is not None:
        lines.append(
            f"The model's own cut-off is {threshold:.3f}, chosen in its training; nothing was "
            "fitted on these slides for it."
        )
    return lines


def _sites(predictions: Predictions, slides: LabelTable, column: str) -> list[str]:
    """The centre of each row: of its slide, or of the slides of its patient."""
    centres = dict(zip(slides.slide_ids, slides.column(column), strict=True))
    of_patient: dict[str, set[str]] = {}
    for row in slides.rows:
        of_patient.setdefault(row.patient_id or row.slide_id, set()).add(centres[row.slide_id])
    found = []
    for bag_id, patient in zip(predictions.bag_ids, predictions.patient_ids, strict=True):
        slide_id = bag_id.partition(SEPARATOR)[0]
        own = (
            {centres[slide_id]} if slide_id in centres else of_patient.get(patient or bag_id, set())
        )
        found.append(" and ".join(sorted(own)) or "(none)")
    return found
