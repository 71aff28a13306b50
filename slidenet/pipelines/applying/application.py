"""A trained model and the slides it is to be applied to, from rows to predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slidenet.core.checks import check_share
from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.data import find_bag_files
from slidenet.data.covariates import CovariateTable
from slidenet.evaluation import Origin, Predictions
from slidenet.pipelines.applying.bags import (
    asked_bags,
    averaged_by_patient,
    check_number_of_sets,
    check_patients,
    describe_call,
    digest_of_bags,
    dividing,
    members_of,
    takes_patients,
)
from slidenet.pipelines.applying.doubts import renamed_doubts, seen_doubts
from slidenet.pipelines.applying.ensembles import ALPHA
from slidenet.pipelines.applying.opening import BagOpener
from slidenet.pipelines.applying.remarks import NO_REMARKS, Remarks, Testimony, remarks_on
from slidenet.pipelines.applying.work import PredictWork
from slidenet.pipelines.cohort.features import EncodingChoice, make_features, place_of_set
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import RunReport
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import Runner
from slidenet.pipelines.fitting.bundles import covariates_for
from slidenet.stores import check_output_folder
from slidenet.training import Bundle, Ensemble
from slidenet.weights.device import resolve_device


@dataclass(frozen=True, eq=False)
class Applied:
    """What came of it.

    Attributes:
        predictions: One row per bag (or patient) that could be predicted; None where none could.
        stages: Reports of the steps; the last is that of the model itself, if it got so far.
        notes: What to know about the rows, a line each.
        remarks: What else is known of each row.
        doubts: Why some of it may be no fair test, known from the files.
    """

    predictions: Predictions | None
    stages: Sequence[RunReport]
    notes: Sequence[str]
    remarks: Remarks = NO_REMARKS
    doubts: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Application:
    """A model and slides that fit it; made by `prepare`, which writes nothing.

    Attributes:
        model: The trained model.
        bundle: Its file.
        rows: The slides.
        folders: Of features made elsewhere, one per feature set; none to make them of the slides.
        by_patient: Whether there is to be one row per patient, the mean over the patient's slides.
        members: The slides of each bag.
        covariates: Of the slides, where the model takes any.
        notes: What to know about the rows, a line each.
        alpha: Of prediction sets, where the model makes any.
    """

    model: Bundle | Ensemble
    bundle: Path
    rows: Sequence[SlideRow]
    folders: Sequence[Path]
    by_patient: bool
    members: Mapping[str, Sequence[SlideRow]]
    covariates: CovariateTable | None
    notes: Sequence[str]
    alpha: float = ALPHA

    @property
    def asked(self) -> set[str] | None:
        """The bag_ids there will be if nothing fails; None where only the files tell."""
        return asked_bags(self.members, self.model, by_patient=self.by_patient)

    @property
    def doubts(self) -> list[str]:
        """Slides and patients that the model has seen in its training."""
        return seen_doubts(self.model, self.rows)

    def origin(self, verb: str) -> Origin:
        """What a file of these predictions says that made it."""
        return Origin(
            verb,
            str(self.model.training.get("run", "")),
            self.model.digests,
            digest_of_bags(self.members),
            threshold=self.model.calibration.threshold,
        )

    def run(self, out: Path, choice: EncodingChoice, runner: Runner) -> Applied:
        """Makes the features, where none are given, and predicts.

        Args:
            out: Folder of the steps before.
            choice: How features are made of slides.
            runner: Who does the work.
        """
        model = self.model
        stages, done, opener = self.ready(out, choice, runner)
        if opener is None:
            return Applied(None, stages, self.notes)
        work, bags = PredictWork(OutputLayout(out), opener), opener.rows
        shown = choice.fleet.in_this_process()  # a model runs in less than it takes to send it
        stages.append(run_cohort("predict", bags, work, fleet=shown, runner=runner))
        done_bags = [o.value for o in stages[-1].outcomes if o.is_done]
        if not done_bags:
            return Applied(None, stages, self.notes)
        tiles = {
            o.slide_id: (o.num_unreadable or 0, o.num_tiles or 0)
            for o in stages[-1].outcomes
            if o.is_done
        }
        doubts = renamed_doubts(model, done, opener.files[0])
        predictions = Predictions.concatenate(of_bag for of_bag, _ in done_bags)
        testimony = Testimony.concatenate([one for _, heard in done_bags for one in heard])
        if not self.by_patient or takes_patients(model):
            remarks = remarks_on(model, predictions, testimony, tiles=tiles, alpha=self.alpha)
            return Applied(predictions, stages, self.notes, remarks, doubts)
        averaged, lines = averaged_by_patient(predictions, self.rows, model.calibration)
        notes = [*self.notes, *lines]
        if averaged is None:
            return Applied(None, stages, notes)
        testimony = testimony.of_patients(predictions, averaged)
        tiles = self._of_patients(tiles)
        remarks = remarks_on(model, averaged, testimony, tiles=tiles, alpha=self.alpha)
        return Applied(averaged, stages, notes, remarks, doubts)

    def ready(
        self, out: Path, choice: EncodingChoice, runner: Runner
    ) -> tuple[list[RunReport], list[SlideRow], BagOpener | None]:
        """Makes the features, where none are given, and moves the model to its device.

        Args:
            out: Folder of the steps before.
            choice: How features are made of slides.
            runner: Who does the work.

        Returns:
            Reports of the steps, the slides that have features, and what opens the bags; None where
            no slide got so far.
        """
        model, members = self.model, self.members
        folders, stages, done = list(self.folders), list[RunReport](), list(self.rows)
        device = choice.device
        if not folders:
            first = model.features_identity
            for number, identity in enumerate((first, *model.more_identities), 1):
                place = out if number == 1 else place_of_set(out, number, identity, first)
                found = make_features(
                    done,
                    check_output_folder(place),
                    identity,
                    choice,
                    source=str(self.bundle),
                    runner=runner,
                )
                stages += found.stages
                if found.folder is None:
                    return stages, [], None
                folders.append(found.folder)
                done, choice = list(found.rows), replace(choice, weights=None)
            there = {row.slide_id for row in done}
            # A bag with nothing left was named above; one with some slides left fails below.
            members = {b: m for b, m in members.items() if any(row.slide_id in there for row in m)}
        model.to(resolve_device(device))
        if self.folders:
            files = [find_bag_files(folder) for folder in folders]
        else:  # of slides whose features are made, and may lie in a bucket by now
            names = {row.slide_id: f"{row.slide_id}.h5" for row in done}
            files = [{i: folder / name for i, name in names.items()} for folder in folders]
        return stages, done, BagOpener(model, self.bundle, folders, files, members, self.covariates)

    def _of_patients(self, tiles: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        """Lost and all tiles of each patient, from those of slides."""
        found: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            patient = row.patient_id or row.slide_id
            of_slide, before = tiles.get(row.slide_id, (0, 0)), found.get(patient, (0, 0))
            found[patient] = (of_slide[0] + before[0], of_slide[1] + before[1])
        return found


def prepare(
    model: Bundle | Ensemble,
    bundle: Path,
    rows: Sequence[SlideRow],
    *,
    source: str,
    folders: Sequence[Path] = (),
    by_patient: bool = False,
    alpha: float = ALPHA,
) -> Application:
    """Checks all that can be known before a file is opened.

    Args:
        model: The trained model.
        bundle: Its file.
        rows: The slides.
        source: Where they are named, for messages.
        folders: Of features made elsewhere, one per feature set; none to make them of the slides.
        by_patient: Whether there is to be one row per patient, the mean over the patient's slides.
        alpha: Of prediction sets, where the model makes any.

    Raises:
        ConfigError: Settings that do not fit the model.
        ManifestError: Patients or covariates the model needs are not known.
    """
    check_number_of_sets(model, bundle, folders)
    check_share(above_zero=True, below_one=True, alpha=alpha)
    if by_patient and dividing(model) is not None:
        raise ConfigError(
            f"by_patient for a model of bags of kind {model.training['bag']!r}",
            expected="a model of slides or patients",
            remedy="leave --by-patient away",
        )
    notes = describe_call(model)
    if by_patient or takes_patients(model):
        notes += check_patients(rows)
    covariates = covariates_for(model, rows, source=source)
    notes += [] if covariates is None else covariates.notes
    members = members_of(rows, model)
    return Application(model, bundle, rows, folders, by_patient, members, covariates, notes, alpha)
