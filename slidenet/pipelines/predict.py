"""`slidenet predict`: a trained model applied to new slides, from the raw slide to a CSV."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidenet.core.errors import ConfigError, IdentityMismatchError, ManifestError, StoreError
from slidenet.core.extras import data_frame
from slidenet.core.provenance import IDENTITY_HASH_LENGTH, describe_difference
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.data import BagDataset, BagSource, collate_bags, find_bag_files, read_label_table
from slidenet.data.bags.parts import DividingRule, divide_file
from slidenet.data.covariates import CovariateTable
from slidenet.evaluation import (
    Origin,
    Predictions,
    average_by_patient,
    check_origin,
    write_predictions,
)
from slidenet.evaluation.predictions.targets import descriptions
from slidenet.pipelines.cohort.features import EncodingChoice, make_features, place_of_set
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import LOCAL, run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork
from slidenet.pipelines.cohort.slides import Slides, rows_of
from slidenet.pipelines.fitting.bundles import (
    check_bundle_places,
    check_feature_dim,
    covariates_for,
)
from slidenet.pipelines.fitting.predictions import predict_bags
from slidenet.pipelines.settings import OpeningSettings
from slidenet.stores import FeatureFile, FeatureMemory, check_output_folder, open_features
from slidenet.tasks import Calibration
from slidenet.training import Bundle, Ensemble, load_bundle
from slidenet.weights.device import resolve_device

if TYPE_CHECKING:
    import pandas

PREDICTIONS_NAME = "predictions.csv"


@dataclass(frozen=True)
class PredictReport:
    """What `predict` ended with.

    Attributes:
        predictions: One row per bag (or patient) that could be predicted; None where none could.
        stages: Reports of the steps; the last is that of the model itself, if it got so far.
        path: The CSV.
        notes: What to know about the rows, a line each.
    """

    predictions: Predictions | None
    stages: Sequence[RunReport]
    path: Path
    notes: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 0."""
        return max(stage.exit_code for stage in self.stages)

    def table(self) -> str:
        """The slides that failed on the way, every prediction, and where it all lies."""
        shown = [stage.table() for stage in self.stages[:-1] if stage.exit_code]
        done = "nothing could be predicted"
        if self.predictions is not None:
            done = f"{len(self.predictions)} predicted; wrote {self.path}"
        # The model's decision is as good as the tissue it was shown.
        doubts = [n for stage in self.stages[:-1] if not stage.exit_code for n in stage.notes]
        return "\n\n".join([*shown, self.stages[-1].table(), *doubts, *self.notes, done])

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per bag (or patient): the columns of the CSV, but for what is called.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame([]) if self.predictions is None else self.predictions.to_pandas()


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
    allow_upsampling: bool = False,
    by_patient: bool = False,
    allow_code: bool = False,
    opening: OpeningSettings | None = None,
    runner: Runner = LOCAL,
) -> PredictReport:
    """Apply a trained slide classifier to new slides.

    Tissue, tiles and features of the slides are made exactly as those the model was trained on;
    files that are already there are used. A slide that fails is left out of the CSV and named, and
    with it the patient, where rows are patients.

    Args:
        bundle: A model.slidenet of `slidenet train` or `slidenet crossval`.
        slides: Manifest slides.csv, or a folder of slides; with features, a column slide_id will
            do. Covariates the model takes are columns of it.
        out: Output folder: predictions.csv, and the files of the steps before.
        features: Folder of features made elsewhere, used instead of the slides themselves.
        more_features: With features: folders of the further feature sets of a model that was
            trained on several, in the order of the training.
        weights: Local weights file of the tile encoder (of several: the first), instead of the hub
            or its cache.
        device: Where encoder and model run: auto, cpu, cuda or cuda:N.
        batch_size: Tiles per forward pass of the encoder; default: what suits its engine.
        num_readers: Threads that read tiles; default: one per core, 2 to 16.
        allow_upsampling: Accept slides coarser than the training's and enlarge their pixels.
        by_patient: Write one row per patient, the mean over the patient's slides.
        allow_code: Let the bundle name classes outside slidenet; importing them runs their code.
        opening: Where slides are opened and what they may cost.
        runner: Who does the work.
    """
    bundle = Path(bundle)
    features = None if features is None else Path(features)
    model = load_bundle(bundle, allow_code=allow_code)
    more = [Path(folder) for folder in more_features]
    _check_number_of_sets(model, bundle, [*([] if features is None else [features]), *more])
    rows = _read_rows(slides, features)
    if by_patient and _dividing(model) is not None:
        raise ConfigError(
            f"by_patient for a model of bags of kind {model.training['bag']!r}",
            expected="a model of slides or patients",
            remedy="leave --by-patient away",
        )
    notes = _check_patients(rows) if by_patient or _takes_patients(model) else []
    covariates = covariates_for(model, rows, source=_source(slides))
    notes += [] if covariates is None else covariates.notes
    members = _members(rows, model)
    path = Path(out) / PREDICTIONS_NAME
    origin = Origin(
        "predict",
        str(model.training.get("run", "")),
        model.digests,
        _digest(members),
        threshold=model.calibration.threshold,
    )
    asked = _asked(members, model, by_patient=by_patient)
    check_origin(path, origin, asked)
    out = check_output_folder(out)
    stages: list[RunReport] = []
    folders: list[Path] = [*([] if features is None else [features]), *more]
    if features is None:
        choice = EncodingChoice(
            None if weights is None else Path(weights),
            device,
            batch_size,
            num_readers,
            allow_upsampling,
            allow_code,
            opening,
        )
        first, done = model.features_identity, rows
        for number, identity in enumerate((first, *model.more_identities), 1):
            place = out if number == 1 else place_of_set(out, number, identity, first)
            found = make_features(
                done,
                check_output_folder(place),
                identity,
                choice,
                source=str(bundle),
                runner=runner,
            )
            stages += found.stages
            if found.folder is None:
                return PredictReport(None, stages, path)
            folders.append(found.folder)
            done, choice = list(found.rows), replace(choice, weights=None)
        there = {row.slide_id for row in done}
        # A bag with nothing left was named above; one with some slides left fails below.
        members = {b: m for b, m in members.items() if any(row.slide_id in there for row in m)}
    model.to(resolve_device(device))
    work = PredictWork(
        OutputLayout(out),
        model,
        bundle,
        folders,
        [find_bag_files(folder) for folder in folders],
        members,
        covariates,
    )
    bags = [SlideRow(bag_id, "") for bag_id in members]
    stages.append(run_cohort("predict", bags, work, runner=runner))
    done_bags = [o.value for o in stages[-1].outcomes if o.status != "failed"]
    if not done_bags:
        return PredictReport(None, stages, path)
    predictions = Predictions.concatenate(done_bags)
    if by_patient and not _takes_patients(model):
        averaged, lines = _averaged(predictions, rows, model.calibration)
        notes += lines
        if averaged is None:
            return PredictReport(None, stages, path, notes)
        predictions = averaged
    called = model.task.decide(predictions.predicted, model.calibration.threshold)
    write_predictions(path, predictions, called=called, origin=origin, asked=asked)
    return PredictReport(predictions, stages, path, notes)


