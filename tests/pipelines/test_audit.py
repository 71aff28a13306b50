import json

import pytest

from slidenet.cli.main import main
from slidenet.core.errors import AuditError, ConfigError, StoreError
from slidenet.data.bags.files import find_bag_files
from slidenet.data.labels.table import read_label_table
from slidenet.data.labels.task import make_task
from slidenet.data.splits.files import read_splits
from slidenet.pipelines.audit import audit, audit_or_raise
from slidenet.testing import write_feature_cohort


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return write_feature_cohort(tmp_path_factory.mktemp("clean"), seed=3)


def arguments(paths):
    table = read_label_table(paths.labels)
    task = make_task(table, "binary", ["label"])
    return table, task, find_bag_files(paths.features), read_splits(paths.splits)


def test_a_clean_cohort(clean, tmp_path):
    report = audit(clean.labels, clean.features, splits=clean.splits, out=tmp_path)
    assert report.exit_code == 0
    checked = "48 slides of 36 patients, 48 features files, 4 splits"
    *notes, last = report.table().splitlines()
    measure = "note     site-robustness: robustness index of the features to"
    assert all(line.startswith((measure, "         ->")) for line in notes)
    assert last == f"2 notes in {checked}"
    written = json.loads((tmp_path / "audit.json").read_text())
    assert written["checked"] == checked
    assert [finding["code"] for finding in written["findings"]] == ["site-robustness"] * 2


def test_errors_fail_and_warnings_fail_only_when_strict(tmp_path):
    warned = write_feature_cohort(tmp_path / "a", seed=1, faults=["site_tells_label"])
    report = audit(warned.labels, warned.features)
    assert (report.exit_code, report.count("warning")) == (0, 1)
    assert audit(warned.labels, warned.features, strict=True).exit_code == 1
    wrong = write_feature_cohort(tmp_path / "b", seed=1, faults=["mixed_dims", "age_tells_label"])
    report = audit(wrong.labels, wrong.features, out=tmp_path)
    assert report.exit_code == 1
    lines = report.table().splitlines()
    assert lines[0].startswith("error    mixed-dims: 1 file (slide_002.h5) of 48")
    assert lines[1] == "         -> make all features with one encoder and the same settings"
    assert lines[-1].startswith("1 error, 3 notes in 48 slides")
    written = json.loads((tmp_path / "audit.json").read_text())["findings"]
    assert [f["code"] for f in written[:2]] == ["mixed-dims", "metadata-tells-label"]


def test_labels_alone(clean):
    report = audit(clean.labels)
    assert report.table() == "nothing found in 48 slides of 36 patients"


def test_slides_that_training_leaves_out_are_no_errors(clean, tmp_path):
    header, first, second, *rows = clean.labels.read_text().splitlines()
    at = header.split(",").index("label")
    table = tmp_path / "labels.csv"
    blanked = ["case_id" if name == "patient_id" else name for name in header.split(",")]
    cells = [line.split(",") for line in (first, second)]
    cells[0][at], cells[1][at] = "unknown", ""
    table.write_text("\n".join([",".join(blanked), *map(",".join, cells), *rows]) + "\n")
    report = audit(table, clean.features, leave_out=["unknown"], read_features=False)
    assert [f.code for f in report.findings if f.severity != "note"] == ["missing-label"]
    assert report.exit_code == 1
    assert "by the column 'case_id'" in report.checked
    report = audit(
        table, clean.features, leave_out=["unknown"], drop_unlabelled=True, read_features=False
    )
    assert report.exit_code == 0
    assert not report.count("warning")
    assert [f.remedy for f in report.findings if f.code == "missing-label"] == [""]


def test_rows_about_regions_are_audited_by_slide(tmp_path):
    rows = ["slide_id,patient_id,region,label"]
    for i in range(4):
        rows += [f"s{i},p{i // 2},Tumor,x", f"s{i},p{i // 2},Stroma,y"]
    labels, splits = tmp_path / "labels.csv", tmp_path / "splits.csv"
    labels.write_text("\n".join(rows) + "\n")
    parts = {"s0": "train", "s1": "test", "s2": "train", "s3": "train"}
    lines = [f"{s}:{r},{part}" for s, part in parts.items() for r in ("Tumor", "Stroma")]
    splits.write_text("\n".join(["slide_id,split", *lines]) + "\n")
    report = audit(labels, bag="region", splits=splits)
    assert [f.code for f in report.findings] == ["patient-in-two-parts", "labels-of-parts"]
    assert "p0 (s0 in train, s1 in test)" in report.findings[0].text
    (finding,) = audit(labels).findings
    assert finding.code == "labels-unusable"
    assert finding.remedy.endswith("if the rows are about regions, pass --data.bag region")
    assert audit(labels, bag="tile", label_columns=["region"]).exit_code == 0


def test_labels_that_make_no_task_are_a_finding(clean):
    report = audit(clean.labels, clean.features, task="cox", label_columns=["age", "site"])
    assert report.exit_code == 1
    assert [finding.code for finding in report.findings] == ["labels-unusable"]
    assert "column 'site'" in report.findings[0].text


def test_training_goes_on_with_warnings_or_is_refused(clean, tmp_path):
    heard = []
    assert audit_or_raise(*arguments(clean), strict=True, warn=heard.append).failures == ()
    faults = ["near_duplicate", "site_tells_label", "age_tells_label"]
    wrong = write_feature_cohort(tmp_path, seed=1, faults=faults)
    audit_or_raise(*arguments(wrong), warn=heard.append)
    assert [line.split(":")[0] for line in heard] == [
        "audit, error near-duplicate-features",
        "audit, warning metadata-tells-label",
    ]
    with pytest.raises(AuditError, match=r"near-duplicate-features: .*\(and 1 more\); expected"):
        audit_or_raise(*arguments(wrong), strict=True)
    with (
        pytest.warns(UserWarning, match="near-duplicate-features"),
        pytest.warns(UserWarning, match="metadata-tells-label"),
    ):
        audit_or_raise(*arguments(wrong))


def test_features_that_cannot_be_read_end_training_before_it_begins(tmp_path):
    paths = write_feature_cohort(tmp_path, num_patients=24, seed=1, faults=["nan_features"])
    with pytest.raises(StoreError, match=r"slide_001.h5 holds NaN .* in row 3 of"):
        audit_or_raise(*arguments(paths))


def test_the_command_reads_the_yaml_of_a_training(clean, tmp_path, capsys):
    config = tmp_path / "train.yaml"
    config.write_text(
        f"out: {tmp_path / 'run'}\nseed: 3\nkeep: last\n"
        f"data:\n  labels: {clean.labels}\n  features: {clean.features}\n  batch_size: 8\n"
        "model:\n  network: mean\ntrainer:\n  max_epochs: 3\nfolds:\n  num_folds: 2\n"
    )
    flags = ["--config", str(config), f"--data.splits={clean.splits}", "--min-patients=3"]
    assert main(["audit", *flags]) == 0
    assert "48 features files, 4 splits" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["audit.json"]
    config.write_text("data:\n  label: labels.csv\n")
    with pytest.raises(SystemExit):
        main(["audit", "--config", str(config)])
    assert "Option 'data.label' is not accepted" in capsys.readouterr().err


def test_out_is_a_folder(clean, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a folder, which gets audit.json"):
        audit(clean.labels, out=tmp_path / "findings.json")


def test_one_text_is_no_list_of_columns(clean):
    with pytest.raises(ConfigError, match=r"label_columns is 'label'; expected a list"):
        audit(clean.labels, label_columns="label")
