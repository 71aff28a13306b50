import numpy as np
import pytest

from slidenet.evaluation.statistics.proportions import effective_count, proportion_interval, wilson


def test_wilson_is_that_of_the_paper():
    # Newcombe 1998, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for hits, count, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(hits / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0.0, 0) == (0.0, 1.0)


def test_bags_of_one_patient_count_for_less():
    success = np.repeat([True, False, True, True, False], 4)
    alike, apart = np.repeat(np.arange(5), 4), np.arange(20)
    assert effective_count(success, apart) == 20
    assert effective_count(success, alike) == pytest.approx(4)  # 5 patients, n / (n - 1)
    assert effective_count(np.ones(20, dtype=bool), alike) == 5
    wide, narrow = proportion_interval(success, alike), proportion_interval(success, apart)
    assert wide.value == narrow.value == 0.6
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_bags_have_no_share():
    nothing = proportion_interval(np.array([], dtype=bool), np.array([], dtype=np.int64))
    assert np.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0, 1)
