"""The few collectives in use, each with its gradient, and with an error that says what to do.

Gradients are adjoints: with `J = sum of what all ranks compute`, the gradient a rank receives for
its input is dJ/d input. A loss that every rank computes alike therefore counts once per rank, and
the *mean* of the parameters' gradients over all ranks is the gradient of the loss (`gradients.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from slidenet.core.errors import LostRankError

T = TypeVar("T")


class Pending:
    """A collective under way.

    Args:
        work: Its handle.
        result: What it fills.
        what: Named in the error.
    """

    def __init__(self, work: dist.Work | None, result: Tensor, what: str) -> None:
        self._work, self._result, self._what = work, result, what

    def wait(self) -> Tensor:
        """The result, once it has come.

        Raises:
            LostRankError: If another rank is gone or does not answer in time.
        """
        if self._work is not None:
            with lost_rank_explained(self._what):
                self._work.wait()
        return self._result


@contextmanager
def lost_rank_explained(what: str) -> Iterator[None]:
    """Turns the transport's error into one that says what to do.

    Raises:
        LostRankError: For any error of the transport within the block.
    """
    try:
        yield
    except RuntimeError as error:  # every error of torch.distributed is one
        rank = dist.get_rank() if dist.is_initialized() else -1
        raise LostRankError(
            f"rank {rank} lost another rank during {what} ({str(error).splitlines()[0][:200]})",
            expected="all ranks to take part within the timeout",
            remedy="look for the first error in the logs of the other ranks (a killed process, out "
            "of memory), then start all ranks again from the last checkpoint; if a rank was only "
            "slow, start with a longer timeout",
        ) from error


def start_all_to_all(
    sent: Tensor,
    send_counts: Sequence[int],
    receive_counts: Sequence[int],
    group: dist.ProcessGroup,
    what: str,
) -> Pending:
    """Sends rows to each rank and receives theirs; `wait` gives the rows in the order of ranks.

    Args:
        sent: (rows, ...), contiguous.
        send_counts: Rows for each rank.
        receive_counts: Rows from each rank.
        group: The ranks.
        what: Named in the error.
    """
    received = sent.new_empty((sum(receive_counts), *sent.shape[1:]))
    with lost_rank_explained(what):
        work = dist.all_to_all_single(
            received, sent, list(receive_counts), list(send_counts), group=group, async_op=True
        )
    return Pending(work, received, what)


def group_device(group: dist.ProcessGroup) -> torch.device:
    """Where the transport of a group wants tensors that come from no device of their own."""
    if "nccl" in dist.get_backend(group):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def gather_rows(row: Tensor, group: dist.ProcessGroup, what: str) -> Tensor:
    """(n, ...) of every rank as (ranks, n, ...), without gradient."""
    ranks = dist.get_world_size(group)
    rows = row.new_empty((ranks * row.shape[0], *row.shape[1:]))
    with lost_rank_explained(what):
        dist.all_gather_into_tensor(rows, row.contiguous(), group=group)
    return rows.view(ranks, *row.shape)


def gather_objects(value: T, group: dist.ProcessGroup) -> list[T]:
    """A small Python object of every rank, in their order."""
    found: list[T] = [value] * dist.get_world_size(group)
    with lost_rank_explained("the comparison of ranks"):
        dist.all_gather_object(found, value, group=group)
    return found


def sum_over_ranks(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum of x over the ranks, on every rank, with its gradient."""
    total: Tensor = _SumOverRanks.apply(x, group)
    return total


class _SumOverRanks(torch.autograd.Function):
    """The adjoint of a sum that everyone receives is the same sum of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _all_reduce(x, group)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_reduce(grad, ctx.group), None


def join_chunks(x: Tensor, sizes: Sequence[int], group: dist.ProcessGroup) -> Tensor:
    """Chunks (L_rank, ...) of all ranks as (L, ...), on every rank, with its gradient.

    Args:
        x: This rank's chunk; all but the first dimension alike on all ranks.
        sizes: First dimension on each rank.
        group: The ranks, in the order of the chunks.
    """
    whole: Tensor = _JoinChunks.apply(x, tuple(sizes), group)
    return whole


class _JoinChunks(torch.autograd.Function):
    """The adjoint of joining everybody's chunks is to sum everybody's gradients of one's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...], group: dist.ProcessGroup) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        filled = x.new_zeros((max(sizes), *x.shape[1:]))
        filled[: len(x)] = x
        rows = gather_rows(filled, group, "the joining of chunks")
        return torch.cat([rows[p, :size] for p, size in enumerate(sizes)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        start = sum(ctx.sizes[: dist.get_rank(ctx.group)])
        total = _all_reduce(grad, ctx.group)
        return total[start : start + ctx.sizes[dist.get_rank(ctx.group)]].clone(), None, None


def _all_reduce(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    total = x.detach().clone(memory_format=torch.contiguous_format)
    with lost_rank_explained("a sum over the ranks of a slide"):
        dist.all_reduce(total, group=group)
    return total
