"""Labels of other centres in the model's words: matched and said, left out by name, or refused."""

import pytest

from slidenet.core.errors import ConfigError, LabelError
from slidenet.data import read_label_table
from slidenet.pipelines.applying.external import parse_class_map
from slidenet.pipelines.applying.truth import left_out_lines, match_truth
from slidenet.tasks import (
    BinaryTask,
    CoxTask,
    MulticlassTask,
    MultilabelTask,
    RegressionTask,
)

MSI = BinaryTask(("status",), ("nonMSIH", "MSIH"))
GRADE = MulticlassTask(("grade",), ("low", "mid", "high"))


def table(tmp_path, header, *cells):
    lines = [f"s{i},{row}" for i, row in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join([f"slide_id,{header}", *lines]) + "\n")
    return read_label_table(tmp_path / "t.csv")


def column(truth, name="status"):
    return truth.table.column(name)


@pytest.mark.parametrize(
    ("cells", "task", "wanted", "said"),
    [
        (["msih", "Non-MSIH", "MSIH"], MSI, ["MSIH", "nonMSIH", "MSIH"], "msih as MSIH"),
        (["yes", "0.0", "Positive"], BinaryTask(("status",), ("0", "1")), ["1", "0", "1"],
         "yes as 1"),
        (["MUT", "wt", "Mutant"], BinaryTask(("status",), ("wildtype", "mutated")),
         ["mutated", "wildtype", "mutated"], "MUT as mutated"),
        (["I-II", "iii-iv", "III", "-1"], BinaryTask(("status",), ("I-II", "III-IV")),
         ["I-II", "III-IV"], "iii-iv as III-IV"),
        (["-1", "1", "0"], BinaryTask(("status",), ("0", "1")), ["1", "0"], ""),
        (["2.0", "1", "2"], MulticlassTask(("status",), ("1", "2", "3")), ["2", "1", "2"],
         "No slide is of the class 3"),
    ],
)  # fmt: skip
def test_classes_are_matched_whatever_their_spelling(cells, task, wanted, said, tmp_path):
    truth = match_truth(table(tmp_path, "status", *cells), task)
    assert column(truth) == wanted
    assert said in " ".join(truth.notes)


def test_what_is_no_class_is_left_out_by_name_where_all_classes_are_there(tmp_path):
    cells = ["MSIH", "nonMSIH", "MSI-L", "unknown", "", "N/A"]
    truth = match_truth(table(tmp_path, "status", *cells), MSI)
    assert truth.table.slide_ids == ("s0", "s1")
    assert left_out_lines(truth.left_out) == [
        "Left out: 1 slide (label 'MSI-L', which is no class of the model): s2.",
        "Left out: 1 slide (label 'unknown', which is no class of the model): s3.",
        "Left out: 2 slides (no label): s4, s5.",
    ]


def test_a_class_is_not_lost_because_it_is_called_otherwise(tmp_path):
    """Leaving out every MSS would leave one class and say nothing."""
    labels = table(tmp_path, "status", "MSIH", "MSS", "MSS")
    with pytest.raises(LabelError, match="--class-map MSS=nonMSIH"):
        match_truth(labels, MSI)
    truth = match_truth(labels, MSI, class_map=parse_class_map(["MSS=nonMSIH"]))
    assert column(truth) == ["MSIH", "nonMSIH", "nonMSIH"]
    truth = match_truth(labels, MSI, class_map=parse_class_map(["MSS="]))
    assert column(truth) == ["MSIH"]
    assert "No slide is of the class nonMSIH" in " ".join(truth.notes)
    assert left_out_lines(truth.left_out) == [
        "Left out: 2 slides (label 'MSS', left out by --class-map): s1, s2."
    ]


def test_a_map_of_what_is_not_there_is_refused(tmp_path):
    labels = table(tmp_path, "status", "MSIH", "nonMSIH")
    for words in (["x=MSIH"], ["MSIH=x"]):
        with pytest.raises(ConfigError, match="one of the model"):
            match_truth(labels, MSI, class_map=parse_class_map(words))
    for words in (["x"], ["=x"], ["a=b", "a=c"]):
        with pytest.raises(ConfigError, match="THEIRS=OURS"):
            parse_class_map(words)
    assert parse_class_map(["a=b=c"]) == {"a=b": "c"}


def test_columns_are_found_by_name_or_named(tmp_path):
    truth = match_truth(table(tmp_path, "Status", "MSIH", "nonMSIH"), MSI)
    assert "Column 'Status' is taken for 'status'" in truth.notes[0]
    labels = table(tmp_path, "msi", "MSIH", "nonMSIH")
    with pytest.raises(LabelError, match="say which with --label-columns"):
        match_truth(labels, MSI)
    assert column(match_truth(labels, MSI, label_columns=["msi"])) == ["MSIH", "nonMSIH"]
    with pytest.raises(ConfigError, match="--label-columns names 2 columns"):
        match_truth(labels, MSI, label_columns=["msi", "slide_id"])


def test_labels_that_nobody_took_are_not_judged(tmp_path):
    task = MultilabelTask(("tp53", "kras", "braf"))
    truth = match_truth(table(tmp_path, "tp53,kras", "1,unknown", ",", "no,yes"), task)
    assert truth.table.slide_ids == ("s0", "s2")
    assert column(truth, "kras") == ["", "yes"]
    assert column(truth, "braf") == ["", ""]
    assert "no column 'braf': not judged" in truth.notes[0]
    with pytest.raises(LabelError, match="no column 'tp53'"):
        match_truth(table(tmp_path, "egfr", "1"), task)


def test_numbers_and_times_are_taken_where_they_are_known(tmp_path):
    truth = match_truth(table(tmp_path, "age", "61", "", "unknown"), RegressionTask(("age",)))
    assert truth.table.slide_ids == ("s0",)
    cox = CoxTask(("days", "dead"))
    truth = match_truth(table(tmp_path, "days,dead", "61,1:DECEASED", "5,", ",0"), cox)
    assert truth.table.slide_ids == ("s0",)
    with pytest.raises(ConfigError, match="expected a model of classes"):
        match_truth(truth.table, cox, class_map={"1": "dead"})
    with pytest.raises(LabelError, match="no slide has a label"):
        match_truth(table(tmp_path, "days,dead", ",1"), cox)
