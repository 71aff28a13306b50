"""The robustness index against its definition, written out pair by pair."""

import numpy as np
import pytest

from slidenet.auditing.cohort import Cohort
from slidenet.auditing.robustness import _dealt_together, _index, _nearest, site_robustness


def drawn(rng, *, by_class, by_site, per_cell=6):
    """Means of slides of 2 classes at 3 sites, two slides of a patient."""
    classes = np.repeat([0, 1], 3 * per_cell)
    sites = np.tile(np.repeat([0, 1, 2], per_cell), 2)
    patients = np.arange(len(classes)) // 2
    centres = rng.normal(size=(5, 12)) * 4
    means = rng.normal(size=(len(classes), 12))
    means = means + by_class * centres[classes] + by_site * centres[2 + sites]
    return means, sites, classes, patients


def plain_index(means, sites, classes, patients, count):
    """Step by step, without arrays."""
    rows = (means - means.mean(0)) / means.std(0)
    so = os = so_all = os_all = 0
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if patients[j] != patients[i]]
        near = sorted(others, key=lambda j: np.linalg.norm(rows[i] - rows[j]))[:count]
        for chosen, counted in ((near, True), (others, False)):
            first = sum(classes[j] == classes[i] and sites[j] != sites[i] for j in chosen)
            second = sum(classes[j] != classes[i] and sites[j] == sites[i] for j in chosen)
            if counted:
                so, os = so + first, os + second
            else:
                so_all, os_all = so_all + first, os_all + second
    return so / (so + os), so_all / (so_all + os_all)


def measured(means, sites, classes, patients):
    return _index("site", "label", sites, classes, *_nearest(means, patients))


def test_the_index_is_that_of_the_definition():
    data = drawn(np.random.default_rng(0), by_class=0.3, by_site=0.3)
    found = measured(*data)
    assert found.num_neighbours == 3  # half the root of 36 slides
    assert (found.index, found.chance) == pytest.approx(plain_index(*data, 3))
    assert 0.05 < found.index < 0.95


def test_features_of_the_class_and_of_the_site():
    of_class = measured(*drawn(np.random.default_rng(1), by_class=1, by_site=0))
    of_site = measured(*drawn(np.random.default_rng(1), by_class=0, by_site=1))
    assert of_class.index > 0.95
    assert of_class.p > 0.05
    assert of_site.index < 0.05
    assert of_site.p < 0.001
    assert of_class.chance == of_site.chance


def test_unknown_sites_are_left_out_and_one_class_per_site_tells_nothing():
    means, sites, classes, patients = drawn(np.random.default_rng(2), by_class=1, by_site=0)
    known = measured(means, np.where(sites == 2, -1, sites), classes, patients)
    assert (known.num_slides, known.num_sites) == (24, 2)
    assert measured(means, classes, classes, patients) is None
    assert measured(means, np.zeros_like(sites), classes, patients) is None


def test_a_cohort_without_labels_has_none(tmp_path):
    assert site_robustness(Cohort(None, None, {})) == ()


def test_sites_are_those_of_patients_and_not_dealt_to_their_slides_one_by_one():
    """20 patients of 8 slides tell as much of the site as 20 slides, whatever the slides say."""
    rng, p = np.random.default_rng(1), []
    patients = np.repeat(np.arange(20), 8)
    for _ in range(12):
        means = rng.normal(size=(20, 10))[patients] + 0.3 * rng.normal(size=(160, 10))
        sites, classes = (rng.integers(0, 2, 20)[patients] for _ in range(2))
        found = _index("site", "label", sites, classes, *_nearest(means, patients))
        p.append(found.p)
    assert min(p) > 0.01
    scanners = np.arange(160) % 2  # a patient has slides of both
    assert _dealt_together(scanners, patients).tolist() == list(range(160))
    assert _dealt_together(patients % 3, patients).tolist() == patients.tolist()
