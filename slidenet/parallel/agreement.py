"""Do all ranks mean the same slide, and did all of them succeed? Gathered, judged alike on each.

Every rank sees what all of them said, so an error is raised on all of them and nobody hangs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from slidenet.core.errors import ParallelError, SlidenetError
from slidenet.parallel.collectives import gather_rows

T = TypeVar("T")

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST_VALUES = 64
"""Values of a rank that the table has room for; longer lists are sent after it."""


def agree(
    facts: Mapping[str, int],
    dtype: torch.dtype,
    values: Sequence[int],
    device: torch.device,
    group: dist.ProcessGroup,
    *,
    refusal: SlidenetError | None = None,
) -> list[list[int]]:
    """Checks that facts and dtype are the same on all ranks; a collective call.

    Args:
        facts: Named numbers that must be equal.
        dtype: Must be equal.
        values: Numbers that may differ, equally many on every rank.
        device: Where the backend of `group` expects tensors.
        group: The ranks.
        refusal: Why this rank cannot take its own input. It is raised here, and every other rank
            ends with an error that names this one.

    Returns:
        The values of every rank.

    Raises:
        ParallelError: On all ranks, naming the first that differs from rank 0 or refused.
    """
    code = DTYPES.index(dtype) if dtype in DTYPES else -1
    header = [int(refusal is not None), code, len(values), *facts.values()]
    some = [*header, *values[:MOST_VALUES]]
    some += [0] * (len(header) + MOST_VALUES - len(some))
    row = torch.tensor(some, dtype=torch.int64, device=device)
    table: list[list[int]] = gather_rows(row, group, "the comparison of inputs").tolist()
    if refusal is not None:
        raise refusal
    _check_table(table, ("number of slides", *facts))
    if len(values) <= MOST_VALUES:
        return [found[len(header) : len(header) + len(values)] for found in table]
    row = torch.tensor(list(values), dtype=torch.int64, device=device)
    whole: list[list[int]] = gather_rows(row, group, "the comparison of inputs").tolist()
    return whole


def _check_table(table: Sequence[Sequence[int]], names: Sequence[str]) -> None:
    for rank, row in enumerate(table):
        if row[0]:
            raise ParallelError(
                f"sequence rank {rank} refused its chunk of the slide",
                expected="a chunk that every rank can take",
                remedy=f"see the error of sequence rank {rank} in its log",
            )
    for rank, row in enumerate(table):
        if row[1] != table[0][1]:
            raise _disagreement(rank, "dtype", _dtype(row[1]), _dtype(table[0][1]))
        for name, found, wanted in zip(names, row[2:], table[0][2:], strict=False):
            if found != wanted:
                raise _disagreement(rank, name, found, wanted)


def _dtype(code: int) -> object:
    return DTYPES[code] if code >= 0 else "of another kind"


def _disagreement(rank: int, name: str, found: object, wanted: object) -> ParallelError:
    return ParallelError(
        f"sequence rank {rank} has {name} {found}, rank 0 has {wanted}",
        expected="the same on all ranks that share a slide",
        remedy="give every rank of a sequence group the same slide, model and precision, and its "
        "own chunk of it",
    )


@dataclass(frozen=True)
class Failure:
    """Why a rank failed.

    Attributes:
        text: Its error.
        is_echo: Whether that is about ranks, and another rank may know more.
    """

    text: str
    is_echo: bool = False


def fail_on_all_ranks(
    work: Callable[[], T], gather: Callable[[Failure | None], list[Failure | None]]
) -> T:
    """Does `work` on every rank; where it fails on one, it fails on all, and they stay in step.

    Args:
        work: The same on every rank.
        gather: Gives what every rank hands in, in the order of the ranks; a collective call.

    Raises:
        ParallelError: If it failed on another rank, or a rank is lost.
    """
    own: Failure | None = Failure("an internal error")
    try:
        result = work()
        own = None
    except SlidenetError as error:
        # One about ranks may only be the echo of what another rank found.
        own = Failure(str(error), is_echo=isinstance(error, ParallelError))
        raise
    finally:
        failures = gather(own)
        for rank, failure in enumerate(failures):
            if failure is not None and not failure.is_echo and (own is None or own.is_echo):
                raise ParallelError(f"sequence rank {rank} failed at it: {failure.text}")
        if own is None and any(failures):
            raise ParallelError("another sequence rank failed at it", remedy="see its log")
    return result
