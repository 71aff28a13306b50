"""Ensembles end to end: of a folder or of files, applied, what they say and refuse."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from slidenet.cli.main import main
from slidenet.core.errors import ConfigError, StoreError
from slidenet.data.datamodule import read_bags
from slidenet.data.settings import DataSettings
from slidenet.evaluation import Predictions, read_predictions, write_predictions
from slidenet.pipelines.applying.ensembles import conformal_of, make_ensemble
from slidenet.pipelines.crossval import crossval
from slidenet.pipelines.fitting.bundles import training_statistics
from slidenet.tasks import Calibration
from slidenet.testing import write_feature_cohort
from slidenet.testing.cohorts.edited import edited
from slidenet.training import SlideClassifier, load_bundle, save_bundle


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A cohort, and the folder of a cross-validation of two untrained folds."""
    root = tmp_path_factory.mktemp("ensemble")
    cohort = write_feature_cohort(root / "cohort", num_patients=20, num_tiles=4, feature_dim=6)
    data = read_bags(DataSettings(labels=cohort.labels, features=cohort.features))
    bags, patients = data.bags(), data.label_table
    statistics = training_statistics(data)
    parts = []
    for fold in range(2):
        torch.manual_seed(fold)
        folder = root / "cv" / f"fold_{fold:02d}"
        folder.mkdir(parents=True)
        module = SlideClassifier(data.task_record, 6, "mean").eval()
        save_bundle(
            folder / "model.slidenet",
            module,
            features_identity=data.cohort.features_identity,
            calibration=Calibration(threshold=0.3 + 0.2 * fold),
            training={"bag": "slide", "score": 0.5},
            statistics=statistics,
        )
        (folder / "fold.json").write_text("{}")
        ids = [b.bag_id for b in bags if int(patients.patient_of(b.bag_id)[-3:]) % 2 == fold]
        rows = np.array([[b.bag_id for b in bags].index(i) for i in ids])
        rng = np.random.default_rng(fold)
        score = np.clip(0.5 * data.targets()[rows] + rng.uniform(0, 0.5, len(rows)), 0, 1)
        parts.append(
            Predictions(
                data.task_record,
                tuple(ids),
                tuple(patients.patient_of(i) for i in ids),
                data.targets()[rows],
                module.task.predict(torch.logit(torch.tensor(score), 1e-6)[:, None]),
                np.full(len(rows), fold),
            )
        )
    write_predictions(root / "cv" / "predictions.csv", Predictions.concatenate(parts))
    identity = {"folds": [[], []], "threshold_rule": "youden"}
    (root / "cv" / "crossval.json").write_text(json.dumps(identity))
    return root, cohort, data


