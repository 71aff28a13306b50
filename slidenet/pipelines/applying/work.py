"""The work on one bag: its files opened and checked, the model run over it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slidenet.core.records import SlideRow
from slidenet.data import BagDataset, collate_bags
from slidenet.evaluation.predictions.targets import descriptions
from slidenet.mil import BagBatch
from slidenet.pipelines.applying.opening import BagOpener
from slidenet.pipelines.applying.remarks import Testimony
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import Progress
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fitting.predictions import predict_bags
from slidenet.pipelines.objects.publishing import files_of_bags
from slidenet.stores import FeatureMemory
from slidenet.tasks import PredictionArrays

PREDICTIONS_NAME = "predictions.csv"


@dataclass(frozen=True)
class PredictWork(SlideWork):
    """Predicts one bag; predictions and testimonies are the value of the result.

    Attributes:
        layout: Paths of the output folder.
        opener: Of the bags of the model, which lies on the device it runs on.
    """

    layout: OutputLayout
    opener: BagOpener

    def files_of(self, row: SlideRow) -> Sequence[Path]:
        """See `SlideWork`."""
        return files_of_bags(self.layout, self.opener.paths(row.slide_id))

    def __call__(self, row: SlideRow, progress: Progress) -> SlideResult:
        """Runs the model over one bag, or over the parts of a slide where those are its bags."""
        opened, model = self.opener(row.slide_id), self.opener.model
        dataset = BagDataset(opened.sources, memory=FeatureMemory())
        heard: list[Testimony] = []

        def hear(batch: BagBatch) -> PredictionArrays:
            heard.append(Testimony.of(model, batch))
            return heard[-1].mean

        predictions = predict_bags(
            model.task,
            hear,
            (collate_bags([dataset[index]]) for index in range(len(dataset))),
            patient_of=lambda _: self.opener.members[row.slide_id][0].patient_id,
        )
        files = opened.files[0]
        return SlideResult(
            self.layout.root / PREDICTIONS_NAME,
            opened.words or descriptions(predictions, model.calibration)[0],
            sum(file.num_tiles for file in files),
            num_unreadable=sum(file.num_unreadable for file in files),
            value=(predictions, heard),
        )