@dataclass(frozen=True)
class PredictWork(SlideWork):
    """Predicts one bag; the predictions are the value of the result.

    Attributes:
        layout: Paths of the output folder.
        model: The trained model, on the device it runs on.
        bundle: Where it comes from.
        features: The folder of each feature set.
        files: The features file of each slide, in each of them.
        members: The slides of each bag.
        covariates: Of the slides, where the model takes any.
    """

    layout: OutputLayout
    model: Bundle | Ensemble
    bundle: Path
    features: Sequence[Path]
    files: Sequence[Mapping[str, Path]]
    members: Mapping[str, Sequence[SlideRow]]
    covariates: CovariateTable | None = None

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Runs the model over one bag, or over the parts of a slide where those are its bags."""
        members = self.members[row.slide_id]
        files, *others = (
            tuple(self._open(member, number) for member in members)
            for number in range(len(self.files))
        )
        known = None
        if self.covariates is not None:
            known = self.covariates.of_bag([member.slide_id for member in members])
        bags = [BagSource(row.slide_id, files, tuple(others), known)]
        rule = _dividing(self.model)
        if rule is not None:
            parts = divide_file(files[0], rule)
            if not parts:
                raise StoreError(
                    f"{files[0].path} has no readable tile that lies enough in a region",
                    expected="tiles as the model was trained on",
                    slide=row.slide_id,
                )
            bags = [BagSource(part.name, (part.file,), covariates=known) for part in parts]
        dataset = BagDataset(bags, memory=FeatureMemory())
        predictions = predict_bags(
            self.model.task,
            self.model.predict,
            (collate_bags([dataset[index]]) for index in range(len(dataset))),
            patient_of=lambda _: self.members[row.slide_id][0].patient_id,
        )
        decision = descriptions(predictions, self.model.calibration)[0]
        if rule is not None:
            decision = count_of("bag", len(parts))
            there = {part.region for part in parts}
            empty = [name for name in files[0].region_names if name not in there]
            decision += f"; no readable tile lies in {name_some(empty)}" if empty else ""
        path = self.layout.root / PREDICTIONS_NAME
        num_tiles = sum(file.num_tiles for file in files)
        return SlideResult(path, decision, num_tiles, value=predictions)

    def _open(self, row: SlideRow, number: int) -> FeatureFile:
        """The file of a slide in a feature set, counted from 0."""
        files = self.files[number]
        if row.slide_id not in files:
            raise StoreError(
                f"{self.features[number]} holds no features of the slide {row.slide_id!r}",
                expected=f"a file named {row.slide_id}.h5",
                slide=row.slide_id,
            )
        # What files of other tools do not say is as it was for the training's.
        given: Any = self.model.training.get("given") or {}
        mpp = {} if row.mpp is None else {"slide_mpp": row.mpp}
        file = open_features(files[row.slide_id], **{**given, **mpp})
        file.check_any_tile()
        wanted = (self.model.features_identity, *self.model.more_identities)[number]
        difference = describe_difference(wanted, file.cohort_identity)
        if difference:
            raise IdentityMismatchError(
                f"{file.path} has features made with other settings than those "
                f"{self.bundle} was trained on ({difference})",
                remedy="leave --features away, so that the right ones are made",
                slide=row.slide_id,
            )
        check_feature_dim(self.model, self.bundle, file, number)
        check_bundle_places(self.model, file)
        return file


def _read_rows(slides: Slides, features: Path | None) -> list[SlideRow]:
    """The slides; their files are not needed where features are given."""
    if features is not None and isinstance(slides, str | Path) and not Path(slides).is_dir():
        return list(read_label_table(Path(slides)).rows)
    return rows_of(slides)


def _source(slides: Slides) -> str:
    """Where the slides are named, for messages."""
    return str(slides) if isinstance(slides, str | Path) else "the table of slides"


def _check_number_of_sets(model: Bundle | Ensemble, bundle: Path, folders: Sequence[Path]) -> None:
    """Refuses another number of folders than the model takes feature sets; none is as good."""
    wanted = 1 + len(model.more_identities)
    if len(folders) not in (0, wanted):
        raise ConfigError(
            f"{count_of('folder', len(folders))} of features for {bundle}, which was trained on "
            f"{count_of('feature set', wanted)}",
            expected=f"{wanted}, in the order of the training, or none to make them of the slides",
            remedy="give --features and --more-features" if wanted > 1 else "give --features only",
        )


def _takes_patients(model: Bundle | Ensemble) -> bool:
    return model.training.get("bag") == "patient"


def _dividing(model: Bundle | Ensemble) -> DividingRule | None:
    """How slides are cut into the bags of the model; every tile is taken, whatever was drawn."""
    bag = model.training.get("bag")
    if bag not in ("region", "tile"):
        return None
    least: Any = model.training["min_region_share"]
    return DividingRule(bag == "tile", float(least))


def _check_patients(rows: Sequence[SlideRow]) -> list[str]:
    """Refuses slides of unknown patients; names those that count as patients of their own."""
    alone = [row.slide_id for row in rows if row.patient_id is None]
    if len(alone) == len(rows):
        raise ManifestError(
            "no slide has a patient_id, and predictions are to be one per patient",
            expected="a manifest with the column patient_id",
        )
    if not alone:
        return []
    return [f"without a patient_id, so each a patient of its own: {', '.join(alone)}"]


def _averaged(
    predictions: Predictions, rows: Sequence[SlideRow], calibration: Calibration
) -> tuple[Predictions | None, list[str]]:
    """One row per patient of whom every slide was predicted, and what to say about it."""
    there = set(predictions.bag_ids)
    patients = {row.patient_id for row in rows if row.slide_id not in there and row.patient_id}
    whole = np.array([patient not in patients for patient in predictions.patient_ids])
    notes = []
    if patients:
        notes = [f"left out, because a slide of theirs failed: {', '.join(sorted(patients))}"]
    if not whole.any():
        return None, notes
    averaged = average_by_patient(predictions.take(whole))
    lines = zip(averaged.bag_ids, descriptions(averaged, calibration), strict=True)
    return averaged, ["patients:", *(f"  {patient}  {words}" for patient, words in lines), *notes]


def _members(rows: Sequence[SlideRow], model: Bundle | Ensemble) -> dict[str, list[SlideRow]]:
    """The slides of each bag: one, or all of a patient where the model was trained so."""
    members: dict[str, list[SlideRow]] = {}
    for row in rows:
        bag_id = (row.patient_id or row.slide_id) if _takes_patients(model) else row.slide_id
        members.setdefault(bag_id, []).append(row)
    return members


def _asked(
    members: Mapping[str, Sequence[SlideRow]], model: Bundle | Ensemble, *, by_patient: bool
) -> set[str] | None:
    """The bag_ids there will be if nothing fails; None where only the files tell."""
    if _dividing(model) is not None:
        return None
    if not by_patient:
        return set(members)
    return {row.patient_id or row.slide_id for rows in members.values() for row in rows}


def _digest(members: Mapping[str, Sequence[SlideRow]]) -> str:
    """What tells these bags from others."""
    bags = [(b, [(r.slide_id, r.patient_id) for r in rows]) for b, rows in members.items()]
    return hashlib.sha256(repr(bags).encode()).hexdigest()[:IDENTITY_HASH_LENGTH]
