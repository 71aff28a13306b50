"""Slides that other processes hold are come back to at the end."""

import json
import os
from dataclasses import dataclass, field

import pytest

from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort import sharing
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import ELSEWHERE, exit_code_of
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.stores import claims
from slidenet.stores.atomic import atomic_path
from slidenet.stores.claims import claim_file, held_claim, take_claim

ROWS = [SlideRow(slide_id=name, slide_path=f"{name}.svs") for name in ("a", "b", "c")]
FAR = "00000000-7-0123abcd"


@dataclass(frozen=True)
class Work(SlideWork):
    """Makes a file of every slide; `before` may do something first."""

    layout: OutputLayout
    order: list = field(default_factory=list)
    before: object = None

    def claimed(self, row):
        return self.layout.tiles(row.slide_id)

    def __call__(self, row, progress):
        path = self.claimed(row)
        self.order.append(row.slide_id)
        already = path.exists()
        if self.before is not None:
            self.before(row.slide_id)
        with atomic_path(path) as temporary:
            temporary.write_text(row.slide_id)
        return SlideResult(path, "made", already_done=already)


@pytest.fixture
def layout(tmp_path):
    return OutputLayout(tmp_path)


@pytest.fixture
def passes(monkeypatch):
    """What happens while a process waits, pass by pass; its clock goes on with it."""
    now, script = [0.0], []
    for module in (claims, sharing):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    monkeypatch.setattr(claims, "_seen", {})

    def wait(seconds):
        now[0] += seconds
        if script:
            script.pop(0)()

    monkeypatch.setattr(sharing, "sleep", wait)
    return script


def hold(layout, slide_id, token=FAR):
    path = claim_file(layout.tiles(slide_id))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"token": token, "host": "node7", "started": None}))
    return path


def statuses(report):
    return [outcome.status for outcome in report.outcomes]


def test_what_another_process_ends_meanwhile_is_done(layout, passes):
    held = hold(layout, "a")

    def end():
        layout.tiles("a").write_text("a")
        held.unlink()

    passes += [lambda: None, end]
    work = Work(layout)
    report = run_cohort("verb", ROWS, work)
    assert statuses(report) == ["already done", "done", "done"]
    assert work.order == ["b", "c", "a"]
    assert report.exit_code == 0


def test_what_a_living_process_holds_is_in_progress_elsewhere(layout, passes):
    held = hold(layout, "a")
    passes += [lambda: os.utime(held, (1, 1))] * 100
    report = run_cohort("verb", ROWS, Work(layout))
    assert statuses(report) == [ELSEWHERE, "done", "done"]
    assert "process 7 on node7 is working on" in report.outcomes[0].detail
    assert report.outcomes[0].value is None, "nothing that a verb made"
    assert "2 done, 1 in progress elsewhere" in report.table()
    assert (report.exit_code, exit_code_of([report])) == (75, 75)
    assert report.rows_done(ROWS) == ROWS[1:]
    failed = report.followed_by(report)
    assert failed.failed == []
    record = json.loads(layout.run_report.read_text())["stages"]["verb"]
    assert (record["num_failed"], record["slides"][0]["status"]) == (0, ELSEWHERE)
    assert held.exists()


def test_what_a_dead_process_held_is_taken_over(layout, passes):
    hold(layout, "a")
    report = run_cohort("verb", ROWS, Work(layout))
    assert statuses(report) == ["done"] * 3
    assert list(layout.tiles("a").parent.glob(".*")) == []


def test_who_loses_its_claim_writes_nothing_and_tells_who_took_it(layout, passes):
    taken = []

    def lose(slide_id):
        if slide_id == "b" and not taken:
            held_claim(layout.tiles("b")).release()
            taken.append(take_claim(layout.tiles("b")))

    def end():
        layout.tiles("b").write_text("of the other")
        taken[0].release()

    passes.append(end)
    report = run_cohort("verb", ROWS, Work(layout, before=lose))
    assert statuses(report) == ["done", "already done", "done"]
    assert layout.tiles("b").read_text() == "b"


def test_later_outcomes_replace_what_was_not_done(layout, passes):
    first = run_cohort("verb", ROWS[:2], Work(layout))
    later = run_cohort("verb", ROWS[1:], Work(layout))
    both = first.followed_by(later)
    assert [o.slide_id for o in both.outcomes] == ["a", "b", "c"]
    assert statuses(both) == ["done"] * 3
