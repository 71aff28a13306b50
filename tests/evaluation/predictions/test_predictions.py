from dataclasses import replace

import numpy as np
import pytest

from slidenet.core.errors import PredictionsError
from slidenet.evaluation import (
    PredictionColumns,
    Predictions,
    align,
    read_predictions,
    write_predictions,
)
from slidenet.tasks import BinaryTask, PredictionArrays, RegressionTask

KINDS = ("binary", "multiclass", "ordinal", "multilabel", "regression", "cox", "discrete_time")
TOLD = {"ordinal": "ordinal", "discrete_time": "discrete_time"}


def same(first, second):
    assert first.task == second.task
    assert first.bag_ids == second.bag_ids
    assert first.patient_ids == second.patient_ids
    np.testing.assert_array_equal(first.targets, second.targets.astype(first.targets.dtype))
    for name in ("probabilities", "value", "risk", "survival"):
        a, b = getattr(first.predicted, name), getattr(second.predicted, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b.astype(a.dtype))
    assert first.predicted.survival_times == second.predicted.survival_times
    if first.folds is None:
        assert second.folds is None
    else:
        np.testing.assert_array_equal(first.folds, second.folds)


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_reads_back_bit_for_bit(kind, folds, simulate, tmp_path):
    predictions = simulate(kind, 40, folds=folds, bags_per_patient=2)
    write_predictions(tmp_path / "a.csv", predictions)
    read = read_predictions(tmp_path / "a.csv", task=TOLD.get(kind))
    same(predictions, read)
    write_predictions(tmp_path / "b.csv", read)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_the_file_is_plain_text(tmp_path):
    predictions = Predictions(
        BinaryTask(("status",), ("no", "yes")),
        ("s1", "s2"),
        ("p1", None),
        np.array([1, 0]),
        PredictionArrays(np.array([[0.1, 0.9], [1 - 1e-7, 1e-7]], dtype=np.float32)),
        np.array([0, 1]),
    )
    write_predictions(tmp_path / "p.csv", predictions)
    assert (tmp_path / "p.csv").read_text() == (
        "bag_id,patient_id,fold,status,prob_no,prob_yes\n"
        "s1,p1,0,yes,0.1,0.9\n"
        "s2,,1,no,0.9999999,1e-07\n"
    )


def test_predictions_as_a_table_of_pandas(simulate):
    frame = simulate("cox", 6, folds=2).to_pandas()
    assert list(frame.columns[:5]) == ["bag_id", "patient_id", "fold", "time", "event"]
    assert frame.columns[5] == "risk"
    assert all(name.startswith("survival_") for name in frame.columns[6:])
    assert len(frame) == 6
    assert set(simulate("binary", 6).to_pandas()["status"]) <= {"no", "yes"}


def test_groups_of_bags_are_put_together(simulate):
    whole = simulate("multilabel", 9, folds=3)
    parts = [whole.take(np.arange(3)), whole.take(np.arange(3, 9))]
    same(Predictions.concatenate(parts), whole)
    with pytest.raises(PredictionsError, match="has 2 predictions"):
        Predictions.concatenate([parts[0], parts[0]])


def test_two_columns_of_one_name_are_refused(tmp_path):
    task = RegressionTask(("predicted",))
    arrays = PredictionArrays(value=np.arange(2.0))
    predictions = Predictions(task, ("a", "b"), (None, None), np.arange(2.0), arrays)
    with pytest.raises(PredictionsError, match="two columns of the predictions are named 'pred"):
        write_predictions(tmp_path / "p.csv", predictions)


def test_unlabelled_predictions_are_written_and_read(simulate, tmp_path):
    full = simulate("multiclass", 5)
    bare = Predictions(full.task, full.bag_ids, full.patient_ids, None, full.predicted)
    write_predictions(tmp_path / "p.csv", bare)
    read = read_predictions(tmp_path / "p.csv", labelled=False)
    assert read.targets is None
    np.testing.assert_array_equal(read.probabilities.astype(np.float32), bare.probabilities)
    with pytest.raises(PredictionsError, match=r"which column .* --label-columns"):
        read_predictions(tmp_path / "p.csv")


