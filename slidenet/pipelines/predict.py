"""`slidenet predict`: a trained model applied to new slides, from the raw slide to a CSV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slidenet.core.errors import ConfigError
from slidenet.core.extras import data_frame
from slidenet.core.records import SlideRow
from slidenet.data.bags.parts import SEPARATOR
from slidenet.evaluation import Predictions, check_origin
from slidenet.evaluation.predictions.targets import prediction_files, write_targets
from slidenet.pipelines.applying.application import Application, prepare
from slidenet.pipelines.applying.bags import (
    describe_patients_of,
    read_rows,
    source_of,
    takes_patients,
)
from slidenet.pipelines.applying.ensembles import ALPHA
from slidenet.pipelines.applying.truth import carried_labels
from slidenet.pipelines.applying.work import PREDICTIONS_NAME
from slidenet.pipelines.cohort.features import EncodingChoice
from slidenet.pipelines.cohort.report import RunReport, exit_code_of
from slidenet.pipelines.cohort.run import LOCAL
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.cohort.slides import Slides
from slidenet.pipelines.fleet.settings import WHOLE, FleetSettings
from slidenet.pipelines.objects.outputs import to_buckets
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import check_output_folder
from slidenet.tasks import MultiTask
from slidenet.training import load_bundle

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class PredictReport:
    """What `predict` ended with.

    Attributes:
        predictions: One row per bag (or patient) that could be predicted; None where none could.
        stages: Reports of the steps; the last is that of the model itself, if it got so far.
        path: The CSV.
        notes: What to know about the rows, a line each.
        files: The CSV, or that of each target where the model has several.
    """

    predictions: Predictions | None
    stages: Sequence[RunReport]
    path: Path
    notes: Sequence[str] = ()
    files: Sequence[Path] = ()

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 0."""
        return exit_code_of(self.stages)

    def table(self) -> str:
        """The slides that failed on the way, every prediction, and where it all lies."""
        shown = [stage.table() for stage in self.stages[:-1] if stage.exit_code]
        done = "nothing could be predicted"
        if self.predictions is not None:
            done = f"{len(self.predictions)} predicted; wrote {', '.join(map(str, self.files))}"
        # The model's decision is as good as the tissue it was shown.
        doubts = [n for stage in self.stages[:-1] if not stage.exit_code for n in stage.notes]
        return "\n\n".join([*shown, self.stages[-1].table(), *doubts, *self.notes, done])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per bag (or patient): the columns of the CSV, but for what is called.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([]) if self.predictions is None else self.predictions.to_pandas()


@to_buckets
def predict(
    bundle: str | Path,
    slides: Slides,
    out: str | Path,
    *,
    features: str | Path | None = None,
    more_features: Sequence[Path] = (),
    weights: str | Path | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    num_readers: int | None = None,
    recursive: bool = False,
    allow_upsampling: bool = False,
    by_patient: bool = False,
    alpha: float = ALPHA,
    patient_column: str | None = None,
    allow_code: bool = False,
    opening: OpeningSettings | None = None,
    fleet: FleetSettings = WHOLE,
    runner: Runner = LOCAL,
) -> PredictReport:
    """Apply a trained slide classifier to new slides.

    Tissue, tiles and features of the slides are made exactly as those the model was trained on;
    files that are already there are used. A slide that fails is left out of the CSV and named, and
    with it the patient, where rows are patients.

    Args:
        bundle: A model.slidenet of `slidenet train`, or an ensemble.slidenet of `slidenet crossval`
            or `slidenet ensemble`.
        slides: Manifest slides.csv, or a folder of slides; with features, a column slide_id will
            do. Covariates the model takes are columns of it; labels are carried through, where
            it has the columns of the training.
        out: Output folder: predictions.csv, and the files of the steps before.
        features: Folder of features made elsewhere, used instead of the slides themselves.
        more_features: With features: folders of the further feature sets of a model that was
            trained on several, in the order of the training.
        weights: Local weights file of the tile encoder (of several: the first), instead of the hub
            or its cache.
        device: Where encoder and model run: auto, cpu, cuda or cuda:N.
        batch_size: Tiles per forward pass of the encoder; default: what suits its engine.
        num_readers: Threads that read tiles; default: one per core, 2 to 16.
        recursive: Of a folder of slides, take those of its subfolders, too.
        allow_upsampling: Accept slides coarser than the training's and enlarge their pixels.
        by_patient: Write one row per patient, the mean over the patient's slides.
        alpha: Of prediction sets, which an ensemble of a cross-validation makes: they hold the
            truth for at least 1 - 2 alpha of new patients, usually for about 1 - alpha.
        patient_column: Column of the manifest that says whose slide it is; default: patient_id, or
            one named alike. "tcga" reads TCGA barcodes in slide_id.
        allow_code: Let the bundle name classes outside slidenet; importing them runs their code.
        opening: Where slides are opened and what they may cost.
        fleet: With how many processes features are made; it takes no shard.
        runner: Who does the work.
    """
    if fleet.shard is not None:
        raise ConfigError(
            f"--shard {fleet.shard} for `slidenet predict`",
            expected="all slides: predictions are one table, and shards part patients",
            remedy="make features of the shards with `slidenet run --shard`, then predict of all "
            "with the same --out",
        )
    bundle = Path(bundle)
    model = load_bundle(bundle, allow_code=allow_code)
    first = [] if features is None else [Path(features)]
    application = prepare(
        model,
        bundle,
        read_rows(slides, first[0] if first else None, patient_column, recursive=recursive),
        source=source_of(slides),
        folders=[*first, *map(Path, more_features)],
        by_patient=by_patient,
        alpha=alpha,
    )
    path, origin = Path(out) / PREDICTIONS_NAME, application.origin("predict")
    for file in prediction_files(path, model.task).values():
        check_origin(file, origin, application.asked)
    choice = EncodingChoice(
        None if weights is None else Path(weights),
        device,
        batch_size,
        num_readers,
        allow_upsampling,
        allow_code,
        opening,
        fleet,
    )
    found = application.run(check_output_folder(out), choice, runner)
    files: list[Path] = []
    if found.predictions is not None:
        files = write_targets(
            path,
            found.predictions,
            model.calibration,
            origin=origin,
            decided=True,
            asked=application.asked,
            labels=_labels(application, found.predictions),
            remarks={
                target: found.remarks.of_target(target).columns
                for target in prediction_files(path, model.task)
            },
        )
    doubts = [*application.doubts, *found.doubts, *found.remarks.doubts]
    notes = [*doubts, *found.notes, *found.remarks.lines]
    if by_patient or takes_patients(model):
        notes = describe_patients_of(slides, patient_column) + notes
    return PredictReport(found.predictions, found.stages, path, notes, files)


def _labels(
    application: Application, predictions: Predictions
) -> dict[str, dict[str, list[str]] | None]:
    """The labels of the bags by target, where the table of slides has any."""
    task = application.model.task
    of_slide, members = {row.slide_id: row for row in application.rows}, application.members
    of_patient: dict[str, list[SlideRow]] = {}
    for row in application.rows:
        of_patient.setdefault(row.patient_id or row.slide_id, []).append(row)
    bags = []
    for bag_id in predictions.bag_ids:
        slide = of_slide.get(bag_id.partition(SEPARATOR)[0])
        bags.append(
            members.get(bag_id) or ([slide] if slide is not None else of_patient.get(bag_id, []))
        )
    targets = task.targets if isinstance(task, MultiTask) else {"": task}
    return {target: carried_labels(bags, of_target) for target, of_target in targets.items()}
