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
    """One simulated run.

    Where the disk gives what it is asked for, the end of all that a node begins is known at once.
    Else the rates of all nodes change with every event.
    """

    def __init__(
        self, cohort: Cohort, cluster: Cluster, source: Source, rng: np.random.Generator
    ) -> None:
        nodes = cluster.nodes
        self._cluster, self._source, self._rng = cluster, source, rng
        self._speeds = cluster.speeds()
        self._disk_is_shared = cluster.disk_tiles_per_s < self._speeds.sum()
        self._now, self._not_done = 0.0, len(cohort.tiles)
        self._phase = [Phase.HEAD] * nodes
        self._since = [0.0] * nodes
        self._until = np.full(nodes, float(cluster.start_s))
        self._left = np.full(nodes, np.inf)  # tiles, kept up to date where the disk is shared
        self._fails_at = self._lives(nodes)
        self._slide: list[int | None] = [None] * nodes
        self._tiles_left = cohort.tiles.copy()
        unknown = np.full(len(cohort.tiles), np.nan)
        self._result = Outcome(0.0, unknown, unknown.copy())

    def _lives(self, count: int) -> np.ndarray:
        if np.isinf(self._cluster.node_life_s):
            return np.full(count, np.inf)
        return self._now + self._rng.exponential(self._cluster.node_life_s, count)

    def to_the_end(self) -> Outcome:
        """All events, one after the other."""
        failing = int(self._fails_at.argmin())
        while self._not_done:
            if self._disk_is_shared:
                self._share_disk()
            node = int(self._until.argmin())
            if self._fails_at[failing] < self._until[node]:
                self._pass_time(self._fails_at[failing])
                self._fail(failing)
                failing = int(self._fails_at.argmin())
                continue
            assert self._until[node] < np.inf, "nobody is left to do what is left"
            self._pass_time(self._until[node])
            if self._next_phase(node):
                failing = int(self._fails_at.argmin())
        for node in range(self._cluster.nodes):
            self._count(node)
        self._result.lasted_s = float(self._now)
        return self._result

    def _share_disk(self) -> None:
        """When the tiles of each node will be done, as far as it is known now."""
        at_work = self._left < np.inf
        rates = np.where(at_work, self._speeds, 0.0)
        self._rates = fair_share(rates, self._cluster.disk_tiles_per_s)
        self._until[at_work] = self._now + self._left[at_work] / self._rates[at_work]

    def _pass_time(self, moment: float) -> None:
        if self._disk_is_shared:
            self._left -= self._rates * (moment - self._now)
        self._now = moment

    def _next_phase(self, node: int) -> bool:
        """What a node does when what it was at has ended; says whether it came back to life."""
        slide, slide_s = self._slide[node], self._cluster.slide_s
        if self._phase[node] == Phase.DOWN:
            self._enter(node, Phase.HEAD, self._cluster.start_s)
            self._fails_at[node] = self._lives(1)[0]
            return True
        if slide is not None and self._phase[node] == Phase.HEAD:
            self._result.began_s[slide] = self._now - slide_s
            self._result.overhead -= slide_s
            self._result.worked += slide_s
            self._enter(node, Phase.TILES, self._tiles_left[slide] / self._speeds[node])
            self._left[node] = self._tiles_left[slide]
            return False
        if slide is not None:
            self._result.ended_s[slide] = self._now
            self._not_done -= 1
            self._left[node] = 0.0
        self._ask(node)
        return False

    def _ask(self, node: int) -> None:
        """Asks for the next slide."""
        answer = self._source.take(node, self._now)
        if isinstance(answer, Turn):
            self._result.looks += answer.looks
            self._enter(node, Phase.HEAD, answer.after_s + self._cluster.slide_s)
            self._slide[node] = answer.slide
        else:  # nothing now, or nothing any more unless a node fails
            self._enter(node, Phase.IDLE, np.inf if answer is None else answer - self._now)

    def _fail(self, node: int) -> None:
        """A node fails: its slide goes back, and idle nodes may ask for it."""
        slide, is_at_tiles = self._slide[node], self._phase[node] == Phase.TILES
        self._result.failures += 1
        if slide is not None and is_at_tiles:
            if not self._disk_is_shared:
                passed = self._now - self._since[node]
                self._left[node] = self._tiles_left[slide] - passed * self._speeds[node]
            done = (self._tiles_left[slide] - self._left[node]) / self._speeds[node]
            lost = self._cluster.slide_s + (0.0 if self._cluster.keeps_rows else done)
            self._result.lost += lost
            self._result.worked -= lost
        self._enter(node, Phase.DOWN, self._cluster.repair_s)
        self._fails_at[node] = np.inf
        self._source.lost(node, slide, self._now)
        for other, phase in enumerate(self._phase):
            if phase == Phase.IDLE:
                self._until[other] = self._now

    def _enter(self, node: int, phase: Phase, lasts: float) -> None:
        """Ends what a node was at; what it had of a slide is kept where rows are."""
        self._count(node)
        if self._phase[node] == Phase.TILES:
            slide = self._slide[node]
            if self._cluster.keeps_rows:
                self._tiles_left[slide] = self._left[node]
            self._left[node] = np.inf
        if phase != Phase.TILES:
            self._slide[node] = None
        self._phase[node], self._since[node] = phase, self._now
        self._until[node] = self._now + lasts

    def _count(self, node: int) -> None:
        """Adds what a node was at until now to the sums."""
        passed, phase, result = self._now - self._since[node], self._phase[node], self._result
        if phase == Phase.TILES:
            own = passed
            if self._disk_is_shared:
                tiles = self._tiles_left[self._slide[node]] - self._left[node]
                own = tiles / self._speeds[node]
            result.worked += own
            result.disk += passed - own
        elif phase == Phase.HEAD:
            result.overhead += passed
        elif phase == Phase.DOWN:
            result.down += passed
        else:
            result.idle += passed
