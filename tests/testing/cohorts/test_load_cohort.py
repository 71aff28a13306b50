import csv

import numpy as np
import pytest
from scipy.stats import spearmanr

from slidenet.core.errors import ConfigError
from slidenet.testing.cohorts.feature_cohort import write_generated
from slidenet.testing.cohorts.load_cohort import generate_load_cohort


def test_value_and_hazard_grow_with_the_number_of_lesions():
    cohort = generate_load_cohort(num_patients=400, feature_dim=2, noise=0.1, seed=3)
    count = np.array([slide.lesion.sum() / 4 for slide in cohort.slides])
    load, time, event = (
        np.array([float(slide.row[name]) for slide in cohort.slides])
        for name in ("load", "time", "event")
    )
    assert set(count) == set(range(7))
    assert np.abs(load - count).max() < 0.5
    assert spearmanr(count, time).statistic < -0.6
    assert 0.65 < event.mean() < 0.75
    # An exponential time times its hazard has a mean of one, whatever the hazard.
    free = (time[event == 1] - 0.01) / 100 * np.exp(0.8 * count[event == 1])
    assert free.mean() == pytest.approx(1, abs=0.2)


def test_its_table_has_the_columns_of_both_tasks(tmp_path):
    cohort = generate_load_cohort(num_patients=4, seed=1)
    paths = write_generated(cohort, tmp_path)
    with paths.labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-3:] == ["load", "time", "event"]
    assert [row["load"] for row in rows] == [slide.row["load"] for slide in cohort.slides]


def test_too_many_lesions_are_refused():
    with pytest.raises(ConfigError, match=r"room for \d+ of \d+ lesions"):
        generate_load_cohort(num_patients=2, most_lesions=40, num_tiles=36, seed=2)
