"""Fits of a cross-validation as work for a runner: which there are, who has them, what failed."""

from types import SimpleNamespace

import pytest

from slidenet.core.errors import ClaimedElsewhere, ConfigError, WorkerError
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import SilentProgress
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fitting.folds import FOLD_NAME
from slidenet.pipelines.fitting.spread import FitsOfFolds, _made, run_folds
from slidenet.pipelines.fleet.settings import ClusterSettings


class Folds:
    """What `FoldWork` does, told instead of trained."""

    def __init__(self, candidates=2, held=(), broken=()):
        self.candidates = [{"learning_rate": 10.0**-i} for i in range(candidates)]
        self.settings = SimpleNamespace(num_inner_folds=2)
        self.plan = SimpleNamespace(
            settings=SimpleNamespace(ablation=False),
            trainer=SimpleNamespace(uses_gpu=lambda: True),
        )
        self.held, self.broken, self.done = held, broken, []

    def run(self, number, split, folder):
        if number in self.broken:
            raise ConfigError("no such network")
        self.done.append((number, split))

    def score(self, number, split, folder, candidate, inner):
        if number in self.held:
            raise ClaimedElsewhere("process 7 on elsewhere is working on it")
        self.done.append((number, candidate, inner))


@pytest.fixture
def fits(tmp_path):
    folders = [tmp_path / f"fold_{number:02d}" for number in range(3)]
    folders[1].mkdir()
    (folders[1] / FOLD_NAME).write_text("{}")
    return lambda folds: FitsOfFolds(OutputLayout(tmp_path), folds, ["s0", "s1", "s2"], folders)


def test_the_fits_of_a_search_leave_out_folds_that_are_done(fits):
    folds = Folds()
    work = fits(folds)
    assert work.device == "cuda"
    rows = work.rows_of_search([0, 1, 2])
    assert [row.slide_id for row in rows][:2] == [
        "fold 0, candidate 0, inner fold 0",
        "fold 0, candidate 0, inner fold 1",
    ]
    assert _made(LocalRunner(), work, rows, "search") == []
    assert folds.done == [(n, c, i) for n in (0, 2) for c in (0, 1) for i in (0, 1)]
    assert fits(Folds(candidates=1)).rows_of_search([0, 1, 2]) == []


def test_folds_that_others_train_are_told(fits):
    folds = Folds(held=[2])
    work = fits(folds)
    assert _made(LocalRunner(), work, work.rows_of_search([0, 2]), "search") == [2]
    assert _made(LocalRunner(), work, work.rows([2, 0]), "crossval") == []
    assert folds.done[-2:] == [(2, "s2"), (0, "s0")]
    assert work(work.rows([0], patient=True)[0], SilentProgress()).value is True


def test_a_fit_that_fails_is_told_when_the_others_are_made(fits):
    folds = Folds(broken=[0])
    work = fits(folds)
    with pytest.raises(WorkerError, match=r"1 fit of 2 failed .*: 'fold 0': no such network"):
        _made(LocalRunner(), work, work.rows([0, 2]), "crossval")
    assert folds.done == [(2, "s2")]


def test_settings_are_refused_before_any_fold():
    with pytest.raises(ConfigError, match="--worker-cores 2 without --runner ray"):
        run_folds(None, [0], [], [], ClusterSettings(worker_cores=2))