def test_patients_and_bags_are_counted():
    task, values = RegressionTask(("y",)), np.arange(4.0)
    predictions = Predictions(
        task, ("a", "b", "a", "c"), ("p", None, "p", None), values, PredictionArrays(value=values),
        np.array([0, 0, 1, 1]),
    )  # fmt: skip
    assert predictions.patients.tolist() == [0, 1, 0, 2]
    assert (predictions.num_bags, predictions.num_patients) == (3, 3)
    assert not predictions.one_row_per_patient


FOREIGN = [
    ("slide_id,Y,Y_hat,p_0,p_1\na,0.0,0,0.8,0.2\nb,1.0,1,0.3,0.7\n", {}, ("0", "1"), [0.2, 0.7]),
    ("slide_id,label,score_benign,score_tumour\na,benign,.8,.2\nb,tumour,.3,.7\n",
     {"probability_columns": "score_benign,score_tumour"}, ("benign", "tumour"), [0.2, 0.7]),
    ("case,truth,p\na,False,.2\nb,True,.7\n",
     {"bag_column": "case", "label_columns": "truth", "score_column": "p"},
     ("False", "True"), [0.2, 0.7]),
    ("slide_id,label,p\na,WT,.2\nb,MUT,.7\n",
     {"score_column": "p", "class_names": ["WT", "MUT"]}, ("WT", "MUT"), [0.2, 0.7]),
    ("slide_id,msi,prob_high\na,low,.2\nb,high,.7\n", {}, ("low", "high"), [0.2, 0.7]),
    # STAMP's patient-preds.csv.
    ("PATIENT,isMSIH,pred,isMSIH_nonMSIH,isMSIH_MSIH,loss\n"
     "a,nonMSIH,nonMSIH,.8,.2,.22\nb,MSIH,MSIH,.3,.7,.36\n", {}, ("nonMSIH", "MSIH"), [0.2, 0.7]),
    ("FILENAME,PATIENT,MSI,pred,MSI_0,MSI_1,loss\nx,a,0,0,.8,.2,.22\ny,b,1.0,1,.3,.7,.36\n", {},
     ("0", "1"), [0.2, 0.7]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "columns", "classes", "positive"), FOREIGN)
def test_tables_of_others_are_understood(text, columns, classes, positive, tmp_path):
    (tmp_path / "p.csv").write_text(text)
    task = "binary" if "score_column" in columns else None
    read = read_predictions(tmp_path / "p.csv", task=task, columns=PredictionColumns(**columns))
    assert read.task.kind == "binary"
    assert read.task.class_names == classes
    assert read.targets.tolist() == [0, 1]
    np.testing.assert_allclose(read.probabilities[:, 1], positive)


def test_survival_of_others_is_understood(tmp_path):
    (tmp_path / "p.csv").write_text(
        "slide_id,case_id,hazard,months,dead\na,x,0.5,3,1\nb,y,-1,9,0\n"
    )
    columns = PredictionColumns(label_columns="months,dead", score_column="hazard")
    read = read_predictions(tmp_path / "p.csv", task="cox", columns=columns)
    assert read.targets.tolist() == [[3, 1], [9, 0]]
    assert read.risk.tolist() == [0.5, -1]
    assert read.patient_ids == ("x", "y")


def test_values_of_stamp_are_understood(tmp_path):
    (tmp_path / "p.csv").write_text("PATIENT,HRD,pred,loss\na,1.5,1.2,\nb,3,2.5,\n")
    read = read_predictions(tmp_path / "p.csv")
    assert read.task == RegressionTask(("HRD",))
    assert read.labels.tolist() == [1.5, 3]
    assert read.predicted.value.tolist() == [1.2, 2.5]
    assert read.bag_ids == read.patient_ids == ("a", "b")


