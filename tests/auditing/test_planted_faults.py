"""Every planted fault is found by its own code, and nothing else is."""

import numpy as np
import pytest

from slidenet.auditing import CODES, AuditSettings
from slidenet.testing import FEATURE_FAULTS, FILE_FAULTS, write_feature_cohort
from slidenet.testing.cohorts.edited import edited

FAULTS = {
    # planted fault: (code, severity, what its text names, codes that come along)
    "age_tells_label": ("metadata-tells-label", "note", "column 'age'", ()),
    "contradicting_labels": ("contradicting-labels", "warning", "rows 4, 5 (slide_002", ()),
    "duplicate_row": ("duplicate-row", "error", "row 34 (slide_006)", ()),
    "file_without_row": ("file-without-row", "warning", "slide_000_unlisted.h5", ()),
    "missing_label": ("missing-label", "error", "column 'label', row 9 (slide_007)", ()),
    "mixed_dims": ("mixed-dims", "error", "length 23 instead of 24", ()),
    "mixed_encoder": ("mixed-encoders", "error", "'generated' -> 'another'", ()),
    "mixed_recipe": ("mixed-recipes", "error", "min_tissue_fraction: 0.1 -> 0.5", ()),
    "near_duplicate": ("near-duplicate-features", "error", "slide_000 and slide_000_rescan", ()),
    "part_without_class": ("part-without-class", "note", "fold 0: the test part", ()),
    "patient_in_two_parts": ("patient-in-two-parts", "error", "patient_002 (slide_002 in", ()),
    "rare_class": ("few-patients", "error", "2 patients with label '1'", ("part-without-class",)),
    "row_without_file": ("row-without-file", "error", "row 7 (slide_005)", ()),
    "same_features_two_names": (
        "same-features-two-names",
        "error",
        "slide_000 and slide_000_twin of patients",
        (),
    ),
    "same_slide_two_names": ("same-slide-two-names", "error", "slide_000 and slide_000_copy", ()),
    "site_tells_label": ("metadata-tells-label", "warning", "column 'site' alone tells", ()),
    "slide_in_two_parts": ("slide-in-two-parts", "error", "slide_000 in train and test", ()),
    "tile_count_tells_label": ("size-tells-label", "warning", "number of tiles alone", ()),
    "unknown_slide_in_split": ("unknown-slide", "error", "slide_nobody_knows", ()),
    "zero_tiles": ("file-refused", "error", "slide_001.h5 holds 0 tiles", ()),
    "nan_features": ("features-refused", "error", "NaN or infinite features in row 3", ()),
    "truncated_file": ("file-refused", "error", "cut short", ()),
}


def test_every_fault_that_can_be_planted_is_tested():
    assert set(FAULTS) == {*FEATURE_FAULTS, *FILE_FAULTS}
    assert len({code for code, *_ in FAULTS.values()}) >= 10


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_own_code(tmp_path, audited, fault):
    code, severity, text, company = FAULTS[fault]
    found = audited(write_feature_cohort(tmp_path, num_patients=24, seed=1, faults=[fault]))
    assert {finding.code for finding in found} == {code, *company}
    named = [f for f in found if f.code == code and text in f.text and f.severity == severity]
    assert named, [f.text for f in found]
    assert all(finding.remedy or finding.code == "file-refused" for finding in found)


def test_a_clean_cohort_on_disk_is_left_alone(tmp_path, audited):
    assert audited(write_feature_cohort(tmp_path, seed=1)) == []


def test_a_file_of_another_slide_is_refused(tmp_path, audited):
    paths = write_feature_cohort(tmp_path, num_patients=24, seed=1)
    (paths.features / "slide_004.h5").rename(paths.features / "slide_005.h5")
    found = {f.code: f.text for f in audited(paths)}
    assert set(found) == {"row-without-file", "file-refused"}
    assert "slide_005.h5 says that it is about slide 'slide_004'" in found["file-refused"]


def test_one_fault_of_many_files_is_one_finding(tmp_path, audited):
    paths = write_feature_cohort(tmp_path, num_patients=24, seed=1)
    for number in (2, 5, 11):
        with edited(paths.features / f"slide_{number:03d}.h5") as h5:
            h5["features"][number, 0] = np.nan
    (finding,) = audited(paths)
    assert finding.text.startswith("slides slide_002, slide_005, slide_011; the first: ")
    assert "slide_002.h5 holds NaN" in finding.text


def test_features_that_say_nothing_are_warned_of(tmp_path, audited):
    paths = write_feature_cohort(tmp_path, num_patients=24, seed=1)
    for number in (2, 5):
        with edited(paths.features / f"slide_{number:03d}.h5") as h5:
            h5["features"][:] = 0 if number == 2 else h5["features"][0]
    (finding,) = audited(paths)
    assert (finding.code, finding.severity) == ("constant-features", "warning")
    assert "2 slides (slide_002, slide_005)" in finding.text


@pytest.mark.slow
def test_all_faults_at_once_do_not_hide_each_other(tmp_path, audited):
    together = ["near_duplicate", "mixed_recipe", "row_without_file", "site_tells_label"]
    found = audited(write_feature_cohort(tmp_path, seed=1, faults=together))
    assert {FAULTS[fault][0] for fault in together} <= {finding.code for finding in found}
    severities = [finding.severity for finding in found]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


@pytest.mark.slow
def test_settings_change_what_is_tolerated(tmp_path, audited):
    paths = write_feature_cohort(tmp_path, seed=1, faults=["site_tells_label", "nan_features"])
    lenient = AuditSettings(ignore_columns=("site",), read_features=False)
    assert audited(paths, settings=lenient) == []
    strict = AuditSettings(min_patients=100, read_features=False)
    codes = {finding.code for finding in audited(paths, settings=strict)}
    assert codes == {"few-patients", "metadata-tells-label"}


def test_every_code_is_described_in_one_line():
    assert all(text and "\n" not in text for text in CODES.values())
