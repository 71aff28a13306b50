"""A rare label of several, and survival without a pair to compare: what a split can do without."""

from types import SimpleNamespace

import numpy as np
import pytest

from slidenet.core.errors import SplitError
from slidenet.data import make_folds, make_split, make_task, read_label_table
from slidenet.pipelines.fitting.checks import check_monitor
from slidenet.tasks import BinaryTask, CoxTask, MultiTask


@pytest.fixture
def table_of(tmp_path):
    def write(rare):
        rows = [f"s{i},p{i},{i % 2},{int(i in rare)}\n" for i in range(20)]
        path = tmp_path / "labels.csv"
        path.write_text("slide_id,patient_id,usual,rare\n" + "".join(rows))
        return read_label_table(path)

    return write


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("val_fraction", [0, 0.2])
def test_a_rare_label_does_not_block_the_others(table_of, seed, val_fraction):
    table = table_of({3, 8})
    task = make_task(table, "multilabel", ["usual", "rare"])
    folds = make_folds(table, task, num_folds=5, seed=seed, val_fraction=val_fraction)
    tested = [slide for fold in folds for slide in fold.test]
    assert sorted(tested) == sorted(table.slide_ids)
    for fold in folds:
        assert {"s3", "s8"} & set(fold.train), "one to learn from in every fold"
        assert {int(s[1:]) % 2 for s in fold.test} == {0, 1}
    split = make_split(table, task, seed=seed)
    assert {"s3", "s8"} & set(split.train)


def test_a_label_of_one_patient_cannot_be_learned_and_tested(table_of):
    table = table_of({3})
    task = make_task(table, "multilabel", ["usual", "rare"])
    with pytest.raises(SplitError, match=r"label rare has 1 patient; expected at least two"):
        make_folds(table, task, num_folds=5)


def test_times_that_can_be_compared():
    task = CoxTask(("t", "e"))
    for good in ([[1, 1], [2, 0]], [[2, 1], [2, 0]]):
        assert task.can_compare(np.array(good, np.float32))
    for bad in ([[2, 1], [1, 0]], [[2, 1], [2, 1]], [[2, 1]], [[1, 0], [2, 0]]):
        assert not task.can_compare(np.array(bad, np.float32))


def data_of(task, targets):
    return SimpleNamespace(
        task_record=task,
        targets=lambda split: np.array(targets, np.float32),
        bags=lambda split: targets,
    )


def test_epochs_are_not_chosen_by_a_c_index_that_val_cannot_have():
    task = CoxTask(("t", "e"))
    check_monitor(data_of(task, [[1, 1], [2, 0]]), "val_c_index")
    check_monitor(data_of(task, [[2, 1], [1, 0]]), "val_loss")
    with pytest.raises(SplitError, match=r"val split of 2 bags has no event before the time of"):
        check_monitor(data_of(task, [[2, 1], [1, 0]]), "val_c_index")


def test_epochs_are_not_chosen_by_a_target_that_val_does_not_have():
    """All epochs would have NaN, and the first that may be kept would be the model."""
    binary, unknown = BinaryTask(("a",), ("0", "1")), float("nan")
    task = MultiTask((), targets={"a": binary, "b": BinaryTask(("b",), ("0", "1"))})
    whole = data_of(task, [[0, 0], [1, 1]])
    one_class, absent = (data_of(task, [[0, b], [1, unknown]]) for b in (1, unknown))
    for monitor in ("val_loss", "val_a_auroc", "val_b_auroc", "val_b_loss"):
        check_monitor(whole, monitor)
    for data, monitor in ((one_class, "val_b_auroc"), (absent, "val_b_auroc"),
                          (absent, "val_b_loss")):  # fmt: skip
        with pytest.raises(SplitError, match=f"labels on which {monitor} is not defined"):
            check_monitor(data, monitor)
    check_monitor(absent, "val_a_auroc")
