"""Samples, results as text, and what features are looked at for."""

import numpy as np

from slidenet.pipelines.reporting.budget import PictureBudget, in_turn, take_pictures
from slidenet.pipelines.reporting.cohort_files import read_cohort
from slidenet.pipelines.reporting.feature_health import FeatureHealth, measure_features
from slidenet.pipelines.reporting.results_text import shown_results
from slidenet.pipelines.results.sections import Section, write_results
from slidenet.visualisation.html import Picture, joined


def test_every_beginning_of_a_sample_is_spread_over_all():
    for number, first in ((1, 0), (2, 5), (100, 0), (500, 70)):
        order = in_turn(number, first)
        assert sorted(order) == list(range(number))
        assert order[:first] == list(range(min(first, number)))
    order = in_turn(500, 70)[70:]
    for count in (8, 30, 100):
        gaps = np.diff([70, *sorted(order[:count]), 500])
        assert gaps.max() <= 2.1 * 430 / count


def test_pictures_stop_where_the_bytes_are_used_up():
    names = [str(i) for i in range(10)]
    budget = PictureBudget(250)
    taken = take_pictures(names, lambda n: Picture("x" * 100, 1, 1), budget, most=5, first=1)
    assert list(taken) == ["0", "1"]
    assert budget.ran_out
    free = PictureBudget(10_000)
    assert len(take_pictures(names, lambda n: None, free, most=5, first=0)) == 5
    assert not free.ran_out


def test_results_are_shown_as_they_were_before_markdown(tmp_path):
    names = ("a|b <i>", "*x*", "$5$", "- y")
    section = Section("Title <b>", names, ("", "n | m"), (("first", "1"), ("a | b", "")))
    path = write_results(tmp_path, "train", "trained abmil", [section])
    shown = joined(shown_results(path)).markup
    for text in ("Title &lt;b&gt;", "a|b &lt;i&gt;", "*x*", "$5$", "- y", "a | b", "n | m"):
        assert f">{text}<" in shown
    assert shown_results(tmp_path / "gone.md") == []


def test_features_are_measured_as_numpy_does(made, bench):
    found = read_cohort(bench.OutputLayout(made / "out"))
    files = {name: slide.features["generated"] for name, slide in found.slides.items()
             if slide.features}  # fmt: skip
    health = measure_features(files)
    rows = {name: file.features[:].astype(np.float64) for name, file in files.items()}
    norms = [np.linalg.norm(rows[name], axis=1) for name in health.slide_ids]
    wanted = [np.percentile(n, (5, 50, 95)) for n in norms]
    assert health.num_rows == sum(map(len, norms)) == sum(f.num_tiles for f in files.values())
    np.testing.assert_allclose(health.quantiles, wanted)
    assert (health.dead, health.still, health.num_zero) == (1, 1, 0)
    assert not health.far.any()


def test_slides_with_other_norms_are_far():
    middle = np.array([10, 10.2, 9.9, 10.1, 14.0, 10.05])
    quantiles = np.stack([middle - 1, middle, middle + 1], axis=1)
    names = tuple("abcdef")
    health = FeatureHealth(names, quantiles, 6, 4, 0, 0, 0, ())
    assert health.far.tolist() == [False, False, False, False, True, False]
