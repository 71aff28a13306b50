"""Processes that share each slide: they do every step alike, or all fail at it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, ParallelError, SlidenetError
from slidenet.parallel import apply_sequence_parallel, make_mesh, sequence_group, start_ranks
from slidenet.parallel.agreement import Fact, agree, fail_on_all_ranks
from slidenet.parallel.collectives import lost_rank_explained
from slidenet.slide_encoders import SlideEncoder

T = TypeVar("T")


@dataclass
class SlideRanks:
    """The ranks that share each slide; by default one process, which shares with nobody.

    Attributes:
        device: Of this rank; None where there is one process, which chooses by its settings.
        mesh: One row of sequence ranks, or None.
        rank: The place of this process.
        size: The number of ranks.
        lost: Whether a rank no longer answers, so that no slide can be shared any more.
    """

    device: torch.device | None = None
    mesh: DeviceMesh | None = None
    rank: int = 0
    size: int = 1
    lost: bool = field(default=False, init=False)

    @property
    def writes(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, encoder: SlideEncoder) -> None:
        """Lets the slide encoder take chunks of slides.

        Raises:
            ParallelError: If it cannot: it holds no LongNet.
        """
        if self.mesh is None:
            return
        if not isinstance(encoder, nn.Module):
            raise ParallelError(
                f"the slide encoder {encoder.name!r} cannot share a slide among ranks",
                expected="a LongNet slide encoder",
                remedy="drop --sequence-ranks",
            )
        apply_sequence_parallel(encoder, self.mesh, inputs="chunk")

    def on_all(self, work: Callable[[], T]) -> T:
        """Does `work` on all ranks; where it fails on any, it fails on all, and they stay in step.

        Raises:
            ParallelError: If it failed on another rank, or a rank is lost.
        """
        if self.mesh is None:
            return work()
        self._refuse_if_lost()
        return fail_on_all_ranks(work, self._gathered)

    def compare(self, call: str, facts: Callable[[], Mapping[str, Fact]]) -> None:
        """Refuses, on all ranks, what is not the same on all of them.

        Args:
            call: What the ranks are about to do.
            facts: Gives what must be the same, by name; called where ranks share slides.

        Raises:
            ParallelError: Naming a rank, what it has and what the others have; or if `facts` fails
                on another rank, or a rank is lost.
        """
        if self.mesh is None:
            return
        self._refuse_if_lost()
        found, refusal = dict[str, Fact](), None
        try:
            found = dict(facts())
        except SlidenetError as error:
            refusal = error
        self.lost = True  # until the others have answered
        try:
            agree(call, found, [], sequence_group(self.mesh), refusal=refusal)
        except SlidenetError as error:
            self.lost = error.__cause__ is not None  # an error of the transport
            raise
        self.lost = False

    def broadcast(self, value: T) -> T:
        """The value of rank 0, on every rank."""
        return self._gathered(value)[0]

    def leave(self) -> None:
        """Ends the process group."""
        if self.mesh is not None:
            dist.destroy_process_group()

    def _refuse_if_lost(self) -> None:
        if self.lost:
            raise ParallelError(
                "a rank was lost at an earlier slide",
                remedy="run the same command again; slides that are done stay done",
            )

    def _gathered(self, value: T) -> list[T]:
        found: list[T] = [value] * self.size
        if self.mesh is not None:
            self.lost = True  # until the others have answered
            with lost_rank_explained("the comparison of ranks"):
                dist.all_gather_object(found, value)
            self.lost = False
        return found


def others_wait() -> bool:
    """Whether torchrun started this process, so that others wait for it to join them."""
    return "LOCAL_RANK" in os.environ


def join_ranks(size: int, device: str) -> SlideRanks:
    """Joins the other ranks that torchrun started.

    Args:
        size: Ranks that share each slide.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: For a number below one, a device with an index, or several processes that were
            asked to share slides.
        ParallelError: If torchrun did not start so many processes, or a device is missing.
    """
    started = int(os.environ.get("WORLD_SIZE", "1")) if others_wait() else 1
    check_whole(sequence_ranks=size)
    if size == 1:
        if started > 1:
            raise ConfigError(
                f"torchrun started {started} processes, and sequence_ranks is 1",
                expected="one process, or ranks that share each slide",
                remedy=f"give --sequence-ranks {started}, or start it without torchrun",
            )
        return SlideRanks()
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"device={device!r} for {size} ranks",
            expected="auto, cpu or cuda: every rank takes the device of its number",
        )
    own = start_ranks(None if device == "auto" else device)
    mesh = make_mesh(data=1, sequence=size)
    return SlideRanks(own, mesh, dist.get_rank(), size)
