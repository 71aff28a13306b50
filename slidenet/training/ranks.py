"""The ranks of one run: how they meet, and that the first of them decides for all.

Ranks come to be in two ways. torchrun, srun or a person starts a process for each, on one node or
on several: these meet before anything is claimed. Or a Trainer with several devices starts the
others when its fit begins, with its own command; those cannot be asked earlier.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from time import monotonic
from types import FrameType
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities.exceptions import SIGTERMException

from slidenet.core.errors import ConfigError, LostRankError, SlidenetError
from slidenet.core.escapes import in_terminal
from slidenet.parallel.agreement import Fact, agree
from slidenet.parallel.collectives import group_device, lost_rank_explained

T = TypeVar("T")

_QUIET_S = 10.0
"""A rank that has waited so long for the others to start says so."""

_of_run = 1
"""Ranks of the run that this process has begun."""

_TRANSPORT_WORDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")


def meet_ranks(trainer: Trainer) -> None:
    """Makes this process the rank that it is, and waits for the others where all were started.

    Args:
        trainer: With the devices, nodes and strategy of the run.

    Raises:
        ConfigError: Other processes were started than the Trainer asks for, or nothing says where
            the other nodes are.
        LostRankError: The others did not come in time.
    """
    _become_rank(trainer)
    if trainer.world_size == 1:
        if _by_torchrun() > 1:
            raise ConfigError(
                f"torchrun started {_by_torchrun()} processes, and the --trainer settings ask for "
                "one",
                expected="as many devices, over all nodes",
                remedy="give --trainer.num-nodes (nodes), --trainer.devices (processes of each) "
                "and --trainer.strategy ddp; or start without torchrun",
            )
        return
    strategy = trainer.strategy
    if not isinstance(strategy, ParallelStrategy) or strategy.cluster_environment is None:
        return
    environment, on_node = strategy.cluster_environment, trainer.num_devices
    if isinstance(environment, LightningEnvironment):
        missing = [n for n in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if n not in os.environ]
        if trainer.num_nodes > 1 and missing:
            raise ConfigError(
                f"--trainer.num-nodes {trainer.num_nodes}, and nothing says which node this is "
                f"({', '.join(missing)} not set)",
                expected="a process on every node that knows where the first one is",
                remedy="start by torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK",
            )
        if on_node > 1:
            return  # the Trainer starts the ranks of its node
    environment.validate_settings(num_devices=on_node, num_nodes=trainer.num_nodes)
    with lost_rank_explained("the start, while it waited for the others"):
        _in_a_thread(
            strategy.setup_environment,
            f"rank {trainer.global_rank} of {trainer.world_size} waits for the others at "
            f"{environment.main_address}:{environment.main_port}",
        )


def refuse_ranks(trainer: Trainer) -> None:
    """Refuses ranks that were started from outside, where processes share the work without ranks.

    Those that a Trainer starts on its own node are let in.

    Args:
        trainer: With the devices, nodes and strategy of the run.

    Raises:
        ConfigError: Naming what to start instead.
    """
    _become_rank(trainer)
    environment = getattr(trainer.strategy, "cluster_environment", None)
    apart = not isinstance(environment, LightningEnvironment | None)
    found = f"--trainer.num-nodes {trainer.num_nodes}" if trainer.num_nodes > 1 else ""
    if _by_torchrun() > 1 or (apart and trainer.world_size > 1):
        found = found or f"ranks started by {type(environment).__name__ if apart else 'torchrun'}"
    if found:
        raise ConfigError(
            f"{found} in a cross-validation",
            expected="a process per node that knows nothing of the others, as each trains folds "
            "of its own",
            remedy="start the same command on every node, without --trainer.num-nodes and without "
            "torchrun; or share the bags of each fold among --trainer.devices of one node",
        )


def _become_rank(trainer: Trainer) -> None:
    """Lets all who ask for the rank hear the Trainer's, not the number of a scheduler's task."""
    global _of_run
    _of_run = trainer.world_size
    rank_zero_only.rank = trainer.global_rank  # type: ignore[attr-defined]


def _by_torchrun() -> int:
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def _in_a_thread(work: Callable[[], object], waiting: str) -> None:
    """Does what may wait for long inside C++, where this thread could hear no signal."""
    failed: list[BaseException] = []

    def do() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=do, name="ranks", daemon=True)
    thread.start()
    since: float | None = monotonic()
    while thread.is_alive():
        thread.join(0.2)
        if since is not None and monotonic() - since > _QUIET_S:
            print(in_terminal(waiting), file=sys.stderr, flush=True)
            since = None
    if failed:
        raise failed[0]


def have_met() -> bool:
    """Whether this process is one of several ranks of this run that can ask each other.

    Those of an earlier run in the same process have ended.
    """
    return _of_run > 1 and dist.is_initialized() and dist.get_world_size() == _of_run


def is_first() -> bool:
    """Whether this process is the rank that writes, or the only one."""
    return not getattr(rank_zero_only, "rank", 0)


@contextmanager
def entered_by_first(enter: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """A block that the first rank enters for all, once they have met; a collective call.

    Args:
        enter: Makes what is entered; what it gives goes to all ranks, and so does its refusal.

    Raises:
        SlidenetError: On all ranks alike, where the first was refused.
        LostRankError: Another rank is gone.
    """
    with ExitStack() as held:
        given: list[Any] = [None, None]
        if dist.get_rank() == 0:
            try:
                given[0] = held.enter_context(enter())
            except SlidenetError as error:
                given[1] = error
        with lost_rank_explained("the start"):
            dist.broadcast_object_list(given, device=group_device(_world()))
        if given[1] is not None:
            raise given[1]
        yield given[0]


def agree_on_run(given: Mapping[str, object], refusal: Exception | None = None) -> None:
    """Refuses ranks that were started with other commands or see other data; a collective call.

    Args:
        given: What must be the same, by name.
        refusal: Why this rank cannot take part; it is raised here, and told to the others.

    Raises:
        ParallelError: On all ranks, naming a rank and what it has.
    """
    remedy = "start every rank with the same command, on the same files"
    facts = {name: Fact(value, remedy) for name, value in given.items()}
    agree("training", facts, [], _world(), refusal=refusal, who="rank")


class SameRun(Callback):
    """Compares the ranks of a fit as soon as they have met, and lets each end when it is told to.

    Lightning answers SIGTERM by asking the other ranks from within the handler, which waits for
    ever where they are at another call. Here a rank just ends, and so do those that miss it.

    Args:
        given: See `agree_on_run`.
    """

    def __init__(self, given: Mapping[str, object]) -> None:
        self.given = given
        self._before = signal.getsignal(signal.SIGTERM)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compares, before the first step."""
        if trainer.world_size > 1 and dist.is_initialized():
            agree_on_run(self.given)

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the place of Lightning's handler, which is there by now."""
        self._end_at_once(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same, where nothing was checked before."""
        self._end_at_once(trainer)

    def _end_at_once(self, trainer: Trainer) -> None:
        if trainer.world_size == 1 or threading.current_thread() is not threading.main_thread():
            return
        launcher, before = trainer.strategy.launcher, self._before

        def end(number: int, frame: FrameType | None) -> None:
            if launcher is not None:
                launcher.kill(signal.Signals(number))
            if callable(before):
                before(number, frame)
            else:
                raise SystemExit(128 + number)

        signal.signal(signal.SIGTERM, end)  # the Trainer puts the one before it back


@contextmanager
def lost_rank_ends() -> Iterator[None]:
    """Around a fit: what the transport says where a rank is gone becomes one line.

    Raises:
        LostRankError: Instead of the transport's error.
    """
    try:
        yield
    except SIGTERMException as error:  # one that came to this rank is a KeyboardInterrupt
        raise LostRankError(
            "another rank was told to end (SIGTERM)",
            remedy="start all ranks again; they go on from the last epoch",
        ) from error
    except RuntimeError as error:
        text = str(error).lower()
        of_transport = any(words in text for words in _TRANSPORT_WORDS)
        if not dist.is_initialized() or not (of_transport or isinstance(error, dist.DistError)):
            raise
        with lost_rank_explained("training"):
            raise


def _world() -> dist.ProcessGroup:
    world = dist.group.WORLD
    assert world is not None, "the ranks have met"
    return world
