"""Several targets of a table: read, encoded where they are known, weighed, split and refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slidenet.core.errors import ConfigError, LabelError, SplitError, UnknownNameError
from slidenet.data import make_folds, read_label_table
from slidenet.data.labels.balance import balanced_weights, check_split_classes, target_weights
from slidenet.data.labels.encoding import encode_bag_targets, encode_targets
from slidenet.data.labels.targets import make_targets, read_targets, refuse_unlabelled
from slidenet.data.settings import DataSettings
from slidenet.tasks import MultiTask, RegressionTask

TARGETS = {
    "msi": {"task": "binary", "positive": "high"},
    "grade": "multiclass",
    "age": "regression",
    "os": {"task": "cox", "label_columns": ["months", "died"], "weight": 2},
}


def write(path: Path, rows) -> Path:
    header = "slide_id,patient_id,msi,grade,age,months,died"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def table(tmp_path):
    """40 slides of 20 patients; each target is missing of some."""
    rows = []
    for i in range(40):
        patient = i // 2
        msi = ("low", "high", "", "NA")[patient % 4] if patient > 1 else "high"
        grade = "" if patient % 5 == 4 else str(patient % 3)
        age = "" if patient % 3 == 0 else str(40 + patient)
        months, died = ("", "") if patient % 2 else (str(patient + 1), str(int(patient % 4 == 0)))
        rows.append(f"s{i:02d},p{patient:02d},{msi},{grade},{age},{months},{died}")
    return read_label_table(write(tmp_path / "labels.csv", rows))


@pytest.fixture
def task(table):
    return make_targets(table, read_targets(TARGETS))


def test_a_target_is_its_kind_alone_or_its_settings(task):
    assert list(task.targets) == ["msi", "grade", "age", "os"]
    assert task.targets["msi"].class_names == ("low", "high")
    assert task.targets["grade"].class_names == ("0", "1", "2")
    assert task.targets["age"] == RegressionTask(("age",))
    assert task.label_columns == ("msi", "grade", "age", "months", "died")


def test_numbers_are_names_of_classes_too():
    found = read_targets({"msi": "binary", "grade": {"task": "ordinal", "class_names": [1, 2.5]}})
    assert found["grade"].class_names == ["1", "2.5"]


def test_targets_stand_side_by_side_and_are_missing_where_the_table_lacks_them(table, task):
    found = encode_targets(task, table, table.slide_ids)
    assert found.shape == (40, 5)
    assert found.dtype == np.float32
    for part in task.parts:
        known = part.known(found)
        alone = table.take(known)
        np.testing.assert_array_equal(
            part.own(found[known]), encode_targets(part.task, alone, alone.slide_ids)
        )
    assert np.isnan(found[[4, 6], 0]).all(), "NA and nothing"
    bags = [table.slide_ids[i : i + 2] for i in range(0, 40, 2)]
    np.testing.assert_array_equal(encode_bag_targets(task, table, bags), found[::2])


def test_a_slide_without_any_target_is_refused_by_name(table, task, tmp_path):
    refuse_unlabelled(table.take(np.arange(2)), task)
    path = write(tmp_path / "more.csv", ["a,p,high,1,50,3,1", "b,q,,NA,,,"])
    with pytest.raises(LabelError, match=r"\(b\).*1 slide of 2 without a label of any"):
        refuse_unlabelled(read_label_table(path), task)


def test_losses_are_on_one_scale_at_the_best_constant(table, task):
    targets = encode_targets(task, table, table.slide_ids)
    classes = balanced_weights(task, targets)
    assert classes.shape == (2 + 3,)
    weights = target_weights(task, targets, [1, 1, 1, 1])
    weighted = task.weighted(weights)
    logits = torch.zeros(len(targets), task.num_outputs)
    msi, grade = (part.own(targets[part.known(targets)]) for part in task.parts[:2])
    logits[:, 0] = float(np.log(msi.mean() / (1 - msi.mean())))
    logits[:, 1:4] = torch.tensor(np.log(np.bincount(grade) / len(grade)))
    logits[:, 4] = float(np.nanmean(targets[:, 2]))
    losses = weighted.target_losses(logits, torch.from_numpy(targets))
    for name in ("msi_loss", "grade_loss", "age_loss"):
        assert losses[name] == pytest.approx(1, rel=1e-4), name
    again = target_weights(task, targets, [1, 1, 1, 2])
    assert again[3] / again[0] == pytest.approx(2 * weights[3] / weights[0], rel=1e-4)


def test_folds_hold_the_classes_of_the_first_target_and_keep_the_others_in_proportion(table, task):
    folds = make_folds(table, task, num_folds=3, val_fraction=0.2)
    for fold in folds:
        patients = [{table.patient_of(s) for s in fold.slides(n)} for n in ("train", "val", "test")]
        assert not patients[0] & patients[2]
        assert not patients[1] & patients[2]
        first = encode_targets(task, table, fold.test)[:, 0]
        assert {0, 1} <= set(first[~np.isnan(first)])
    deaths = [int(np.nansum(encode_targets(task, table, fold.test)[:, 4])) for fold in folds]
    assert max(deaths) - min(deaths) <= 2


@pytest.mark.parametrize(
    ("targets", "error", "words"),
    [
        ({"msi": "binary"}, ConfigError, "at least two"),
        ({"msi": "binary", "x": {"tsk": "cox"}}, UnknownNameError, "did you mean task"),
        ({"msi": "binary", "x": {"task": "coxx"}}, ConfigError, r"target 'x': task is 'coxx'"),
        ({"msi": "binary", "x": 3}, ConfigError, "a kind of task, or its settings"),
        ({"msi": "binary", "x": {"weight": 0}}, ConfigError, "target 'x': weight is 0"),
        ({"msi": "binary", "x": {"label_columns": "age"}}, ConfigError, r"\[age\]"),
        ({"msi": "binary", "x": "discrete_time"}, ConfigError, "without time_edges"),
        ({"msi": "binary", "x": {"class_names": [False, "yes"]}}, ConfigError, "need quotes"),
        ({"msi": "binary", "x": {"positive": True}}, ConfigError, "positive is True"),
        ({"msi": "binary", "all": "binary"}, ConfigError, "names of splits"),
    ],
)
def test_settings_of_targets_that_do_not_fit_are_refused(targets, error, words):
    with pytest.raises(error, match=words):
        read_targets(targets)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "cox"}, "--data.task beside --data.targets"),
        ({"label_columns": ["msi"]}, "--data.label-columns beside"),
        ({"positive": "high"}, "give positive inside the target"),
        ({"sampling": "balanced"}, "class_weights 'balanced' instead"),
        ({"covariates": ["age"]}, "'age' is a label column"),
    ],
)
def test_settings_beside_targets_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        DataSettings(labels=Path("l.csv"), features=Path("f"), targets=TARGETS, **settings)


def test_what_is_wrong_with_the_labels_of_a_target_says_of_which(table):
    with pytest.raises(LabelError, match=r"target 'grade': .*3 classes"):
        make_targets(table, read_targets({"msi": "binary", "grade": "binary"}))
    with pytest.raises(LabelError, match=r"target 'kras': .*no column 'kras'"):
        make_targets(table, read_targets({"msi": "binary", "kras": "binary"}))


@pytest.mark.parametrize(
    ("values", "words"),
    [([5, 5, np.nan], "2 bags to train on: all are 5"), ([np.nan], "all are missing")],
)
def test_a_value_that_does_not_vary_in_training_is_refused(values, words):
    targets = {name: RegressionTask((name,)) for name in ("grade", "age")}
    task = MultiTask((), targets=targets)
    found = np.array([[i, value] for i, value in enumerate([*values, np.nan])], np.float32)
    with pytest.raises(SplitError, match=words):
        check_split_classes(task, found, "train")
    check_split_classes(task, found, "test")