def test_missing_labels_are_written_as_in_tables_of_labels(tmp_path):
    (tmp_path / "p.csv").write_text(
        "bag_id,a,b,prob_a,prob_b\nx,1,n/a,.5,.9\ny,no,1,.5,.9\nz,null,0.0,.5,.9\n"
    )
    read = read_predictions(tmp_path / "p.csv")
    nan = float("nan")
    np.testing.assert_array_equal(read.targets, [[1, nan], [0, 1], [nan, 0]])


HEAD = "bag_id,patient_id,status,prob_no,prob_yes\n"
BAD = [
    (HEAD + "a,p,no,0.5,0.5\nb,q,yes,0.5,nan\n", "row 3, column 'prob_yes' is 'nan'; expected a"),
    (HEAD + "a,p,no,0.5,0.5\nb,q,yes,0.5,x\n", "row 3, column 'prob_yes' is 'x'; expected a"),
    (HEAD + "a,p,no,-0.5,1.5\n", "row 2, column 'prob_no' is '-0.5'; expected a probability"),
    (HEAD + "a,p,no,0.5,0.7\n", "row 2, columns 'prob_no', 'prob_yes' add up to 1.2"),
    (HEAD + "a,p,maybe,0.5,0.5\n", "row 2, column 'status' is 'maybe'; expected one of"),
    (HEAD + "a,p,,0.5,0.5\n", "row 2, column 'status' is ''; expected one of the classes no, yes"),
    (HEAD + "a,p,no,0.5,0.5\nb,q,no,0.1,0.9\n", "column 'status' holds the class 'no' only"),
    (HEAD + "a,p,no,0.5,0.5\na,q,yes,0.1,0.9\n", "row 3, column 'bag_id' is 'a', as in row 2"),
    (HEAD + "a,p,no,0.5\n", "row 2 has 4 cells"),
    (HEAD, "has a header and no rows"),
    (HEAD + "a,p,no,0.5,0.5\nb,p,yes,0.5,0.5\n", "all bags are of the patient 'p'"),
    (HEAD.replace(",", ";") + "a;p;no;0.5;0.5\n", "look separated by semicolons"),
    ("", "is empty"),
    ("bag_id,status\na,no\n", "which column of .* holds predictions cannot be told"),
    ("name,prob_no,prob_yes\na,.5,.5\n", "which column of .* names the bags"),
    ("bag_id,a,b,prob_no,prob_yes\nx,1,2,.5,.5\n", "holds the labels cannot be told"),
    ("bag_id,label,p\na,x,.5\nb,y,.5\n", "which column of .* holds predictions"),
    ("bag_id,time,event,risk\na,0,1,.5\nb,2,1,.5\n", "row 2, column 'time' is '0'; expected a pos"),
    ("bag_id,time,event,risk\na,1,2,.5\nb,2,1,.5\n", "row 2, column 'event' is '2'; expected 0"),
    ("bag_id,time,event,risk\na,1,0,.5\nb,2,0,.5\n", "column 'event' holds no event"),
    ("bag_id,y,predicted\na,1,inf\n", "row 2, column 'predicted' is 'inf'"),
    ("bag_id,a,b,prob_a,prob_b\nx,1,,.5,.9\ny,0,1,.5,.9\n", "column 'b' holds 1 only"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_tables_are_refused_by_file_row_and_column(text, message, tmp_path):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(PredictionsError, match=message) as error:
        read_predictions(tmp_path / "p.csv")
    assert "p.csv" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_missing_column_are_named(tmp_path):
    with pytest.raises(PredictionsError, match=r"none\.csv cannot be read"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "p.csv").write_text(HEAD + "a,p,no,0.5,0.5\nb,q,yes,0.5,0.5\n")
    with pytest.raises(PredictionsError, match=r"has no column 'grade'; expected one of 'bag_id'"):
        read_predictions(tmp_path / "p.csv", columns=PredictionColumns(label_columns="grade"))
    columns = PredictionColumns(score_column="prob_yes", class_names="a,b,c")
    with pytest.raises(PredictionsError, match="--class-names holds 3 names"):
        read_predictions(tmp_path / "p.csv", task="binary", columns=columns)


def test_the_record_refuses_wrong_arrays():
    task = BinaryTask(("status",), ("no", "yes"))

    def make(probabilities, targets=(0, 1), bags=("a", "b")):
        arrays = PredictionArrays(np.array(probabilities, dtype=float))
        return Predictions(task, bags, (None, None), np.array(targets), arrays)

    with pytest.raises(PredictionsError, match=r"probabilities of 2 bags: shape \(2, 3\)"):
        make([[0, 0, 1], [0, 1, 0]])
    with pytest.raises(PredictionsError, match=r"bag 'b': probabilities is nan"):
        make([[0.5, 0.5], [0.5, np.nan]])
    with pytest.raises(PredictionsError, match=r"bag 'a': its probabilities add up to 1.5"):
        make([[0.5, 1], [0.5, 0.5]])
    with pytest.raises(PredictionsError, match=r"bag 'b': its target is 2"):
        make([[0.5, 0.5], [0.5, 0.5]], targets=(0, 2))
    with pytest.raises(PredictionsError, match=r"bag 'a' has 2 predictions"):
        make([[0.5, 0.5], [0.5, 0.5]], bags=("a", "a"))


def test_models_of_another_positive_class_can_be_compared(simulate):
    first = simulate("binary", 10)
    turned = replace(
        first,
        task=replace(first.task, class_names=first.task.class_names[::-1]),
        targets=1 - first.labels,
        predicted=PredictionArrays(first.probabilities[:, ::-1]),
    )
    aligned = align(first, turned)
    assert aligned.task == first.task
    assert np.array_equal(aligned.labels, first.labels)
    assert np.array_equal(aligned.probabilities, first.probabilities)


def test_align_puts_the_second_model_in_the_order_of_the_first(simulate):
    first = simulate("binary", 10)
    shuffled = simulate("binary", 10, signal=2.0).take(np.arange(10)[::-1])
    aligned = align(first, shuffled)
    assert aligned.bag_ids == first.bag_ids
    np.testing.assert_array_equal(aligned.probabilities, shuffled.probabilities[::-1])
    with pytest.raises(PredictionsError, match="1 bags are predicted by one of the two models"):
        align(first, shuffled.take(np.arange(9)))
    told = (
        r"a binary task \(column .*; classes .*\) and a cox task \(columns .*, .*\); expected the"
    )
    with pytest.raises(PredictionsError, match=told):
        align(first, simulate("cox", 10))
    flipped = Predictions(
        first.task, first.bag_ids, first.patient_ids, 1 - first.targets, first.predicted
    )
    with pytest.raises(PredictionsError, match="has the label"):
        align(first, flipped)


def test_an_index_of_pandas_is_no_fault_and_no_id(tmp_path):
    path = tmp_path / "fold_0.csv"
    path.write_text(",slide_id,Y,Y_hat,p_0,p_1\n0,s9,0,0,0.8,0.2\n1,s4,1,1,0.1,0.9\n")
    found = read_predictions(path)
    assert found.bag_ids == ("s9", "s4")
    assert found.labels.tolist() == [0, 1]
    path.write_text("slide_id,,Y,p_0,p_1\ns9,0,0,0.8,0.2\n")
    with pytest.raises(PredictionsError, match="column 2 has no name"):
        read_predictions(path)


def test_folds_of_one_patient_each_are_known(simulate):
    found = simulate("binary", 8, bags_per_patient=2)
    assert not found.one_patient_per_fold
    assert replace(found, folds=found.patients).one_patient_per_fold
    assert not replace(found, folds=found.patients // 2).one_patient_per_fold
    assert not replace(found, folds=np.zeros(8, np.int64)).one_patient_per_fold
