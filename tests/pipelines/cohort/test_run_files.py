"""`run.json` says what last happened to each slide, whoever of many processes did it."""

import json
import threading
from types import SimpleNamespace

import pytest

from slidenet.core.errors import OutputError
from slidenet.pipelines.cohort import run_files
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import ELSEWHERE, RunReport, SlideOutcome, utc_now
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.run_files import write_run_report


@pytest.fixture
def layout(tmp_path):
    return OutputLayout(tmp_path)


def report(verb="verb", **statuses):
    outcomes = [SlideOutcome(name, status, "made") for name, status in statuses.items()]
    return RunReport(verb, {"seed": 1}, utc_now(), 1.5, outcomes)


def stages(layout):
    found = json.loads(layout.run_report.read_text())["stages"]
    return {
        verb: {slide["slide_id"]: slide["status"] for slide in stage["slides"]}
        for verb, stage in found.items()
    }


def files(layout):
    return sorted(path.name.split("-")[0] for path in layout.runs.iterdir())


def test_the_last_outcome_of_each_slide_and_verb_wins(layout):
    write_run_report(layout, report(a="done", b="failed"))
    write_run_report(layout, report(c="failed"))
    write_run_report(layout, report("other", a="done"))
    assert stages(layout) == {
        "verb": {"a": "done", "b": "failed", "c": "failed"},
        "other": {"a": "done"},
    }
    stage = json.loads(layout.run_report.read_text())["stages"]["verb"]
    assert (stage["num_failed"], stage["settings"]) == (2, {"seed": 1})
    write_run_report(layout, report(b="done", c="done"))
    assert stages(layout)["verb"] == {"a": "done", "b": "done", "c": "done"}
    assert files(layout) == ["other", "verb", "verb"], "nothing of the second was left"


def test_who_saw_a_slide_in_progress_does_not_undo_its_end(layout):
    write_run_report(layout, report(a=ELSEWHERE, b=ELSEWHERE))
    assert stages(layout)["verb"] == {"a": ELSEWHERE, "b": ELSEWHERE}
    write_run_report(layout, report(a="done"))
    write_run_report(layout, report(a=ELSEWHERE))
    assert stages(layout)["verb"] == {"a": "done", "b": ELSEWHERE}


def test_a_report_of_an_older_version_is_kept(layout):
    slides = [{"slide_id": name, "status": "failed", "detail": "x"} for name in "ab"]
    old = {
        "python": "3.11",
        "stages": {"verb": {"settings": {}, "num_failed": 2, "slides": slides}},
    }
    layout.run_report.write_text(json.dumps(old))
    write_run_report(layout, report(a="done"))
    assert stages(layout)["verb"] == {"b": "failed", "a": "done"}
    write_run_report(layout, report("other", a="done"))
    assert stages(layout)["verb"] == {"b": "failed", "a": "done"}


@pytest.mark.parametrize("spoilt", ["", "[]", "{}", '{"stages": 3}', '{"stages": {"verb": []}}'])
def test_what_is_spoilt_is_left_alone(layout, spoilt):
    layout.run_report.write_text(spoilt)
    layout.runs.mkdir()
    (layout.runs / "verb-x.json").write_text(spoilt)
    write_run_report(layout, report(a="done"))
    assert stages(layout) == {"verb": {"a": "done"}}
    assert (layout.runs / "verb-x.json").read_text() == spoilt


def test_a_report_that_finds_no_room_is_a_warning(layout, monkeypatch):
    def refuse(*_):
        raise OutputError("no room left")

    monkeypatch.setattr("slidenet.pipelines.cohort.run.write_run_report", refuse)
    work = SimpleNamespace(layout=layout, unit="slide", time_limit_s=None)
    report = run_cohort("verb", [], work)
    assert (report.notes, report.exit_code) == (("warning: no room left",), 0)


def test_who_wrote_first_looks_again(layout, monkeypatch):
    """Another process ends between the reading of the files and the writing of the view."""
    real = run_files._merge

    def late(runs):
        monkeypatch.setattr(run_files, "_merge", real)
        view = real(runs)
        write_run_report(layout, report(b="done"))
        return view

    monkeypatch.setattr(run_files, "_merge", late)
    write_run_report(layout, report(a="done"))
    assert stages(layout)["verb"] == {"a": "done", "b": "done"}


def test_many_processes_at_once_lose_nothing(layout):
    start = threading.Barrier(8)

    def end(number):
        start.wait()
        write_run_report(layout, report(**{f"s{number}": "done"}))

    threads = [threading.Thread(target=end, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stages(layout)["verb"] == {f"s{number}": "done" for number in range(8)}
