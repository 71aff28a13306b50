import numpy as np
import pytest

from slidenet.core.errors import ConfigError, PredictionsError
from slidenet.evaluation.operating_points import choose_threshold, operating_point

SCORE = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8])
POSITIVE = np.array([False, False, True, False, True, True])


@pytest.mark.parametrize(
    ("rule", "at", "expected"),
    [
        ("half", 0.9, 0.5),
        ("youden", 0.9, 0.25),  # 1 + 2/3 at 0.25, as at 0.5: the lower one
        ("sensitivity", 1.0, 0.25),
        ("sensitivity", 0.6, 0.5),
        ("specificity", 1.0, 0.5),
        ("specificity", 0.6, 0.25),
        ("specificity", 0.1, 0.15),
    ],
)
def test_rules_by_hand(rule, at, expected):
    assert choose_threshold(SCORE, POSITIVE, rule, at) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_rules_keep_their_promise_on_the_bags_they_were_chosen_on(seed):
    rng = np.random.default_rng(seed)
    score, positive = np.round(rng.random(40), 1).astype(np.float32), rng.random(40) < 0.5
    for at in (0.3, 0.8, 1.0):
        cut = choose_threshold(score, positive, "sensitivity", at)
        assert (score[positive] >= cut).mean() >= at
        higher = np.unique(score)[np.unique(score) > cut]
        if len(higher) > 1:
            assert (score[positive] > higher[0]).mean() < at
        cut = choose_threshold(score, positive, "specificity", at)
        assert (score[~positive] < cut).mean() >= at
    cut = choose_threshold(score, positive, "youden")

    def youden(t):
        return (score[positive] >= t).mean() + (score[~positive] < t).mean()

    assert youden(cut) == pytest.approx(max(youden(t) for t in [*np.unique(score), 2]))


def test_neighbouring_float32_scores_are_told_apart():
    low = np.float32(0.5)
    score = np.array([low, np.nextafter(low, np.float32(1))])
    cut = choose_threshold(score, np.array([False, True]), "youden")
    assert (score >= cut).tolist() == [False, True]


def test_bad_choices_are_refused():
    with pytest.raises(ConfigError, match=r"a sensitivity of 1\.5"):
        choose_threshold(SCORE, POSITIVE, "sensitivity", 1.5)
    with pytest.raises(PredictionsError, match="a cut-off from 6 positive and 0 negative bags"):
        choose_threshold(SCORE, np.ones(6, dtype=bool), "youden")


def test_a_cut_off_is_never_chosen_on_the_bags_it_is_judged_on(simulate):
    predictions = simulate("binary", 60, folds=3)
    score, positive = predictions.probabilities[:, 1], predictions.targets == 1
    point = operating_point(predictions, "youden")
    for fold in range(3):
        inside = predictions.folds == fold
        cut = choose_threshold(score[~inside], positive[~inside], "youden")
        np.testing.assert_array_equal(point.called[inside], score[inside] >= cut)
    assert point.chosen_on == "the other folds"


def test_validation_bags_choose_where_given(simulate):
    predictions, validation = simulate("binary", 60), simulate("binary", 40, seed=1)
    with pytest.raises(PredictionsError, match="40 patients are in the validation predictions"):
        operating_point(predictions, "youden", validation=validation)
    moved = validation.take(np.arange(40))
    object.__setattr__(moved, "patient_ids", tuple(f"v{i}" for i in range(40)))
    point = operating_point(predictions, "youden", validation=moved)
    cut = choose_threshold(moved.probabilities[:, 1], moved.targets == 1, "youden")
    assert point.threshold == cut
    assert point.chosen_on == "40 validation bags"


def test_shares_by_hand(simulate):
    predictions = simulate("binary", 60)
    point = operating_point(predictions, "half")
    called, positive = predictions.probabilities[:, 1] >= 0.5, predictions.targets == 1
    assert point.sensitivity.value == (called & positive).sum() / positive.sum()
    assert point.specificity.value == (~called & ~positive).sum() / (~positive).sum()
    assert point.ppv.value == (called & positive).sum() / called.sum()
    assert point.npv.value == (~called & ~positive).sum() / (~called).sum()


def test_an_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match=r"rule is 'yuden'; expected one of half, youden"):
        choose_threshold(SCORE, POSITIVE, "yuden")
