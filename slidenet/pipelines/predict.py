"""`slidenet predict`: a trained model applied to new slides, from the raw slide to a CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from slidenet.core.errors import RecipeMismatchError, StoreError
from slidenet.core.provenance import Recipe
from slidenet.core.records import SlideRow
from slidenet.data import BagDataset, BagSource, collate_bags, find_bag_files
from slidenet.evaluation import Predictions, average_by_patient, write_predictions
from slidenet.pipelines.bag_predictions import BagLogits, Finish, as_predictions, run_bags
from slidenet.pipelines.cohort import Made, Progress, run_cohort
from slidenet.pipelines.embed_tiles import embed_tiles_rows, load_encoder
from slidenet.pipelines.layout import OutputLayout
from slidenet.pipelines.preprocess import preprocess_rows
from slidenet.pipelines.report import RunReport
from slidenet.pipelines.settings_from_recipe import settings_from_recipe
from slidenet.stores import check_output_folder, read_manifest
from slidenet.stores.identity import describe_difference
from slidenet.stores.interop import BagFeatures, open_bag_features
from slidenet.tile_encoders.encoder import resolve_device
from slidenet.training import Bundle, load_bundle

PREDICTIONS_NAME = "predictions.csv"


@dataclass(frozen=True)
class PredictReport:
    """What `predict` ended with.

    Attributes:
        predictions: One row per bag that could be predicted.
        stages: Reports of the steps; the last is that of the model itself.
        path: The CSV.
    """

    predictions: Predictions
    stages: Sequence[RunReport]
    path: Path

    @property
    def exit_code(self) -> int:
        """1 when a slide failed, else 0."""
        return max(stage.exit_code for stage in self.stages)

    def table(self) -> str:
        """The slides that failed on the way, every prediction, and where it all lies."""
        shown = [stage.table() for stage in self.stages[:-1] if stage.exit_code]
        done = f"{len(self.predictions)} predicted; wrote {self.path}"
        return "\n\n".join([*shown, self.stages[-1].table(), done])


def predict(
    bundle: Path,
    slides: Path,
    out: Path,
    *,
    features: Path | None = None,
    weights: Path | None = None,
    device: str = "auto",
    batch_size: int = 64,
    num_readers: int = 2,
    allow_upsampling: bool = False,
    by_patient: bool = False,
) -> PredictReport:
    """Apply a trained slide classifier to new slides.

    Tissue, tiles and features of the slides are made exactly as those the model was trained on;
    files that are already there are used. A slide that fails is left out of the CSV and named.

    Args:
        bundle: A model.slidenet of `slidenet train` or `slidenet crossval`.
        slides: Manifest slides.csv, or a folder of slides.
        out: Output folder: predictions.csv, and the files of the steps before.
        features: Folder of features made elsewhere, used instead of the slides themselves.
        weights: Local weights file of the tile encoder, instead of the hub or its cache.
        device: Where encoder and model run: auto, cpu, cuda or cuda:N.
        batch_size: Tiles per forward pass of the encoder.
        num_readers: Threads that read tiles.
        allow_upsampling: Accept slides coarser than the training's and enlarge their pixels.
        by_patient: Write one row per patient, the mean over the patient's slides.
    """
    model = load_bundle(bundle)
    rows = read_manifest(slides)
    out = check_output_folder(out)
    stages: list[RunReport] = []
    if features is None:
        tiling, encoding = settings_from_recipe(model.features_recipe)
        tiling = replace(tiling, allow_upsampling=allow_upsampling)
        encoding = replace(
            encoding, weights=weights, device=device, batch_size=batch_size, num_readers=num_readers
        )
        encoder = load_encoder(encoding)
        _check_encoder(model, encoder.identity(), bundle)
        stages.append(preprocess_rows(rows, out, tiling))
        rows = stages[-1].without_failed(rows)
        stages.append(embed_tiles_rows(rows, out, encoding, encoder=encoder))
        rows = stages[-1].without_failed(rows)
        features = OutputLayout(out).features("x", encoder.spec.name).parent
    path = out / PREDICTIONS_NAME
    work = _BagWork(model, bundle, features, _members(rows, model), resolve_device(device), path)
    layout = OutputLayout(out)
    bags = [replace(rows[0], slide_id=bag_id, slide_path="") for bag_id in work.members]
    stages.append(run_cohort("predict", bags, work, layout=layout, settings=[]))
    if not work.outputs:
        raise StoreError(
            "no slide could be predicted", remedy="see why below\n" + stages[-1].table()
        )
    predictions = work.predictions()
    if by_patient:
        predictions = average_by_patient(predictions)
    write_predictions(path, predictions)
    return PredictReport(predictions, stages, path)


@dataclass
class _BagWork:
    """Predicts one bag at a time and keeps what came out."""

    model: Bundle
    bundle: Path
    features: Path
    members: Mapping[str, Sequence[SlideRow]]
    device: torch.device
    output: Path

    def __post_init__(self) -> None:
        self.outputs: list[BagLogits] = []
        self._files = find_bag_files(self.features)
        self._module = self.model.module.to(self.device)

    def __call__(self, row: SlideRow, progress: Progress) -> Made:
        """Runs the model over one bag."""
        files = tuple(self._open(member) for member in self.members[row.slide_id])
        dataset = BagDataset([BagSource(row.slide_id, files)])
        outputs = run_bags(self._module, [collate_bags([dataset[0]])])
        self.outputs.append(outputs)
        num_tiles = sum(file.num_tiles for file in files)
        said = in_words(self._as_predictions([outputs]), self.model.threshold)
        return Made(self.output, said[0], num_tiles)

    def predictions(self) -> Predictions:
        """Of every bag that could be predicted."""
        return self._as_predictions(self.outputs)

    def _as_predictions(self, outputs: Sequence[BagLogits]) -> Predictions:
        together = BagLogits(
            tuple(bag_id for part in outputs for bag_id in part.bag_ids),
            tuple(slides for part in outputs for slides in part.slide_ids),
            torch.cat([part.logits for part in outputs]),
        )
        finish = Finish(self.model.temperature, self.model.threshold, self.model.baseline)
        patients = tuple(self.members[bag_id][0].patient_id for bag_id in together.bag_ids)
        found = as_predictions(self.model.task, together, None, targets=None, finish=finish)
        return replace(found, patient_ids=patients)

    def _open(self, row: SlideRow) -> BagFeatures:
        if row.slide_id not in self._files:
            raise StoreError(
                f"{self.features} holds no features of this slide",
                expected=f"a file named {row.slide_id}.h5",
                slide=row.slide_id,
            )
        file = open_bag_features(self._files[row.slide_id], slide_mpp=row.mpp)
        difference = describe_difference(self.model.features_recipe, file.recipe)
        if difference:
            raise RecipeMismatchError(
                f"{file.path} has features of another recipe than {self.bundle} was trained on "
                f"({difference})",
                remedy="leave --features away, so that the right ones are made",
                slide=row.slide_id,
            )
        return file


def _members(rows: Sequence[SlideRow], model: Bundle) -> dict[str, list[SlideRow]]:
    """The slides of each bag: one, or all of a patient where the model was trained so."""
    by_patient = model.training.get("bag") == "patient"
    members: dict[str, list[SlideRow]] = {}
    for row in rows:
        bag_id = (row.patient_id or row.slide_id) if by_patient else row.slide_id
        members.setdefault(bag_id, []).append(row)
    return members


def _check_encoder(model: Bundle, identity: Recipe, bundle: Path) -> None:
    wanted = model.features_recipe["tile_encoder"]
    assert isinstance(wanted, Mapping), "checked by settings_from_recipe"
    difference = describe_difference(wanted, identity)
    if difference:
        raise RecipeMismatchError(
            f"the tile encoder here is not the one {bundle} was trained with ({difference})",
            remedy="give the same weights as --weights",
        )


def in_words(predictions: Predictions, threshold: float | None) -> list[str]:
    """One line per bag: what is called and how sure the model is."""
    task, given = predictions.task, predictions.predicted
    called = decide(predictions, threshold)
    if called is None:
        values = given.value if given.value is not None else given.risk
        assert values is not None, "a task predicts classes, a value or a risk"
        name = "risk" if task.is_survival else task.label_columns[0]
        return [f"{name} {value:.3g}" for value in values]
    if task.kind == "multilabel":
        return [f"present: {text or 'none'}" for text in called]
    column = [task.class_names.index(name) for name in called]
    shares = predictions.probabilities[np.arange(len(called)), column]
    return [f"{name} ({share:.2f})" for name, share in zip(called, shares, strict=True)]


def decide(predictions: Predictions, threshold: float | None) -> list[str] | None:
    """What is called: the class beyond the threshold, the likeliest class, or the labels present.

    Args:
        predictions: Of any task.
        threshold: For "binary" and "multilabel"; 0.5 where None.

    Returns:
        One text per bag; None for tasks without classes.
    """
    task = predictions.task
    if not task.is_classification:
        return None
    probabilities = predictions.probabilities
    cut = 0.5 if threshold is None else threshold
    names = np.array(task.class_names)
    if task.kind == "binary":
        return [str(name) for name in names[(probabilities[:, 1] >= cut).astype(int)]]
    if task.kind == "multilabel":
        return [" ".join(names[row >= cut]) for row in probabilities]
    return [str(name) for name in names[probabilities.argmax(axis=1)]]
