"""What people, logs and machines are told while a cohort is worked on."""

import io
import json
import sys
import threading

import pytest

from slidenet.core.errors import ConfigError
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.progress.display import (
    Display,
    JsonDisplay,
    LogDisplay,
    TerminalDisplay,
    display_of,
)
from slidenet.pipelines.progress.gathering import CohortProgress
from slidenet.pipelines.progress.meter import Meter, Reading, rate_in_words, time_in_words
from slidenet.pipelines.progress.parts import Parts
from slidenet.pipelines.progress.states import CohortState, WorkerState

READING = Reading(1200, 210.4)
STATE = CohortState(
    "embed-tiles", "tile", 98765, READING, 40, 3, 1,
    [WorkerState("cuda:0", ("a", "b"), Reading(700, 100.0)), WorkerState("cuda:1", (), READING)],
)  # fmt: skip
ALONE = CohortState(
    "preprocess", "slide", 4, Reading(1, 0.05), 4, 1, 0, [WorkerState("", ("a\x1b[2J",), READING)]
)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("slidenet.pipelines.progress.meter.time.monotonic", lambda: now[0])
    return now


def test_the_rate_is_that_of_the_last_minutes(clock):
    meter = Meter()
    meter.count(500, done_before=True)
    for _ in range(60):  # two minutes at 10 a second, then two at 1 a second
        clock[0] += 2
        meter.count(20)
        meter.read()
    assert meter.read() == Reading(1700, 10.0)
    for _ in range(300):
        clock[0] += 2
        meter.count(2)
        meter.read()
    assert meter.read().rate == pytest.approx(1.0)
    assert meter.read().seconds_left(2400) == pytest.approx(100)
    assert Reading(0, 0.0).seconds_left(5) is None


def test_words():
    assert rate_in_words(210.4, "tile") == "210 tiles/s"
    assert rate_in_words(0.05, "slide") == "3 slides/min"
    assert rate_in_words(0.001, "slide") == "3.6 slides/h"
    assert rate_in_words(0.0, "slide") == ""
    words = [time_in_words(seconds) for seconds in (0, 59.2, 600, 5 * 3600, None)]
    assert words == [
        "about 0 s left", "about 60 s left", "about 10 min left", "about 5.0 h left", ""
    ]  # fmt: skip


def test_a_log_gets_a_line(capsys):
    LogDisplay().show(STATE)
    LogDisplay().show(ALONE)
    first, second = capsys.readouterr().err.splitlines()
    assert first.partition(" ")[2] == (
        "embed-tiles: 3 of 40 slides, 1 failed, 1,200 of 98,765 tiles, 210 tiles/s, "
        "about 8 min left, at work on a, b (cuda:0)"
    )
    assert second.partition(" ")[2] == (
        r"preprocess: 1 of 4 slides, 3 slides/min, about 60 s left, at work on a\x1b[2J"
    )


def test_a_terminal_gets_a_line_for_each_process(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    display = TerminalDisplay()
    display.show(STATE)
    display.show(STATE)
    first, again = capsys.readouterr().err.split("\r")[1:]
    whole = "embed-tiles: 3 of 40 slides, 1 failed, 1,200 of 98,765 tiles (1 %), 210 tiles/s"
    assert first.replace("\x1b[K", "").removesuffix("\x1b[J").split("\n") == [
        f"{whole}, about 8 min left",
        "  cuda:0: 100 tiles/s, a, b",
        "  cuda:1: 210 tiles/s",
    ]
    assert again == "\x1b[2A" + first  # drawn over the three lines
    display.end(STATE)
    assert capsys.readouterr().err.endswith("left\x1b[J\n")
    monkeypatch.setenv("COLUMNS", "30")
    display = TerminalDisplay()
    display.show(ALONE)
    assert len(capsys.readouterr().err) < 30 + 10


def test_machines_get_lines_of_json(capsys):
    display = JsonDisplay()
    progress = CohortProgress("embed-tiles", "tile", 70, 2, display)
    progress.show_slide("é\n", worker="cuda:0")
    progress.advance(30, worker="cuda:0")
    progress.slide_ended(SlideOutcome("é\n", "failed", "no disk", seconds=2.0))
    progress.close()
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events] == ["begin", "slide_begins", "slide_ended", "end"]
    assert {event["verb"] for event in events} == {"embed-tiles"}
    begin, begins, ended, end = events
    assert (begin["unit"], begin["total"], begin["num_slides"]) == ("tile", 70, 2)
    assert (begins["slide_id"], begins["worker"]) == ("é\n", "cuda:0")
    assert (ended["status"], ended["detail"], ended["worker"]) == ("failed", "no disk", "cuda:0")
    assert (end["done"], end["slides_ended"], end["num_failed"]) == (30, 1, 1)
    assert end["workers"][0]["done"] == 30


def test_parts_are_told_when_they_begin(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")

    def told(mode):
        with Parts("plan: measuring", 2, display_of(mode)) as parts:
            parts.begin("few tiles")
            parts.turn(2, 5)
            parts.begin("writing")
        out, err = capsys.readouterr()
        assert not out
        return err.splitlines()

    assert told("none") == []
    assert [line.partition(" ")[2] for line in told("log")] == [
        "plan: measuring: 0 of 2 parts, few tiles", "plan: measuring: 1 of 2 parts, writing"
    ]  # fmt: skip
    events = [json.loads(line) for line in told("json")]
    assert [(event["event"], event.get("done"), event.get("part")) for event in events] == [
        ("begin", None, None), ("progress", 0, "few tiles"), ("progress", 1, "writing"),
        ("end", 2, None),
    ]  # fmt: skip
    assert {(event["verb"], event["total"]) for event in events} == {("plan: measuring", 2)}
    assert told("bar")[-1].endswith("plan: measuring: 2 of 2 parts (100 %)\x1b[J")

    display = JsonDisplay()
    progress = CohortProgress("plan: measuring", "part", 1, 0, display)
    progress.show_part("few tiles, turn 2 of 5", at_once=False)
    display.show(progress._state())
    progress.close()
    assert '"part": "few tiles, turn 2 of 5"' in capsys.readouterr().err


def test_a_run_that_is_silent_is_shown_all_the_same():
    shown = threading.Event()

    class Waiting(Display):
        interval_s = 0.01

        def show(self, state):
            assert state.slides_at_work == ["a"]
            shown.set()

    progress = CohortProgress("verb", "slide", 1, 1, Waiting())
    progress.show_slide("a")
    assert shown.wait(10)
    progress.slide_ended(SlideOutcome("a", "already done", ""))
    progress.close()
    assert progress._state().reading == Reading(1, 0.0)  # what was done before has no rate


def test_which_display(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert isinstance(display_of("auto"), LogDisplay)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(display_of("auto"), TerminalDisplay)
    assert isinstance(display_of("json"), JsonDisplay)
    assert type(display_of("none")) is Display
    with pytest.raises(ConfigError, match=r"progress is 'loud'; expected"):
        display_of("loud")
