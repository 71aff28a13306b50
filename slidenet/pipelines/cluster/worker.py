"""An actor of the cluster as the process of the command sees it."""

import logging
import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from slidenet.core.errors import WorkerError
from slidenet.pipelines.cluster.actor import Surroundings, WorkerActor
from slidenet.pipelines.cluster.facts import MachineFacts
from slidenet.pipelines.cluster.seats import Cores, Seat, nodes_of
from slidenet.pipelines.fleet.messages import Stop, Unfit
from slidenet.pipelines.fleet.workers import STOPPING_S, Heard, Worker
from slidenet.slides.isolation.messages import LogLine

_log = logging.getLogger(__name__)

HEAR_S = 10.0
UNREACHABLE_S = 60.0
"""After so long an actor that cannot be reached is given up. If it lives, it holds its claims."""
LEAVING_S = 2.0
"""So long after one of its workers a node may be seen to leave."""

_CALLS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class Office:
    """What all workers of a run have in common.

    Attributes:
        ray: The module, in the cluster.
        work: The pickled work, as an object of the cluster.
        facts: Of the machine of the command.
        cores: Which cores are whose.
        heard: Gets what the workers say.
    """

    ray: ModuleType
    work: Any
    facts: MachineFacts
    cores: Cores
    heard: Heard


class RayWorker(Worker):
    """An actor in its seat; it begins as soon as the cluster has room for it.

    Args:
        name: Tells it from the others.
        seat: Where.
        office: What it shares with the others.

    Attributes:
        seat: As given.
    """

    def __init__(self, name: str, seat: Seat, office: Office) -> None:
        super().__init__(name)
        self.seat = seat
        self._office = office
        self._reason = "it ended without a word"
        self._killed = False
        self._answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._stopping: Any = None
        self._ended = threading.Event()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(node_id=seat.node_id, soft=False)
        self._actor: Any = (
            office.ray.remote(WorkerActor)
            .options(
                num_cpus=seat.cores,
                num_gpus=seat.gpus,
                max_concurrency=_CALLS_AT_ONCE,
                max_restarts=0,
                scheduling_strategy=here,
            )
            .remote()
        )
        threading.Thread(target=self._listen, name="cluster", daemon=True).start()
        threading.Thread(target=self._speak, name="cluster-words", daemon=True).start()

    def send(self, message: object) -> None:
        """Says something; of one that has ended, the end is heard."""
        if isinstance(message, Stop):
            self._stopping = self._actor.stop.remote(STOPPING_S / 2)
        else:
            self._answers.put(message)

    def kill(self) -> None:
        """Ends it now."""
        self._killed = True
        self._office.ray.kill(self._actor)

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time, once it was told to."""
        if self._stopping is not None and not self._ended.is_set():
            self._office.ray.wait([self._stopping], timeout=max(0.0, seconds))
            self.kill()  # what it had to tidy up is tidied up, or never will be
        return self._ended.wait(max(1.0, seconds))

    def ending(self) -> str:
        """How it ended."""
        return self._reason

    def _listen(self) -> None:
        """Starts it, and passes on what it says until it ends."""
        errors, taken, facts = self._office.ray.exceptions, tuple[int, ...](), None
        try:
            facts = self._ask(self._actor.facts)
            unfit = self._office.facts.forbids(facts)
            if unfit:
                self._say(Unfit("; ".join(unfit)))
                return
            doubts = self._office.facts.doubts(facts)
            if doubts:
                _log.warning(
                    "%s (%s): %s; the last bits of features may differ",
                    *(self.name, facts.host, ", ".join(doubts)),
                )
            taken = self._office.cores.take(facts.place, facts.cores, self.seat.cores)
            level = logging.getLogger().getEffectiveLevel()
            self._ask(self._actor.begin, self._office.work, taken, Surroundings.here(), level)
            arrived = 0
            while True:
                messages = self._ask(self._actor.hear, arrived, HEAR_S)
                for number, message in messages:
                    arrived = number
                    if isinstance(message, LogLine):
                        logging.getLogger(message.logger).log(message.level, "%s", message.text)
                    else:
                        self._say(message)
        except errors.RayTaskError as error:
            if isinstance(error.cause, WorkerError):
                self._reason = error.cause.found
            else:  # its code cannot be loaded there
                self._say(Unfit(in_words(error)))
        except errors.RayError as error:
            self._reason = "killed" if self._killed else in_words(error)
            self.blameless |= not self._killed and self._is_lost(error)
        finally:
            if not self._killed:
                with suppress(errors.RayError, ValueError):
                    self._office.ray.kill(self._actor)
            if facts is not None:
                self._office.cores.give_back(facts.place, taken)
            self._answers.put(None)
            self._ended.set()
            self._say(None)

    def _is_lost(self, error: BaseException) -> bool:
        """Whether its node has left the cluster, or can no longer be reached."""
        if isinstance(error, self._office.ray.exceptions.ActorUnavailableError):
            return True
        if in_words(error) == LEFT:
            return True
        with suppress(self._office.ray.exceptions.RayError):
            for pause in (0.0, LEAVING_S):  # the end of a worker is told before that of its node
                time.sleep(pause)
                there = {node.node_id for node in nodes_of(self._office.ray.nodes())}
                if self.seat.node_id not in there:
                    return True
            return False
        return True

    def _say(self, message: object) -> None:
        self._office.heard.put((self, message))

    def _speak(self) -> None:
        """Sends answers one after the other; one that is lost on its way is sent again."""
        number = 0
        while (message := self._answers.get()) is not None:
            number += 1
            with suppress(self._office.ray.exceptions.RayError):  # its end is heard by the other
                self._ask(self._actor.answer, number, message)

    def _ask(self, method: Any, *arguments: object) -> Any:
        """Calls a method of the actor; once more where it cannot be reached for a moment."""
        until = time.monotonic() + UNREACHABLE_S
        while True:
            try:
                return self._office.ray.get(method.remote(*arguments))
            except self._office.ray.exceptions.ActorUnavailableError:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)


def in_words(error: BaseException) -> str:
    """What Ray says of an end, in a few words."""
    said = str(error)
    for sign, words in _ENDS.items():
        if sign in said:
            return words
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    causes = [line for line in lines if "Error:" in line]
    return (causes or lines or [type(error).__name__])[-1][:300]


LEFT = "its node left the cluster"

_ENDS = {
    "node has died": LEFT,
    "running low on memory": "its node had no memory left, and Ray ended it",
    "worker process has died": "it ended without a word: a library crashed, or the system ended it "
    "for want of memory",
}
