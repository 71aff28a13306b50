"""Workers on the nodes of a Ray cluster, which together drain one list of slides.

Ray Core, not Ray Data: a slide is the unit that is claimed, written, resumed and reported, by one
writer, and the bytes of its features depend on how its tiles fall into batches.
"""

import logging
import time
from types import TracebackType
from typing import Self

from slidenet.core.errors import ConfigError, WorkerError
from slidenet.core.text import count_of
from slidenet.pipelines.cluster.encoding import Encoders, encoder_of, fed_to, start_encoders
from slidenet.pipelines.cluster.facts import MachineFacts
from slidenet.pipelines.cluster.joining import check_address, join
from slidenet.pipelines.cluster.seats import Cores, Seat, free_name, nodes_of, seats_of
from slidenet.pipelines.cluster.worker import Office, RayWorker
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.pipelines.fleet.runner import pickled
from slidenet.pipelines.fleet.workers import Worker, WorkersRunner
from slidenet.tile_encoders import TileEncoder

_log = logging.getLogger(__name__)

LONG_S = 30.0
"""After so long without a worker that has begun, it is said what is waited for."""
ALONE_S = 600.0
"""So long a run waits for a node where none is left."""


class RayRunner(WorkersRunner):
    """Hands slides to actors on the nodes of a cluster; nodes may leave, come and return.

    What a node was working on when it left is tried again elsewhere; that is no slide's fault.

    Args:
        work: What they do.
        address: `host:port` of the cluster, "auto", or None for one of this machine alone.
        cores: Cores of a worker; None: as `seats_of` says.
        apart: Whether GPUs only encode, and workers on all nodes read and write; None: where the
            work is on GPUs, allows it, and nodes without a GPU can help.

    Raises:
        ConfigError: The work cannot be sent to another process, or that is no address.
    """

    flag = "--runner ray"

    def __init__(
        self,
        work: SlideWork,
        address: str | None = None,
        *,
        cores: int | None = None,
        apart: bool | None = None,
    ) -> None:
        super().__init__(work)
        check_address(address)
        self._pickled = pickled(work, self.flag)
        self._apart = apart
        self._encoders: Encoders | None = None
        self._address, self._cores = address, cores
        self._on_gpus = work.device.partition(":")[0] == "cuda"
        self._first_nodes: set[str] = set()
        self._left_out: set[str] = set()
        self._since = self._told = 0.0

    def __enter__(self) -> Self:
        """Joins the cluster.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: There is no such cluster, or it has no room for any worker.
            WorkerError: Ray cannot be started on this machine.
        """
        ray = join(self._address)
        self._ray = ray
        facts, cores = MachineFacts.here(), Cores()
        self._tell_apart(facts)
        self._office = Office(ray, ray.put(self._pickled), facts, cores, self.heard)
        self._pickled = b""
        seats = self._seats()
        self._first_nodes = {seat.node_id for seat in seats}
        self._since = time.monotonic()
        if not seats:
            self._end_encoders()
            what = "a GPU" if self._on_gpus else f"{self._cores or 1} free cores"
            raise ConfigError(
                f"no node of the cluster has {what} for a worker",
                expected="nodes started with --num-gpus" if self._on_gpus else "nodes with cores",
                remedy="add a node, give fewer --worker-cores, or give --device cpu",
            )
        _log.info(
            "%s on %s",
            *(count_of("worker", len(seats)), count_of("node", len(self._first_nodes))),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._end_encoders()

    def _end_encoders(self) -> None:
        for encoder in () if self._encoders is None else self._encoders.actors:
            self._ray.kill(encoder)

    def _tell_apart(self, facts: MachineFacts) -> None:
        """Lets GPUs encode for workers on all nodes, where that is asked for or helps.

        Raises:
            ConfigError: A node with a GPU is not fit for it.
        """
        nodes, work = nodes_of(self._ray.nodes()), self._work
        helped = any(node.gpus for node in nodes) and any(
            node.cores and not node.gpus for node in nodes
        )
        # An encoder of another package may run its module in a way of its own.
        encoder = encoder_of(work)
        able = type(encoder) is TileEncoder
        self._apart = self._on_gpus and helped and able if self._apart is None else self._apart
        if self._apart:
            assert encoder is not None, "the work has an encoder"
            self._encoders, fed = start_encoders(self._ray, encoder, nodes, facts)
            self._pickled, self._on_gpus = pickled(fed_to(work, fed), self.flag), False
            encoders = count_of("encoder", len(self._encoders.actors))
            _log.info("%s, fed by workers on all nodes", encoders)
        elif not self._on_gpus and any(node.gpus for node in nodes) and able:
            _log.warning(
                "the cluster has GPUs, and this run uses none: its encoder is on the CPU of this "
                "machine; start the command on a node with a GPU to use those of all"
            )

    def start_workers(self, count: int) -> None:
        """See `WorkersRunner`; an actor in each seat that has none."""
        taken = {
            (worker.seat.node_id, worker.seat.number)
            for worker in self.workers
            if isinstance(worker, RayWorker)
        }
        free = [seat for seat in self._seats() if (seat.node_id, seat.number) not in taken]
        for seat in free[:count]:
            name = free_name(seat.address, [worker.name for worker in self.workers])
            self.workers.append(RayWorker(name, seat, self._office))

    def ended_before_it_began(self, worker: Worker) -> None:
        """See `WorkersRunner`: its node is used no more, until it has left and returned."""
        assert isinstance(worker, RayWorker)
        node_id = worker.seat.node_id
        there = {node.node_id for node in nodes_of(self._ray.nodes())}
        if node_id in self._left_out or node_id not in there:
            return  # told before, or the node has left
        self._left_out.add(node_id)
        if not self.workers and not self._seats():
            raise WorkerError(
                f"no worker could begin; the last one, on {worker.name}, ended before "
                f"({worker.ending()})",
                expected="memory for a copy of the model on each node",
                remedy="see the logs of Ray on that node, or give more --worker-cores, which makes "
                "fewer workers",
            )
        _log.warning(
            "%s is used no more: a worker ended there before it began (%s)",
            *(worker.name, worker.ending()),
        )

    def unfit(self, worker: Worker, reason: str) -> None:
        """See `WorkersRunner`: fatal on a node of the beginning, a warning on one that came later.

        Raises:
            ConfigError: The node was there when the run began.
        """
        assert isinstance(worker, RayWorker)
        if worker.seat.node_id in self._first_nodes:
            raise ConfigError(
                f"the node {worker.name} cannot do the work ({reason})",
                expected="the same Python, Ray, slidenet and plug-ins on all machines",
                remedy="install the same environment everywhere, and put encoders and readers of "
                "your own into a module that is installed there",
            )
        self._left_out.add(worker.seat.node_id)
        worker.kill()  # nobody shall wait for it to begin
        _log.warning("%s, which came later, is not used: %s", worker.name, reason)

    def look(self) -> None:
        """Says what is waited for, where no worker has begun for long.

        Raises:
            WorkerError: The cluster has had no node for this work for ten minutes.
        """
        now = time.monotonic()
        if any(worker.ready for worker in self.workers):
            self._since, self._told = now, 0.0
            return
        if not self.workers and now - self._since > ALONE_S:
            raise WorkerError(
                f"the cluster has had no node for this work for {ALONE_S:g} s",
                expected="nodes that stay, or return",
                remedy="run the same command again: what is done stays done",
            )
        if not self._told and now - self._since > LONG_S:
            self._told = now
            _log.warning(
                "waiting for the cluster: %s",
                "no node is left"
                if not self.workers
                else f"{count_of('worker', len(self.workers))} cannot begin yet; other jobs may "
                "hold its cores",
            )

    def _seats(self) -> list[Seat]:
        nodes = [n for n in nodes_of(self._ray.nodes()) if n.node_id not in self._left_out]
        return seats_of(
            nodes, on_gpus=self._on_gpus, cores=self._cores, beside_gpus=self._encoders is not None
        )
