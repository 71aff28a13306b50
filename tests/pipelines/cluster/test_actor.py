"""The actor as a plain object: what it says stays until it has arrived, and it stops when told."""

import logging
import pickle
import threading
from dataclasses import dataclass

import pytest

from slidenet.core.errors import WorkerError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cluster import actor
from slidenet.pipelines.cluster.actor import Outbox, Surroundings, WorkerActor
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.report import SlideOutcome
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fleet.messages import Advanced, Take, Unfit, WantsSlide


def test_messages_stay_until_they_have_arrived():
    outbox = Outbox()
    assert outbox.after(0, 0.0) == []
    outbox.put("a")
    outbox.put("b")
    assert outbox.after(0, 0.0) == outbox.after(0, 0.0) == [(1, "a"), (2, "b")]
    outbox.put("c")
    assert outbox.after(2, 0.0) == [(3, "c")]
    assert outbox.after(3, 0.0) == []
    threading.Timer(0.05, outbox.put, ["d"]).start()
    assert outbox.after(3, 60.0) == [(4, "d")]


def test_signs_of_progress_are_gathered(monkeypatch):
    monkeypatch.setattr(actor, "GATHER_S", 0.05)
    outbox, step = Outbox(), Advanced(8, False)
    outbox.put(step)
    outbox.put(step)
    assert outbox.after(0, 60.0) == [(1, step), (2, step)]
    monkeypatch.setattr(actor, "GATHER_S", 60.0)
    outbox.put(step)
    outbox.put("ended")  # nothing waits with what somebody waits for
    assert outbox.after(2, 60.0) == [(3, step), (4, "ended")]


NOWHERE = Surroundings("/nowhere", ["/nowhere"])


@dataclass(frozen=True)
class Work(SlideWork):
    layout: OutputLayout

    def __call__(self, row, progress):
        progress.advance(3)
        if row.slide_id == "endless":
            while True:
                progress.advance(0)
        logging.getLogger("slidenet.test").warning("%s is odd", row.slide_id)
        return SlideResult(self.layout.root / f"{row.slide_id}.h5", "made")


@dataclass(frozen=True)
class Exhausted(Work):
    def claimed(self, row):
        raise SystemExit("no thread can be started")


class Listener:
    """Hears an actor until it says something of a kind."""

    def __init__(self, actor):
        self.actor, self.arrived, self.heard = actor, 0, []

    def until(self, kind):
        while True:
            for number, message in self.actor.hear(self.arrived, 60.0):
                self.arrived = number
                self.heard.append(message)
            found = [message for message in self.heard if isinstance(message, kind)]
            if found:
                self.heard.clear()
                return found[0]


def test_an_actor_works_answers_count_once_and_it_stops_in_a_slide(tmp_path):
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    one = WorkerActor()
    line = Listener(one)
    try:
        one.begin(pickle.dumps(Work(OutputLayout(tmp_path))), (), NOWHERE, logging.INFO)
        line.until(WantsSlide)
        one.answer(1, Take(SlideRow("a", "a.svs")))
        one.answer(1, Take(SlideRow("a", "a.svs")))  # sent again, as the reply was lost
        assert line.until(SlideOutcome).output == "a.h5"
        one.answer(2, Take(SlideRow("endless", "b.svs")))
        line.until(Advanced)
        one.stop(60.0)
        assert not one._thread.is_alive()
    finally:
        root.setLevel(before)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
        logging.captureWarnings(False)


def test_an_actor_that_lacks_a_module_says_so(tmp_path):
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    one = WorkerActor()
    try:
        one.begin(b"cnowhere_at_all\nWork\n.", (), NOWHERE, logging.INFO)
        found = Listener(one).until(Unfit)
        assert found.reason == "ModuleNotFoundError: No module named 'nowhere_at_all'"
    finally:
        root.setLevel(before)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
        logging.captureWarnings(False)


def test_an_actor_whose_work_breaks_does_not_live_on_in_silence(tmp_path, capsys):
    root = logging.getLogger()
    before, handlers = root.level, list(root.handlers)
    one = WorkerActor()
    line = Listener(one)
    try:
        one.begin(pickle.dumps(Exhausted(OutputLayout(tmp_path))), (), NOWHERE, logging.INFO)
        line.until(WantsSlide)
        one.answer(1, Take(SlideRow("a", "a.svs")))
        one._thread.join()
        with pytest.raises(WorkerError, match="SystemExit: no thread can be started"):
            one.hear(100, 0.0)  # when all it said has arrived
    finally:
        root.setLevel(before)
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
        logging.captureWarnings(False)
