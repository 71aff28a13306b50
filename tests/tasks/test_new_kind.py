"""A kind of task nobody has written yet, in one class: from labels to a report."""

import numpy as np
import pytest
import torch.nn.functional as F
from lightning.pytorch import Trainer

from slidenet.core.errors import LabelError
from slidenet.data.datamodule import read_bags
from slidenet.evaluation import (
    SummarySettings,
    average_by_patient,
    read_predictions,
    summarise,
    write_predictions,
)
from slidenet.pipelines.fitting.fit import make_classifier
from slidenet.pipelines.fitting.predictions import fit_calibration, predict_split
from slidenet.tasks import TASKS, PredictionArrays, RegressionTask, task_from_identity
from slidenet.tasks.predictions import to_array
from slidenet.testing import write_feature_cohort
from slidenet.training import load_bundle, quiet_lightning, save_bundle, seed_run


class CountTask(RegressionTask):
    """Counts, such as mitoses; a model gives the logarithm of a Poisson rate."""

    kind = "count"
    headline = "spearman"
    scales_target = False

    def check_targets(self, targets):
        return (targets >= 0) & (targets == np.rint(targets)), "a whole number of at least 0"

    def _loss(self, logits, target, weights):
        return F.poisson_nll_loss(logits[:, 0], target.to(logits))

    def _predict(self, logits, calibration):
        return PredictionArrays(value=to_array(logits[:, 0].exp()))


@pytest.fixture
def data(monkeypatch, tmp_path):
    monkeypatch.setitem(TASKS._entries, "count", CountTask)
    cohort = write_feature_cohort(tmp_path, num_patients=24, num_tiles=16, feature_dim=6)
    return read_bags(
        labels=cohort.labels,
        features=cohort.features,
        task="count",
        label_columns=["age"],
        batch_size=4,
    )


def test_labels_become_a_model_a_bundle_and_a_report(data, tmp_path):
    assert isinstance(data.task_record, CountTask)
    assert task_from_identity(data.task_record.identity()) == data.task_record
    seed_run(0)
    module = make_classifier(data, {"network": "mean", "learning_rate": 0.05})
    with quiet_lightning():
        trainer = Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        before = trainer.validate(module, datamodule=data, verbose=False)[0]
        trainer.fit(module, datamodule=data)
        after = trainer.validate(module, datamodule=data, verbose=False)[0]
    assert set(after) == {"val_loss", "val_mae", "val_r2", "val_spearman"}
    assert after["val_loss"] < before["val_loss"]

    module = module.eval()
    calibration = fit_calibration(module, data, calibrate=True)
    save_bundle(
        tmp_path / "model.slidenet",
        module,
        features_identity=data.cohort.features_identity,
        calibration=calibration,
    )
    bundle = load_bundle(tmp_path / "model.slidenet")
    assert bundle.task == data.task_record

    predictions = predict_split(bundle.module, data, "train", bundle.calibration)
    assert predictions.predicted.value.min() > 0
    path = tmp_path / "predictions.csv"
    write_predictions(path, predictions)
    read = average_by_patient(read_predictions(path, task="count"))
    assert read.task == data.task_record
    assert read.task.describe() == "a count task (column age)"
    summary = summarise(read, SummarySettings(num_bootstrap=20))
    assert summary.headline.value == read.compute_metrics()["spearman"]


def test_a_cohort_with_one_count_only_is_refused(data, tmp_path):
    rows = data.settings.labels.read_text().splitlines()
    table = tmp_path / "same.csv"
    table.write_text("\n".join([rows[0], *(r.rsplit(",", 1)[0] + ",40" for r in rows[1:])]) + "\n")
    with pytest.raises(LabelError, match=r"column 'age' holds one value only \(40\)"):
        read_bags(
            labels=table, features=data.settings.features, task="count", label_columns=["age"]
        )
