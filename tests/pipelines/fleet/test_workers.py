"""Workers that end, hang or are slow: what becomes of their slides, told without processes."""

import logging
import time
from dataclasses import dataclass

import pytest

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fleet.messages import Advanced, Stop, Take, Unfit, WantsSlide
from slidenet.pipelines.fleet.stragglers import FEWEST_DONE, SHORTEST_S, Stragglers
from slidenet.pipelines.fleet.workers import MOST_LOSSES, OVERDUE_S, Worker, WorkersRunner

ROWS = [SlideRow(name, f"{name}.svs") for name in "abcdef"]


@dataclass(frozen=True)
class Work(SlideWork):
    layout: OutputLayout

    def count(self, row):
        return 100

    def __call__(self, row, progress):
        return SlideResult(self.layout.root, "made")


class Teller:
    def __init__(self):
        self.begun, self.advanced = [], []

    def advance(self, count, *, done_before=False, worker=""):
        self.advanced.append((worker, count))

    def show_slide(self, slide_id, *, worker=""):
        self.begun.append((worker, slide_id))


class Scripted(Worker):
    """Does its slides at once, as the script says: "dies" on some of them."""

    def __init__(self, name, runner):
        super().__init__(name)
        self.runner, self.said, self.alive = runner, [], True
        self.say(WantsSlide())

    def say(self, message):
        self.runner.heard.put((self, message))

    def send(self, message):
        self.said.append(message)
        if not isinstance(message, Take) or message.row is None:
            return
        slide_id = message.row.slide_id
        self.say(Advanced(7, False))
        if self.runner.losses > 0:
            self.runner.losses -= 1
            self.blameless = True
            self.say(None)
            return
        if slide_id in self.runner.deadly.get(self.name, ""):
            self.say(None)
            return
        self.say(SlideOutcome(slide_id, "done", f"by {self.name}", seconds=1.0))
        self.say(WantsSlide())

    def kill(self):
        self.alive = False

    def wait(self, seconds):
        return True

    def ending(self):
        return "its node left the cluster"


class ScriptedRunner(WorkersRunner):
    flag = "--runner scripted"

    def __init__(self, work, names, deadly=(), losses=0):
        super().__init__(work)
        self.losses = losses
        self.names, self.deadly, self.started = list(names), dict(deadly), []

    def start_workers(self, count):
        taken = {worker.name for worker in self.workers}
        for name in [name for name in self.names if name not in taken][:count]:
            self.started.append(name)
            self.workers.append(Scripted(name, self))


@pytest.fixture
def work(tmp_path):
    return Work(OutputLayout(tmp_path))


def run(runner, rows=ROWS):
    teller = Teller()
    with runner:
        outcomes = list(runner.run(runner._work, rows, teller))
    return {outcome.slide_id: outcome for outcome in outcomes}, teller


def test_the_slide_of_a_worker_that_ended_is_tried_again_elsewhere(work):
    runner = ScriptedRunner(work, ["one", "two"], {"one": "c"})
    found, teller = run(runner)
    assert {o.status for o in found.values()} == {"done"}
    assert len(found) == len(ROWS)
    tries = [worker for worker, slide_id in teller.begun if slide_id == "c"]
    assert tries.count("one") <= 1
    assert found["c"].detail == "by two"
    assert ("one", 7) in teller.advanced or ("two", 7) in teller.advanced


def test_a_slide_that_ends_two_workers_fails_and_the_others_go_on(work):
    runner = ScriptedRunner(work, ["one", "two"], {"one": "c", "two": "c"})
    found, _ = run(runner)
    failed = [o for o in found.values() if o.status == "failed"]
    assert [o.slide_id for o in failed] == ["c"]
    assert "ended twice (its node left the cluster)" in failed[0].detail
    assert "run this slide alone, without --runner scripted" in failed[0].detail
    assert len(runner.started) >= 3  # who ended was replaced


@pytest.mark.parametrize(("losses", "status"), [(MOST_LOSSES, "done"), (MOST_LOSSES + 1, "failed")])
def test_machines_that_are_lost_fail_no_slide_until_they_are_many(work, losses, status):
    found, _ = run(ScriptedRunner(work, ["one"], losses=losses), ROWS[:1])
    assert found["a"].status == status
    if status == "failed":
        assert "ended 6 times (its node left the cluster)" in found["a"].detail


def test_no_more_workers_than_slides_and_all_are_told_to_stop(work):
    runner = ScriptedRunner(work, ["one", "two", "three"])
    found, _ = run(runner, ROWS[:2])
    assert len(found) == 2
    assert len(runner.started) == 2
    assert all(isinstance(worker.said[-1], Stop) for worker in runner.workers if worker.ready)


def test_a_worker_that_cannot_do_the_work(work):
    runner = ScriptedRunner(work, ["one"])
    runner.start_workers(1)
    runner.workers[0].say(Unfit("ModuleNotFoundError: mine"))
    with pytest.raises(ConfigError, match=r"cannot do the work .ModuleNotFoundError"):
        run(runner)


def test_an_outcome_of_a_slide_that_was_given_up_counts_no_more(work):
    runner = ScriptedRunner(work, ["one"])
    runner.start_workers(1)
    _, wants = runner.heard.get()
    runner.workers[0].say(SlideOutcome("a", "done", "too late"))
    runner.workers[0].say(wants)
    found, _ = run(runner, ROWS[:1])
    assert found["a"].detail == "by one"


def test_stragglers_are_told_once(work, caplog):
    stragglers, now = Stragglers(work), time.monotonic()
    at_work = {
        "slow": (ROWS[0], now - 5 * SHORTEST_S),
        "usual": (ROWS[1], now - 1.5 * SHORTEST_S),
    }
    stragglers.tell("10.0.0.5", at_work)
    assert not caplog.text  # nobody knows yet what is usual
    for row in ROWS[:FEWEST_DONE]:
        stragglers.ended(row, SlideOutcome(row.slide_id, "done", "", seconds=SHORTEST_S))
    stragglers.ended(ROWS[0], SlideOutcome("x", "already done", "", seconds=0.0))
    with caplog.at_level(logging.WARNING):
        stragglers.tell("10.0.0.5", at_work)
        stragglers.tell("10.0.0.5", at_work)
    assert [record.message for record in caplog.records] == [
        "slide slow has been at work on 10.0.0.5 for 10 min; a slide of its size takes 2 min. It "
        "goes on: look at that machine and its disk"
    ]


def test_what_else_an_overdue_worker_was_at_is_not_why_it_ends(work, monkeypatch):
    monkeypatch.setattr(Work, "time_limit_s", 5.0)
    runner = ScriptedRunner(work, ["one"])
    runner.workers = [worker := Scripted("one", runner)]
    began = time.monotonic() - OVERDUE_S - 6.0
    worker.at_work = {"a": (ROWS[0], began), "b": (ROWS[1], time.monotonic())}
    assert [outcome.slide_id for outcome in runner._end_overdue()] == ["a"]
    assert worker.blameless
    assert not worker.alive
    assert list(worker.at_work) == ["b"]
