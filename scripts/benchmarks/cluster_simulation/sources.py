"""Who hands out the slides: claims on one list, shards, Ray.

A source answers `take` with a `Turn` (a slide, after so many seconds), with a time to ask again at,
or with None: this node is not needed any more. It is told of nodes that failed.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cluster_simulation.model import Cohort


@dataclass(frozen=True)
class Turn:
    """A slide for a node.

    Attributes:
        slide: Its place in the list.
        after_s: What passes before work on it begins.
        looks: Slides looked at on the way that were not for this node.
    """

    slide: int
    after_s: float = 0.0
    looks: int = 0


class Source(Protocol):
    """Hands out slides."""

    def take(self, node: int, now: float) -> Turn | float | None:
        """A slide, the time to ask again at, or nothing any more."""

    def lost(self, node: int, slide: int | None, now: float) -> None:
        """A node failed, with the slide it was at."""


class OneList:
    """Nodes take the next slide of one list.

    By claims, each of them walks the list and looks at what others did before it; a slide of a node
    that failed is free when its claim is old. Ray hands out from one place, which knows.

    Args:
        cohort: The slides.
        look_s: What it takes to see that a slide is not for this node.
        hand_s: What it takes to hand out a slide, one at a time.
        free_after_s: Until the slide of a failed node is free.
        leaves: Whether a process ends when nothing is left to take, although others still work.
        places: Of the slides that are on this list; all of the cohort by default.
    """

    def __init__(
        self,
        cohort: Cohort,
        *,
        look_s: float = 0.0,
        hand_s: float = 0.0,
        free_after_s: float = 0.0,
        leaves: bool = False,
        places: np.ndarray | None = None,
    ) -> None:
        self._released = cohort.released_s
        self._places = np.arange(len(cohort.tiles)) if places is None else places
        self._look_s, self._hand_s, self._free_after_s = look_s, hand_s, free_after_s
        self._next, self._free = 0, list[tuple[float, int]]()
        self._seen: dict[int, int] = {}
        self._handing_until = 0.0
        self._leaves, self._gone = leaves, set[int]()

    def take(self, node: int, now: float) -> Turn | float | None:
        """The next slide; what failed nodes left goes first."""
        if node in self._gone:
            return None
        if self._free and self._free[0][0] <= now:
            slide = heapq.heappop(self._free)[1]
            looks = 0
        elif self._next < len(self._places):
            slide = int(self._places[self._next])
            if self._released[slide] > now:
                return float(self._released[slide])
            looks = self._next - self._seen.get(node, 0)
            self._next += 1
            self._seen[node] = self._next
        else:
            if not self._free:
                self._gone |= {node} if self._leaves else set()
                return None
            return self._free[0][0]
        self._handing_until = max(now, self._handing_until) + self._hand_s
        return Turn(slide, self._handing_until - now + looks * self._look_s, looks)

    def lost(self, node: int, slide: int | None, now: float) -> None:
        """Frees the slide; the process that starts there next walks the list from its top."""
        self._seen[node] = 0
        self._gone.discard(node)
        if slide is not None:
            heapq.heappush(self._free, (now + self._free_after_s, slide))


class Groups:
    """Some lists, each with its own nodes: shards with several jobs each.

    Args:
        lists: The lists; node i is of list i modulo their number.
    """

    def __init__(self, lists: Sequence[OneList]) -> None:
        self._lists = lists

    def take(self, node: int, now: float) -> Turn | float | None:
        """The next slide of the node's own list."""
        return self._lists[node % len(self._lists)].take(node, now)

    def lost(self, node: int, slide: int | None, now: float) -> None:
        """Tells the node's own list."""
        self._lists[node % len(self._lists)].lost(node, slide, now)


class Shards:
    """A scheduler starts a process per shard on whichever node is free; again where one failed.

    Args:
        parts: Places of the slides of each shard.
        start_s: What the start of a process takes; the first one of a node is the cluster's.
        look_s: What it takes to see that a slide is done.
    """

    def __init__(self, parts: Sequence[np.ndarray], *, start_s: float, look_s: float = 0.0) -> None:
        self._waiting = deque((part, 0) for part in parts)
        self._start_s, self._look_s = start_s, look_s
        self._running: dict[int, tuple[np.ndarray, int]] = {}
        self._is_new: set[int] = set()

    def take(self, node: int, now: float) -> Turn | float | None:
        """The next slide of the node's shard, or the first one of the next shard."""
        after_s, looks = 0.0, 0
        while True:
            if node in self._running:
                part, place = self._running[node]
                if place < len(part):
                    self._running[node] = part, place + 1
                    return Turn(int(part[place]), after_s, looks)
                del self._running[node]
            if not self._waiting:
                return None
            part, done = self._waiting.popleft()
            self._running[node] = part, done
            looks += done
            after_s += done * self._look_s
            if node in self._is_new:
                after_s += self._start_s
            self._is_new.add(node)

    def lost(self, node: int, slide: int | None, now: float) -> None:
        """Puts the shard back."""
        self._is_new.discard(node)
        if node in self._running:
            part, place = self._running.pop(node)
            self._waiting.appendleft((part, place - (slide is not None)))


def hashed_parts(num_slides: int, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shards as `--shard` makes them: each slide in any of them, with equal chance."""
    shard = rng.integers(0, count, num_slides)
    order = np.argsort(shard, kind="stable")
    return np.split(order, np.cumsum(np.bincount(shard, minlength=count))[:-1])


def chunks(num_slides: int, count: int) -> list[np.ndarray]:
    """The list cut into pieces of equal length."""
    return np.array_split(np.arange(num_slides), count)