def rows_of(path):
    with path.open(newline="") as file:
        return {row["bag_id"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_a_cross_validation_becomes_one_model_that_says_more(world, tmp_path, capsys):
    root, cohort, data = world
    out = tmp_path / "e.slidenet"
    assert main(["ensemble", "--bundles", str(root / "cv"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "e.slidenet is the mean of 2 models (mean)" in said
    pooled = read_predictions(root / "cv" / "predictions.csv")
    model = load_bundle(out)
    assert f"from {model.calibration.threshold:.3f} on: the cut-off of {len(pooled)} out-of" in said
    rows = model.out_of_fold[""]
    np.testing.assert_allclose(rows.predicted.numpy(), pooled.probabilities, atol=1e-7)
    np.testing.assert_array_equal(rows.member.numpy(), pooled.folds)
    assert conformal_of(model)[""].num_patients == 20

    flags = [f"--bundle={out}", f"--slides={cohort.labels}", f"--features={cohort.features}"]
    assert main(["predict", *flags, f"--out={tmp_path / 'p'}", "--alpha=0.3"]) == 0
    said = capsys.readouterr().out
    assert "the models disagree most on" in said
    assert "prediction sets with alpha 0.3" in said
    found = rows_of(tmp_path / "p" / "predictions.csv")
    members = [load_bundle(path) for path in sorted(root.glob("cv/*/model.slidenet"))]
    for batch in data.whole_dataloader(None):
        each = [member.predict(batch).probabilities[:, 1] for member in members]
        for position, bag_id in enumerate(batch.bag_ids):
            mean, spread = np.mean(each, axis=0)[position], np.std(each, axis=0)[position]
            assert float(found[bag_id]["prob_1"]) == pytest.approx(mean, abs=1e-6)
            assert float(found[bag_id]["disagreement"]) == pytest.approx(spread, abs=1e-5)
            assert {found[bag_id]["in_set_0"], found[bag_id]["in_set_1"]} <= {"0", "1"}
            assert 0 <= float(found[bag_id]["distance_percentile"]) < 100
    again = read_predictions(tmp_path / "p" / "predictions.csv", labelled=False)
    assert again.task.class_names == data.task_record.class_names
    (tmp_path / "p" / "predictions.json").unlink()  # which says the same
    alone = read_predictions(tmp_path / "p" / "predictions.csv", labelled=False)
    np.testing.assert_array_equal(alone.probabilities, again.probabilities)


@pytest.mark.slow
def test_slides_of_another_kind_are_named(world, tmp_path, capsys):
    root, cohort, _ = world
    features = tmp_path / "features"
    shutil.copytree(cohort.features, features)
    for path in sorted(features.glob("*.h5"))[:4]:
        with edited(path) as file:
            file["features"][...] = file["features"][...] + 8.0
    flags = [f"--slides={cohort.labels}", f"--features={features}", f"--out={tmp_path}"]
    bundle = root / "cv" / "fold_00" / "model.slidenet"
    assert main(["predict", f"--bundle={bundle}", *flags]) == 0
    said = capsys.readouterr().out
    assert re.search(r"of 26 lie farther from the training cohort than .* does", said)
    assert ": slide_000, slide_001, slide_002, slide_003" in said
    assert "another stain" in said
    assert "the models disagree" not in said
    percentiles = [
        float(r["distance_percentile"]) for r in rows_of(tmp_path / "predictions.csv").values()
    ]
    assert min(percentiles[:4]) == max(percentiles)  # beyond all of the few training slides
    assert np.median(percentiles[4:]) < 90


@pytest.mark.slow
def test_single_bundles_share_the_mean_of_their_cut_offs(world, tmp_path):
    root, _, _ = world
    folds = [root / "cv" / "fold_00" / "model.slidenet", root / "cv" / "fold_01"]
    made, section = make_ensemble(folds, tmp_path / "e")
    assert made.calibration.threshold == pytest.approx(0.4)
    assert "the mean of the members' cut-offs" in section.lines[1]
    assert "no prediction sets" in section.lines[2]
    assert not load_bundle(tmp_path / "e").out_of_fold
    half, _ = make_ensemble(folds, tmp_path / "e", threshold_rule="half")
    assert half.calibration.threshold == 0.5


def test_what_cannot_be_one_is_refused(world, tmp_path, capsys):
    root, _, _ = world
    fold = root / "cv" / "fold_00"
    (tmp_path / "unfinished").mkdir()
    shutil.copytree(root / "cv", tmp_path / "cv")
    (tmp_path / "cv" / "fold_01" / "fold.json").unlink()
    make_ensemble([root / "cv"], tmp_path / "e")
    for sources, error, message in (
        ([fold, fold / "model.slidenet"], ConfigError, "is given twice"),
        ([fold], ConfigError, "an ensemble of 1 model"),
        ([tmp_path / "gone"], StoreError, "there is nothing at"),
        ([tmp_path / "unfinished"], StoreError, r"holds neither model\.slidenet nor"),
        ([tmp_path / "cv"], StoreError, r"is not finished \(fold_01 to come\)"),
        ([tmp_path / "e", fold], ConfigError, "is an ensemble already"),
    ):
        with pytest.raises(error, match=message):
            make_ensemble(sources, tmp_path / "out")
    with pytest.raises(ConfigError, match="--threshold-rule youden for single bundles"):
        make_ensemble([fold, root / "cv" / "fold_01"], tmp_path / "out", threshold_rule="youden")
    bundle = str(fold / "model.slidenet")
    assert main(["ensemble", "--bundles", bundle, str(fold), "--out", bundle]) == 2
    assert "is one of the bundles" in capsys.readouterr().err
    cohort = root / "cohort"
    flags = [f"--slides={cohort / 'labels.csv'}", f"--features={cohort / 'features'}"]
    assert main(["predict", f"--bundle={bundle}", *flags, f"--out={tmp_path}", "--alpha=1"]) == 2
    assert "--alpha is 1" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_better_than_its_members_on_new_patients(tmp_path):
    cohort = write_feature_cohort(
        tmp_path,
        num_patients=160,
        slides_per_patient=(1,),
        num_tiles=16,
        feature_dim=64,
        signal=2.0,
    )
    rows = cohort.labels.read_text().splitlines(keepends=True)
    tables = {"train": rows[:41], "others": [rows[0], *rows[41:]]}
    for name, part in tables.items():
        (tmp_path / f"{name}.csv").write_text("".join(part))
    crossval(
        tmp_path / "cv",
        labels=tmp_path / "train.csv",
        features=cohort.features,
        positive="1",
        network="mean",
        max_epochs=15,
        accelerator="cpu",
        probes=False,
        cache=True,
    )
    others = DataSettings(labels=tmp_path / "others.csv", features=cohort.features, positive="1")
    data = read_bags(others, unsplit=True)
    truth, batches = data.targets(), list(data.whole_dataloader(None))
    order = {bag: i for i, bag in enumerate(b for batch in batches for b in batch.bag_ids)}
    rows = [order[bag.bag_id] for bag in data.bags()]

    def scores(path):
        model = load_bundle(path)
        found = [model.predict(batch).probabilities[:, 1] for batch in batches]
        return np.concatenate(found)[rows]

    together = scores(tmp_path / "cv" / "ensemble.slidenet")
    alone = [scores(path) for path in sorted(tmp_path.glob("cv/fold_*/model.slidenet"))]
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(300):
        drawn = rng.integers(len(truth), size=len(truth))
        each = [roc_auc_score(truth[drawn], score[drawn]) for score in alone]
        gains.append(roc_auc_score(truth[drawn], together[drawn]) - np.mean(each))
    assert np.quantile(gains, 0.025) > 0
