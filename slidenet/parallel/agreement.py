"""Do all ranks mean the same slide? Gathered once, judged alike on every rank.

Each rank sees the whole table, so an error is raised on all of them together and nobody hangs.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

from slidenet.core.errors import ParallelError
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
) -> list[list[int]]:
    """Checks that facts and dtype are the same on all ranks; a collective call.

    Args:
        facts: Named numbers that must be equal.
        dtype: Must be equal.
        values: Numbers that may differ; as many on every rank as the facts say.
        device: Where the backend of `group` expects tensors.
        group: The ranks.

    Returns:
        The values of every rank.

    Raises:
        ParallelError: On all ranks, naming the first that differs from rank 0.
    """
    assert dtype in DTYPES, dtype
    numbers = [DTYPES.index(dtype), len(values), *facts.values(), *values[:MOST_VALUES]]
    first = torch.tensor(numbers, device=device)
    first = torch.nn.functional.pad(first, (0, 2 + len(facts) + MOST_VALUES - len(first)))
    table: list[list[int]] = gather_rows(first, group, "the comparison of inputs").tolist()
    for rank, row in enumerate(table):
        if row[0] != table[0][0]:
            raise _disagreement(rank, "dtype", DTYPES[row[0]], DTYPES[table[0][0]])
        names = ("number of slides", *facts)
        for name, found, wanted in zip(names, row[1:], table[0][1:], strict=False):
            if found != wanted:
                raise _disagreement(rank, name, found, wanted)
    start = 2 + len(facts)
    if len(values) <= MOST_VALUES:
        return [row[start : start + len(values)] for row in table]
    whole: list[list[int]] = gather_rows(
        torch.tensor(list(values), device=device), group, "the comparison of inputs"
    ).tolist()
    return whole


def _disagreement(rank: int, name: str, found: object, wanted: object) -> ParallelError:
    return ParallelError(
        f"sequence rank {rank} has {name} {found}, rank 0 has {wanted}",
        expected="the same on all ranks that share a slide",
        remedy="give every rank of a sequence group the same slide, model and precision, and its "
        "own chunk of it",
    )
