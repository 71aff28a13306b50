"""Where in a cluster workers may be: by the cores and GPUs that its nodes say they have."""

import itertools
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

USUAL_CORES = 8
"""Cores of a worker where nothing else is said: with more, threads wait for Python."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a cluster that lives.

    Attributes:
        node_id: As the cluster names it; a node that returns has another one.
        address: IP address.
        cores: Cores that the cluster may give away.
        gpus: GPUs likewise.
    """

    node_id: str
    address: str
    cores: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Seat:
    """Room for one worker.

    Attributes:
        node_id: Of its node.
        number: Which one of the node.
        address: IP address of its node.
        cores: How many are its own.
        gpus: 1 where it has a GPU of its own.
    """

    node_id: str
    number: int
    address: str
    cores: int
    gpus: int


def nodes_of(described: Iterable[Mapping[str, Any]]) -> list[Node]:
    """The nodes that live, of what `ray.nodes()` says; in a lasting order."""
    found = [
        Node(
            one["NodeID"],
            one["NodeManagerAddress"],
            int(one["Resources"].get("CPU", 0)),
            int(one["Resources"].get("GPU", 0)),
        )
        for one in described
        if one["Alive"]
    ]
    return sorted(found, key=lambda node: (node.address, node.node_id))


def seats_of(
    nodes: Sequence[Node],
    *,
    on_gpus: bool = False,
    cores: int | None = None,
    beside_gpus: bool = False,
) -> list[Seat]:
    """The seats of nodes, the first of each node first, so that few workers are spread widely.

    Args:
        nodes: The nodes.
        on_gpus: One for each GPU, and none where there is no GPU; else one for each group of cores.
        cores: Cores of a worker; None: `USUAL_CORES`, or all of a smaller node.
        beside_gpus: Leave a core for each GPU, which something else uses.
    """
    if beside_gpus:
        nodes = [replace(node, cores=max(0, node.cores - node.gpus)) for node in nodes]
    found: list[Seat] = []
    for node in nodes:
        if on_gpus:
            count = min(node.gpus, node.cores)
            each = cores or max(1, node.cores // max(1, count))
            count = min(count, node.cores // each)
        else:
            each = cores or min(node.cores, USUAL_CORES) or 1
            count = node.cores // each
            each = cores or node.cores // max(1, count)
        found += [
            Seat(node.node_id, number, node.address, each, int(on_gpus)) for number in range(count)
        ]
    return sorted(found, key=lambda seat: seat.number)


def free_name(address: str, taken: Collection[str]) -> str:
    """`10.0.0.5`, `10.0.0.5 (2)`: the first name of a worker there that no other one has."""
    names = (address if n == 1 else f"{address} ({n})" for n in itertools.count(1))
    return next(name for name in names if name not in taken)


class Cores:
    """Which cores of each machine are whose: workers of one machine shall not share one.

    A machine may hold several nodes of the cluster, which know nothing of each other. Threads may
    share it.
    """

    def __init__(self) -> None:
        self._taken: dict[str, dict[int, int]] = {}
        self._lock = threading.Lock()

    def take(self, place: str, there: Sequence[int], count: int) -> tuple[int, ...]:
        """So many cores of a machine, those that fewest workers have; fewer where it has fewer.

        Args:
            place: Names the machine.
            there: The cores that a process of the node may use.
            count: How many.
        """
        with self._lock:
            taken = self._taken.setdefault(place, {})
            chosen = sorted(there, key=lambda core: (taken.get(core, 0), core))[:count]
            for core in chosen:
                taken[core] = taken.get(core, 0) + 1
        return tuple(sorted(chosen))

    def give_back(self, place: str, cores: Sequence[int]) -> None:
        """Gives them to the next ones."""
        with self._lock:
            for core in cores:
                self._taken[place][core] -= 1
