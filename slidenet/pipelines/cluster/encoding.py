"""Machines without GPU decode, GPUs encode: actors hold the weights, and workers feed them.

A worker on any machine reads, decodes, shrinks and writes its slides as ever; only the engine of
its tile encoder is elsewhere (`FedEngine`). A batch is the same tiles in the same order as in one
process, so its features have the same bytes, and a worker has as many batches on their way as its
stream has threads. An actor that dies is started again, and asked again what it did not answer.
"""

import itertools
import pickle
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from slidenet.core.arrays import FloatArray, UInt8Array
from slidenet.core.errors import ConfigError, SystemFaultError
from slidenet.pipelines.cluster.actor import Surroundings
from slidenet.pipelines.cluster.facts import MachineFacts
from slidenet.pipelines.cluster.joining import import_ray
from slidenet.pipelines.cluster.seats import Node
from slidenet.pipelines.cluster.worker import in_words
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.tile_encoders.engines import Engine, EngineName
from slidenet.weights.device import available_cores

if TYPE_CHECKING:
    from torch import Tensor

    from slidenet.tile_encoders import TileEncoder

BATCHES_ON_THEIR_WAY = 2
"""Of each worker: one that is computed, and one that is sent meanwhile."""

RESTARTS = 4
LATE_S = 120.0
"""After so long another encoder is asked: one whose node is gone waits for another GPU, maybe for
ever."""
STARTING_S = 600.0
"""So long an encoder may take to begin: weights of gigabytes have to reach its machine."""


@runtime_checkable
class FedWork(Protocol):
    """Work whose tile encoder may be elsewhere."""

    @property
    def encoder(self) -> "TileEncoder":
        """What it encodes with."""

    def fed_to(self, encoder: "TileEncoder") -> SlideWork:
        """The same work with another place for the encoder."""


def encoder_of(work: SlideWork) -> "TileEncoder | None":
    """The tile encoder of a work that may be fed, also of one that another work wraps."""
    if isinstance(work, FedWork):
        return work.encoder
    inner = getattr(work, "work", None)
    return None if inner is None else encoder_of(inner)


def fed_to(work: SlideWork, encoder: "TileEncoder") -> SlideWork:
    """The same work with another place for the encoder that `encoder_of` gives."""
    if isinstance(work, FedWork):
        return work.fed_to(encoder)
    wrapping: Any = work
    fed: SlideWork = replace(wrapping, work=fed_to(wrapping.work, encoder))
    return fed


