"""The note beside a file of predictions: roles of columns, and no file over another."""

import contextlib
import json
import os
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from slidenet.core.errors import ConfigError, LabelError, OutputError, PredictionsError
from slidenet.data.labels.table import read_label_table
from slidenet.data.labels.task import make_task
from slidenet.evaluation import (
    Origin,
    PredictionColumns,
    check_origin,
    join_predictions,
    read_predictions,
    sidecar_path,
    write_predictions,
)
from slidenet.tasks import TASKS
from slidenet.tasks.predictions import taken_column

NAMES = ("risk", "fold", "site", "predicted", "prediction", "called", "survival_12", "bag_id",
         "prob_1", "patient_id", "label", "Y", "time", "event", "p_0", "case_id", "slide_id", "mpp",
         "y_pred", "status", "days", "prob_", "a,b", 'quo"te', "é", "value", "target", "=1+1", "@x",
         "-x", "+x", "'x", "|", "<b>", "$x$")  # fmt: skip
KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "cox", "discrete_time")


def renamed(predictions, name):
    """The same with another first label column."""
    task = predictions.task
    columns = (name, *task.label_columns[1:])
    classes = () if task.kind == "multilabel" else task.class_names
    return replace(predictions, task=TASKS[task.kind](columns, classes, task.time_edges))


def taken(task):
    return taken_column(task.label_columns, task.output)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize(
    ("kind", "note", "names"),
    [
        ("binary", True, NAMES[:7]),
        ("multilabel", False, NAMES[:7]),
        ("cox", False, NAMES[:7]),
        *(pytest.param(*case, NAMES, marks=pytest.mark.slow)
          for case in product(KINDS, (True, False))),
    ],
)  # fmt: skip
def test_whatever_a_label_is_called_the_file_reads_back_or_the_table_is_refused(
    kind, note, names, simulate, tmp_path
):
    usual = simulate(kind, 8, folds=2)
    read = 0
    for name in names:
        if name in usual.task.label_columns[1:]:
            continue
        predictions = renamed(usual, name)
        if taken(predictions.task) is not None:
            continue
        path = tmp_path / f"{read}.csv"
        write_predictions(path, predictions)
        if not note:
            sidecar_path(path).unlink()
        told = None if note or kind not in ("ordinal", "discrete_time") else kind
        found = read_predictions(path, task=told)
        assert found.task == predictions.task, name
        np.testing.assert_array_equal(
            predictions.targets, found.targets.astype(predictions.targets.dtype)
        )
        read += 1
    assert read >= len(names) // 3


@pytest.mark.parametrize(
    "kind",
    ["binary", "cox", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:5])],
)
def test_a_name_that_the_file_needs_itself_is_refused_from_the_table(kind, simulate, tmp_path):
    """Exactly those names are refused that could not be written."""
    usual = simulate(kind, 4, folds=2)
    columns = usual.task.label_columns[1:]
    cells = {"regression": "12", "cox": "12", "discrete_time": "12"}
    for name in ("risk", "fold", "predicted", "called", "bag_id", "prob_1", "site"):
        values = [cells.get(kind, "01"), *("01" for _ in columns)]
        rows = [f"s{i},{','.join(v[i] for v in values)}" for i in range(2)]
        path = tmp_path / "labels.csv"
        path.write_text(f"slide_id,{','.join((name, *columns))}\n" + "\n".join(rows) + "\n")
        refused = taken(renamed(usual, name).task) == name
        names = ("0", "1") if usual.task.exclusive_classes else None
        edges = (1.0, 2.0) if kind == "discrete_time" else None
        with contextlib.ExitStack() as stack:
            if refused:
                words = f"rename it, to 'true_{name}' say"
                stack.enter_context(pytest.raises(LabelError, match=words))
            make_task(read_label_table(path), kind, (name, *columns), names, edges)
        if not refused:
            write_predictions(tmp_path / f"{name}.csv", renamed(usual, name))


def test_a_note_says_what_made_the_file(simulate, tmp_path):
    origin = Origin("predict", "abc", ("m1",), "d", threshold=0.25)
    write_predictions(tmp_path / "p.csv", simulate("binary", 6), origin=origin)
    note = json.loads((tmp_path / "p.json").read_text())
    assert note["origin"] == {
        "verb": "predict", "run": "abc", "models": ["m1"], "data": "d", "fold": None,
        "threshold": 0.25,
    }  # fmt: skip
    assert note["columns"]["labels"] == ["status"]
    assert note["task"]["class_names"] == ["no", "yes"]


ONE = Origin("predict", models=("m1",))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Origin("predict", models=("m2",)), "model: m1 -> m2"),
        (Origin("crossval", "r"), "verb: 'predict' -> 'crossval'"),
        (replace(ONE, split="test"), "split: '' -> 'test'"),
        (replace(ONE, fold=1), "fold: None -> 1"),
    ],
)
def test_a_file_of_something_else_is_not_overwritten(other, words, simulate, tmp_path):
    path, predictions = tmp_path / "p.csv", simulate("binary", 6)
    write_predictions(path, predictions, origin=ONE)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=words) as error:
        check_origin(path, other)
    assert "choose another --out, or move the file away" in str(error.value)
    with pytest.raises(OutputError, match=words):
        write_predictions(path, simulate("binary", 6, seed=1), origin=other)
    assert path.read_bytes() == before


