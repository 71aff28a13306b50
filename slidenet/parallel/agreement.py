"""Do all ranks mean the same slide? Gathered once, judged alike on every rank.

Each rank sees the whole table, so an error is raised on all of them together and nobody hangs.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

from slidenet.core.errors import ParallelError, SlidenetError
from slidenet.parallel.collectives import gather_rows

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST_VALUES = 64
"""Values a rank may add to the table; longer lists are told by their number, then sent."""


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