class EncoderActor:
    """Holds the weights of a tile encoder on a GPU.

    Args:
        encoder: A list of one reference to a pickle of it, so that it is asked for anew by an actor
            that is started again.
        there: Of the process of the command.
    """

    def __init__(self, encoder: Sequence[Any], there: Surroundings) -> None:
        there.enter()
        self._encoder: TileEncoder = pickle.loads(import_ray().get(encoder[0]))

    def facts(self) -> MachineFacts:
        """What its machine says of itself."""
        return MachineFacts.here()

    def run(self, images: UInt8Array, channels_last: bool) -> FloatArray:
        """Features, float32 (B, D), of prepared images.

        Args:
            images: uint8 (B, 3, H, W), or (B, H, W, 3) where they are `channels_last`.
            channels_last: How they lie in memory, which last bits of features may depend on.
        """
        import torch

        engine = self._encoder.engine
        if self._encoder.device.type == "cpu":  # as in a TileStream: a batch on each thread
            torch.set_num_threads(max(1, available_cores() // engine.num_parallel))
        found = torch.from_numpy(images.copy())
        features = engine.run(found.permute(0, 3, 1, 2) if channels_last else found)
        array: FloatArray = features.float().cpu().numpy()
        return array


class FedEngine(Engine):
    """Sends batches to encoders elsewhere, to the one that has fewest of this process.

    Args:
        names: Of the actors.
        name: Of the engine that they run.
        version: Of its library.
        batch_size: Images of a call.
    """

    def __init__(
        self, names: Sequence[str], name: EngineName, version: str, batch_size: int
    ) -> None:
        self.name, self.version, self.batch_size = name, version, batch_size
        self.num_parallel = BATCHES_ON_THEIR_WAY
        self._names = list(names)
        self._sent: Counter[str] = Counter()
        self._turn = itertools.cycle(range(len(self._names)))
        self._choosing = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return (FedEngine, (self._names, self.name, self.version, self.batch_size))

    def run(self, images: "Tensor") -> "Tensor":
        """See `Engine.run`.

        Raises:
            SystemFaultError: No encoder is left.
        """
        import torch

        ray = import_ray()
        channels_last = images.is_contiguous(memory_format=torch.channels_last)
        lying = images.permute(0, 2, 3, 1) if channels_last else images
        pixels = ray.put(lying.contiguous().numpy())
        while True:
            name, late = self._take(), False
            try:
                answer = ray.get_actor(name).run.remote(pixels, channels_last)
                late = len(self._names) > 1 and not ray.wait([answer], timeout=LATE_S)[0]
                if not late:
                    return torch.from_numpy(ray.get(answer).copy())
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except (ray.exceptions.RayActorError, ValueError):  # it is gone for good
                with self._choosing:
                    self._names = [one for one in self._names if one != name]
            finally:
                with self._choosing:  # one that is late keeps it, so that others come first
                    self._sent[name] -= not late

    def _take(self) -> str:
        with self._choosing:
            if not self._names:
                raise SystemFaultError(
                    "no encoder of the cluster is left",
                    expected="nodes with GPUs that stay",
                    remedy="see the logs of Ray on them, and run the same command again",
                )
            # So that workers do not all begin with the same one.
            first = next(self._turn) % len(self._names)
            order = [*self._names[first:], *self._names[:first]]
            chosen = min(order, key=lambda name: self._sent[name])
            self._sent[chosen] += 1
            return chosen


@dataclass(frozen=True, eq=False)
class Encoders:
    """Encoders that live.

    Attributes:
        actors: One for each GPU.
        weights: The reference to what they were made of; without it none can be started again.
    """

    actors: Sequence[Any]
    weights: Any


def start_encoders(
    ray: ModuleType, encoder: "TileEncoder", nodes: Sequence[Node], here: MachineFacts
) -> tuple["Encoders", "TileEncoder"]:
    """Starts an encoder on every GPU.

    Args:
        ray: The module, in the cluster.
        encoder: The encoder.
        nodes: The nodes; those without a GPU get none.
        here: Facts of the machine of the command.

    Returns:
        What is to be kept while it is used (the actors, and their weights), and the encoder as
        workers without its weights take it.

    Raises:
        ConfigError: A node is not fit for it.
    """
    import torch
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    weights, names = ray.put(pickle.dumps(encoder, protocol=5)), list[str]()
    actors = list[Any]()
    for node in nodes:
        for _ in range(min(node.gpus, node.cores)):
            names.append(f"slidenet-encoder-{secrets.token_hex(8)}")
            actors.append(
                ray.remote(EncoderActor)
                .options(
                    name=names[-1],
                    num_cpus=1,
                    num_gpus=1,
                    max_concurrency=encoder.engine.num_parallel,
                    max_restarts=RESTARTS,
                    max_task_retries=RESTARTS,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=True),
                )
                .remote([weights], Surroundings.here())
            )
    try:
        for facts in ray.get([actor.facts.remote() for actor in actors], timeout=STARTING_S):
            if unfit := here.forbids(facts):
                raise ConfigError(
                    f"the node {facts.host} cannot encode ({'; '.join(unfit)})",
                    expected="the same Python, Ray, slidenet and plug-ins on all machines",
                )
    except (ray.exceptions.RayError, ConfigError) as error:
        for actor in actors:
            ray.kill(actor)
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"the encoder cannot be started on the GPUs of the cluster ({in_words(error)})",
            expected="the encoder's package on all machines, and memory for it on each GPU",
        ) from error
    engine = encoder.engine
    fed = encoder.with_engine(FedEngine(names, engine.name, engine.version, engine.batch_size))
    fed.module, fed.device = torch.nn.Identity(), torch.device("cpu")
    return Encoders(actors, weights), fed
