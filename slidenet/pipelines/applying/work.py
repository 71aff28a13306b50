"""The work on one bag: its files opened and checked, the model run over it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slidenet.core.errors import IdentityMismatchError, StoreError
from slidenet.core.provenance import describe_difference
from slidenet.core.records import SlideRow
from slidenet.core.text import count_of, name_some
from slidenet.core.vocabulary import id_spelling
from slidenet.data import BagDataset, BagSource, collate_bags
from slidenet.data.bags.parts import divide_file
from slidenet.data.covariates import CovariateTable
from slidenet.evaluation.predictions.targets import descriptions
from slidenet.mil import BagBatch
from slidenet.pipelines.applying.bags import dividing
from slidenet.pipelines.applying.remarks import Testimony
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fitting.bundles import check_bundle_places, check_feature_dim
from slidenet.pipelines.fitting.predictions import predict_bags
from slidenet.stores import FeatureFile, FeatureMemory, open_features
from slidenet.stores.h5.ancestors import check_tiles_of
from slidenet.stores.h5.validate import check_name
from slidenet.tasks import PredictionArrays
from slidenet.training import Bundle, Ensemble

PREDICTIONS_NAME = "predictions.csv"


@dataclass(frozen=True)
class PredictWork(SlideWork):
    """Predicts one bag; predictions and testimonies are the value of the result.

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
        rule = dividing(self.model)
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
        heard: list[Testimony] = []

        def hear(batch: BagBatch) -> PredictionArrays:
            heard.append(Testimony.of(self.model, batch))
            return heard[-1].mean

        predictions = predict_bags(
            self.model.task,
            hear,
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
        return SlideResult(
            path,
            decision,
            sum(file.num_tiles for file in files),
            num_unreadable=sum(file.num_unreadable for file in files),
            value=(predictions, heard),
        )

    def _open(self, row: SlideRow, number: int) -> FeatureFile:
        """The file of a slide in a feature set, counted from 0."""
        files = self.files[number]
        if row.slide_id not in files:
            wanted_id = id_spelling(row.slide_id, file_name=True)
            near = [name for name in files if id_spelling(name, file_name=True) == wanted_id]
            raise StoreError(
                f"{self.features[number]} holds no features of the slide {row.slide_id!r}",
                expected=f"a file named {row.slide_id}.h5",
                remedy=f"is it {near[0]!r}? Name slides as their files are named" if near else "",
                slide=row.slide_id,
            )
        # What files of other tools do not say is as it was for the training's.
        given: Any = self.model.training.get("given") or {}
        mpp = {} if row.mpp is None else {"slide_mpp": row.mpp}
        file = open_features(files[row.slide_id], **{**given, **mpp})
        file.check_any_tile()
        if file.layout == "slidenet":
            check_name(file.path, file.slide_id)
            check_tiles_of(file.path)
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
