"""One seed decides split, order of bags and initial weights; each can be set apart."""

import hashlib

import pytest
import torch

from slidenet.data.datamodule import read_bags
from slidenet.data.settings import DataSettings
from slidenet.pipelines.fitting.fit import prepare_fit
from slidenet.pipelines.fitting.folds import FoldSettings, make_splits
from slidenet.pipelines.fitting.plan import TrainSettings, read_arguments
from slidenet.testing import write_feature_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    made = write_feature_cohort(
        tmp_path_factory.mktemp("cohort"), num_patients=30, num_tiles=4, feature_dim=8
    )
    return {"labels": made.labels, "features": made.features, "batch_size": 4}


def begin(cohort, folder, run_seed, **data):
    """Split, order of the bags of the first epoch, and initial weights."""
    wanted, plan, _ = read_arguments(
        TrainSettings(seed=run_seed),
        {"accelerator": "cpu", "max_epochs": 1},
        data={**cohort, **data},
        model=None,
        trainer=None,
    )
    bags = read_bags(wanted)
    weights = prepare_fit(bags, plan, folder).module.state_dict()
    order = [[bag for bag, _ in batch] for batch in bags.train_dataloader().sampler.batches()]
    return bags.split, order, weights


def folds(cohort, seed, **settings):
    made = make_splits(
        read_bags(unsplit=True, **cohort), FoldSettings(num_folds=3, **settings), None, seed=seed
    )
    return [digest(split) for split in made]


def digest(split):
    text = repr((split.train, split.val, split.test))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def equal(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.slow
def test_another_seed_is_another_split_order_and_beginning(cohort, tmp_path):
    split, order, weights = begin(cohort, tmp_path, 0)
    assert begin(cohort, tmp_path, 0)[:2] == (split, order)
    other_split, other_order, other_weights = begin(cohort, tmp_path, 1)
    assert split != other_split
    assert order != other_order
    assert not equal(weights, other_weights)
    assert folds(cohort, 0) != folds(cohort, 1)


@pytest.mark.slow
def test_each_can_be_kept(cohort, tmp_path):
    split, order, weights = begin(cohort, tmp_path, 0)
    kept_split, kept_order, other_weights = begin(cohort, tmp_path, 1, seed=0)
    assert (kept_split, kept_order) == (split, order)
    assert not equal(weights, other_weights)
    assert equal(begin(cohort, tmp_path, 0, seed=1)[2], weights)
    assert folds(cohort, 1, fold_seed=0) == folds(cohort, 0)


def test_the_default_is_what_it_was_before_the_seeds_were_one(cohort, tmp_path):
    """So that runs and tables made then still hold: the numbers are those of version 0.1.0."""
    split, order, weights = begin(cohort, tmp_path, TrainSettings().seed)
    assert digest(split) == "b25f0ffb7589eca4"
    assert order == [
        [18, 4, 21, 10], [11, 2, 22, 6], [23, 3, 20, 8], [0, 16, 12, 19], [13, 7, 5, 17],
        [14, 9, 1, 15],
    ]  # fmt: skip
    first = weights["network.embed.0.weight"].flatten()[:2].tolist()
    assert first == pytest.approx([-0.000804213516, 0.057623285800], abs=1e-9)
    assert folds(cohort, 0) == ["92df92b0e790a582", "067f14da9e25ef4a", "0a25a7f79950ec77"]


@pytest.mark.parametrize(("own", "wanted"), [(3, 3), (None, 5)])
def test_the_seed_of_the_data_wins_however_they_are_given(cohort, own, wanted):
    for data in ({**cohort, "seed": own}, DataSettings(**cohort, seed=own)):
        found, plan, _ = read_arguments(None, {"seed": 5}, data=data, model=None, trainer=None)
        assert (found.seed, plan.settings.seed) == (wanted, 5)