def test_the_same_model_rewrites_its_file_and_loses_no_bag(simulate, tmp_path):
    path, whole = tmp_path / "p.csv", simulate("binary", 8)
    write_predictions(path, whole.take(np.arange(4)), origin=ONE)
    write_predictions(path, whole, origin=replace(ONE, data="other"))
    assert len(read_predictions(path)) == 8
    with pytest.raises(OutputError, match=r"bags that are not predicted here \(bag5, bag6, bag7\)"):
        write_predictions(path, whole.take(np.arange(5)), origin=ONE)
    asked = whole.bag_ids  # three of which failed this time
    write_predictions(path, whole.take(np.arange(5)), origin=ONE, asked=asked)
    assert len(read_predictions(path)) == 5


def test_files_of_nobody_and_changed_ones_are_kept(simulate, tmp_path):
    path, predictions = tmp_path / "p.csv", simulate("binary", 6)
    path.write_text("mine\n")
    with pytest.raises(OutputError, match="nothing says what made it"):
        write_predictions(path, predictions, origin=ONE)
    write_predictions(path, predictions, origin=ONE, of_run=True)
    with path.open("a") as file:
        file.write("bag9,p9,no,0.5,0.5\n")
    with pytest.raises(OutputError, match="was changed since slidenet wrote it"):
        write_predictions(path, predictions, origin=ONE)
    (tmp_path / "q.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=r"q\.json is there and no note"):
        write_predictions(tmp_path / "q.csv", predictions, origin=ONE)


def test_a_kill_between_note_and_file_is_no_obstacle(simulate, tmp_path):
    path, predictions = tmp_path / "p.csv", simulate("binary", 6)
    write_predictions(path, predictions, origin=ONE)
    old = path.read_bytes()
    again = simulate("binary", 6, seed=1)
    write_predictions(path, again, origin=ONE)
    new = path.read_bytes()
    path.write_bytes(old)  # the note is new, the file is not
    os.utime(path, ns=(0, 0))
    check_origin(path, ONE, again.bag_ids)
    write_predictions(path, again, origin=ONE)
    assert path.read_bytes() == new


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 9}, "is of version 9"),
        ({"columns": {"bag": ["x"]}}, "is damaged"),
        ({"columns": 5}, "is damaged"),
        ({"task": {"kind": "binary"}}, "is damaged"),
        ({"task": {"kind": "nothing", "label_columns": [], "class_names": [], "time_edges": []}},
         "is damaged"),
        ({"origin": {"verb": 1}}, "is damaged"),
        ({"sha256": None}, "is damaged"),
    ],
)  # fmt: skip
def test_a_damaged_note_is_one_line(change, words, simulate, tmp_path):
    path = tmp_path / "p.csv"
    write_predictions(path, simulate("binary", 6))
    place = sidecar_path(path)
    place.write_text(json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(PredictionsError, match=words) as error:
        read_predictions(path)
    assert "delete the note" in str(error.value)


def test_a_note_about_other_columns_does_not_count(simulate, tmp_path):
    path = tmp_path / "p.csv"
    write_predictions(path, simulate("binary", 6))
    path.write_text("slide_id,label,p_0,p_1\na,0,.8,.2\nb,1,.3,.7\n")
    assert read_predictions(path).bag_ids == ("a", "b")


def test_what_the_user_says_goes_before_the_note(simulate, tmp_path):
    path = tmp_path / "p.csv"
    write_predictions(path, simulate("multiclass", 9))
    assert read_predictions(path).task.kind == "multiclass"
    assert read_predictions(path, task="ordinal").task.kind == "ordinal"
    columns = PredictionColumns(patient_column="bag_id")
    assert read_predictions(path, columns=columns).patient_ids[0] == "bag0"


def test_folds_are_joined_as_they_were_written(simulate, tmp_path):
    whole = renamed(simulate("cox", 12, folds=2), "days")
    parts = []
    for fold in (0, 1):
        parts.append(tmp_path / f"fold_{fold}.csv")
        write_predictions(parts[-1], whole.take(whole.folds == fold))
    found = join_predictions(tmp_path / "p.csv", parts, task=whole.task, origin=Origin("crossval"))
    assert len(found) == 12
    assert read_predictions(tmp_path / "p.csv").task == whole.task
    lines = [part.read_text().splitlines(keepends=True) for part in parts]
    wanted = "".join([*lines[0], *lines[1][1:]])
    assert (tmp_path / "p.csv").read_text() == wanted


def test_labels_of_any_task_that_cannot_be_made_are_settings():
    with pytest.raises(ConfigError):
        TASKS["cox"](("risk",))
