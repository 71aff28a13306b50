"""The events: nodes start, take slides, share the disk, fail and come back."""

from enum import IntEnum

import numpy as np

from cluster_simulation.model import Cluster, Cohort, Outcome
from cluster_simulation.sources import Source, Turn


class Phase(IntEnum):
    """What a node is at."""

    DOWN = 0
    HEAD = 1  # what comes before tiles: a start, being handed a slide, opening it
    TILES = 2
    IDLE = 3


def simulate(
    cohort: Cohort, cluster: Cluster, source: Source, rng: np.random.Generator | None = None
) -> Outcome:
    """Runs until all slides are done.

    Args:
        cohort: The slides.
        cluster: The machines.
        source: Who hands out the slides.
        rng: Draws failures; not needed where there are none.
    """
    return _Run(cohort, cluster, source, rng or np.random.default_rng(0)).to_the_end()


def fair_share(speeds: np.ndarray, limit: float) -> np.ndarray:
    """What each gets of a limited whole: nobody more than its speed, else all the same.

    Args:
        speeds: What each could take, float64 (N,).
        limit: What there is for all.
    """
    if speeds.sum() <= limit:
        return speeds
    order = np.sort(speeds)
    taken = np.concatenate([[0.0], np.cumsum(order)[:-1]])
    levels = (limit - taken) / np.arange(len(order), 0, -1)
    return np.minimum(speeds, levels[np.argmax(levels <= order)])


class _Run:
    """One simulated run."""

    def __init__(
        self, cohort: Cohort, cluster: Cluster, source: Source, rng: np.random.Generator
    ) -> None:
        nodes = cluster.nodes
        self._cohort, self._cluster, self._source, self._rng = cohort, cluster, source, rng
        self._speeds = cluster.speeds()
        self._now, self._not_done = 0.0, len(cohort.tiles)
        self._phase = np.full(nodes, Phase.HEAD)
        self._until = np.full(nodes, float(cluster.start_s))  # of every phase but TILES
        self._left = np.full(nodes, np.inf)  # tiles, in TILES
        self._rates = np.zeros(nodes)
        self._fails_at = self._lives(nodes)
        self._slide: list[int | None] = [None] * nodes
        self._spent = np.zeros(nodes)  # of the slide at hand, at the node's own speed
        self._tiles_left = cohort.tiles.copy()
        self._result = Outcome(
            0.0, np.full(len(cohort.tiles), np.nan), np.full(len(cohort.tiles), np.nan)
        )

    def _lives(self, count: int) -> np.ndarray:
        if np.isinf(self._cluster.node_life_s):
            return np.full(count, np.inf)
        return self._now + self._rng.exponential(self._cluster.node_life_s, count)

    def to_the_end(self) -> Outcome:
        """All events, one after the other."""
        while self._not_done:
            at_work = self._phase == Phase.TILES
            self._rates = np.where(at_work, self._speeds, 0.0)
            self._rates = fair_share(self._rates, self._cluster.disk_tiles_per_s)
            with np.errstate(divide="ignore"):
                ends = np.where(at_work, self._now + self._left / self._rates, self._until)
            node, failing = int(ends.argmin()), int(self._fails_at.argmin())
            fails = self._fails_at[failing] < ends[node]
            moment = self._fails_at[failing] if fails else ends[node]
            assert np.isfinite(moment), "nobody is left to do what is left"
            self._pass_time(moment)
            if fails:
                self._fail(failing)
            else:
                self._next_phase(node)
        self._result.lasted_s = self._now
        return self._result

    def _pass_time(self, moment: float) -> None:
        """Counts what the nodes are at until the moment."""
        passed, result = max(moment - self._now, 0.0), self._result
        self._now = moment
        if not passed:
            return
        tiles = self._rates * passed
        self._left -= tiles
        own = tiles / self._speeds  # s, had nothing held it back
        self._spent += own
        num = np.bincount(self._phase, minlength=len(Phase)) * passed
        result.worked += own.sum()
        result.disk += num[Phase.TILES] - own.sum()
        result.overhead += num[Phase.HEAD]
        result.down += num[Phase.DOWN]
        result.idle += num[Phase.IDLE]

    def _next_phase(self, node: int) -> None:
        """What a node does when what it was at has ended."""
        slide, slide_s = self._slide[node], self._cluster.slide_s
        if self._phase[node] == Phase.DOWN:
            self._enter(node, Phase.HEAD, self._cluster.start_s)
            self._fails_at[node] = self._lives(1)[0]
        elif slide is None:
            self._ask(node)
        elif self._phase[node] == Phase.HEAD:
            self._result.began_s[slide] = self._now - slide_s
            self._result.overhead -= slide_s
            self._result.worked += slide_s
            self._spent[node] = slide_s
            self._left[node] = self._tiles_left[slide]
            self._enter(node, Phase.TILES, np.inf)
        else:
            self._result.ended_s[slide] = self._now
            self._not_done -= 1
            self._forget(node)
            self._ask(node)

    def _forget(self, node: int) -> None:
        """The node has no slide any more."""
        self._slide[node], self._left[node], self._spent[node] = None, np.inf, 0.0

    def _enter(self, node: int, phase: Phase, lasts: float) -> None:
        self._phase[node], self._until[node] = phase, self._now + lasts

    def _ask(self, node: int) -> None:
        """Asks for the next slide."""
        answer = self._source.take(node, self._now)
        if isinstance(answer, Turn):
            self._slide[node] = answer.slide
            self._result.looks += answer.looks
            self._enter(node, Phase.HEAD, answer.after_s + self._cluster.slide_s)
        else:  # nothing now, or nothing any more unless a node fails
            self._enter(node, Phase.IDLE, np.inf if answer is None else answer - self._now)

    def _fail(self, node: int) -> None:
        """A node fails: its slide goes back, and idle nodes may ask for it."""
        slide = self._slide[node]
        self._result.failures += 1
        if slide is not None:
            if self._phase[node] == Phase.TILES and self._cluster.keeps_rows:
                self._tiles_left[slide] = self._left[node]
                self._spent[node] = self._cluster.slide_s
            self._result.lost += self._spent[node]
            self._result.worked -= self._spent[node]
        self._forget(node)
        self._fails_at[node] = np.inf
        self._source.lost(node, slide, self._now)
        self._enter(node, Phase.DOWN, self._cluster.repair_s)
        self._until[self._phase == Phase.IDLE] = self._now
