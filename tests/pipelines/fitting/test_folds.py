"""Folds read from a file, of a cohort some of whose slides are in no bag."""

import pytest

from slidenet.core.errors import SplitError
from slidenet.data import Split, write_splits
from slidenet.data.datamodule import read_bags
from slidenet.pipelines.fitting.fit import audit_data
from slidenet.pipelines.fitting.folds import FoldSettings, make_splits
from slidenet.testing.cohorts.feature_cohort import generate_features, write_generated


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    made = generate_features(
        num_patients=12, slides_per_patient=(1,), num_tiles=4, feature_dim=4, signal=2.0
    )
    made.slides[0].on_disk = False
    return write_generated(made, tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def bags(cohort):
    return read_bags(
        labels=cohort.labels, features=cohort.features, allow_missing=True, unsplit=True
    )


def test_a_slide_left_out_for_want_of_a_file_may_be_in_the_splits(bags, tmp_path, capsys):
    ids = bags.cohort.rows.slide_ids
    path = write_splits(
        tmp_path / "s.csv", [Split(ids[:8], (), ids[8:]), Split(ids[4:], (), ids[:4])]
    )
    splits = make_splits(bags, FoldSettings(inner_val_fraction=0.3), path, seed=0)
    assert ids[0] not in (*splits[0].train, *splits[0].val), "val is drawn of what has a file"
    assert splits[1].test == ids[1:4]
    audit_data(bags.with_split(splits[0]), splits, strict=False)
    said = capsys.readouterr().err
    assert f"left out, no features file: 1 slide ({ids[0]})" in said
    assert "unknown-slide" not in said, "the table has a row of it"


def test_a_fault_in_any_fold_is_refused_before_the_first_is_trained(bags, tmp_path):
    ids = bags.cohort.rows.slide_ids
    good, wrong = Split(ids[:8], (), ids[8:]), Split(ids[4:], (), ("nobody",))
    path = write_splits(tmp_path / "s.csv", [good, wrong])
    with pytest.raises(SplitError, match="fold 1 names slide 'nobody'"):
        make_splits(bags, FoldSettings(), path, seed=0)
