"""Do all ranks mean the same slide, and did all of them succeed? Gathered, judged alike on each.

Every rank sees what all of them said, so an error is raised on all of them and nobody hangs. One
row of integers per rank travels; what a message quotes is sent only once rows differ.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import torch
import torch.distributed as dist

from slidenet.core.errors import ParallelError, SlidenetError
from slidenet.core.text import name_some
from slidenet.parallel.collectives import gather_objects, gather_rows, group_device

T = TypeVar("T")

ROW_SIZE = 96
"""Integers of a row; values beyond it are sent after it."""

LONGEST = 1000
"""Letters of a clause: paths are quoted whole, what a file might hold is not."""


@dataclass(frozen=True)
class Fact:
    """Something that must be the same on all ranks.

    Attributes:
        value: Compared as it is where it is an int, else by a checksum of how it prints. Of a
            mapping, a message quotes only what differs.
        remedy: What to do where it differs.
        text: What a message quotes instead of the value; "" for a checksum, which says nothing.
        given: Facts without which this one says nothing: where they differ, it is not named.
    """

    value: object
    remedy: str
    text: str | None = None
    given: tuple[str, ...] = ()

    @property
    def code(self) -> int:
        """The value as a number that a row can hold."""
        return int(self.value) if isinstance(self.value, int) else checksum(repr(self.value))

    @property
    def shown(self) -> "str | dict[str, str]":
        """The value as a message quotes it."""
        if self.text is not None:
            return self.text
        if isinstance(self.value, Mapping):
            return {str(key): repr(value) for key, value in self.value.items()}
        return repr(self.value)


def checksum(text: str) -> int:
    """A number from 0 to 2^56 that hardly any other text has."""
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest())


def agree(
    call: str,
    facts: Mapping[str, Fact],
    values: Sequence[int],
    group: dist.ProcessGroup,
    *,
    refusal: Exception | None = None,
    who: str = "sequence rank",
) -> list[list[int]]:
    """Checks that facts are the same on all ranks; a collective call.

    Args:
        call: What the ranks are about to do; must be the same, too.
        facts: By the name of the argument, as the user types it.
        values: Numbers that may differ, equally many on every rank whose facts agree.
        group: The ranks.
        refusal: Why this rank cannot take its own input. It is raised here, and every other rank
            ends with an error that names this one.
        who: What a rank of the group is called.

    Returns:
        The values of every rank.

    Raises:
        ParallelError: On all ranks alike, naming a rank, what it has and what the others have.
    """
    codes = [fact.code for fact in facts.values()]
    header = [int(refusal is not None), checksum(call), len(codes), len(values), *codes]
    assert len(header) <= ROW_SIZE, call
    row = [*header, *values][:ROW_SIZE]
    row += [0] * (ROW_SIZE - len(row))
    device = group_device(group)
    table: list[list[int]] = gather_rows(
        torch.tensor(row, dtype=torch.int64, device=device), group, "the comparison of inputs"
    ).tolist()
    if any(found[0] for found in table):
        reasons = gather_objects(None if refusal is None else _reason(refusal), group)
        if refusal is not None:
            raise refusal
        rank, reason = next((p, text) for p, text in enumerate(reasons) if text is not None)
        raise ParallelError(
            f"{who} {rank} refused what it was given: {reason}",
            expected="an input that every rank can take",
        )
    size = len(header)
    if any(found[:size] != table[0][:size] for found in table):
        raise _disagreement(call, facts, table, group, who)
    if size + len(values) <= ROW_SIZE:
        return [found[size : size + len(values)] for found in table]
    rest = torch.tensor(list(values), dtype=torch.int64, device=device)
    whole: list[list[int]] = gather_rows(rest, group, "the comparison of inputs").tolist()
    return whole


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, SlidenetError) else f"{type(error).__name__}: {error}"


def _disagreement(
    call: str,
    facts: Mapping[str, Fact],
    table: Sequence[Sequence[int]],
    group: dist.ProcessGroup,
    who: str,
) -> ParallelError:
    """The error for rows that differ: what the first rank has that is not as most have it."""
    shown = gather_objects((call, {name: fact.shown for name, fact in facts.items()}), group)
    rows = [tuple(row[1 : 4 + row[2]]) for row in table]  # of another call: of another length
    usual = rows.index(Counter(rows).most_common(1)[0][0])
    rank = next(p for p, row in enumerate(rows) if row != rows[usual])
    alike = "the same on all ranks" + ("" if who == "rank" else " that share a slide")
    who, others = f"{who} {rank}", f"rank {usual}"
    if shown[rank][0] != shown[usual][0]:
        return ParallelError(
            f"{who} is at {shown[rank][0]}, {others} at {shown[usual][0]}",
            expected="the same call on all ranks that share a slide",
            remedy="let every rank run the same program on the same slides",
        )
    differing = {name for i, name in enumerate(facts) if rows[rank][3 + i] != rows[usual][3 + i]}
    named = [
        name for name in facts if name in differing and differing.isdisjoint(facts[name].given)
    ]
    quoted, unquoted = [], []
    for name in named:
        found, wanted = shown[rank][1][name], shown[usual][1][name]
        if found == wanted:
            unquoted.append(name)
        else:
            quoted.append(_quoted(name, found, wanted, others))
    if unquoted:
        quoted.append(f"other {' and other '.join(unquoted)} than {others}")
    return ParallelError(
        f"{who} has {name_some(quoted, most=4, longest=LONGEST)}",
        expected=alike,
        remedy=facts[named[0]].remedy,
    )


def _quoted(name: str, found: object, usual: object, others: str) -> str:
    """One difference, as a clause after "has"."""
    if not (isinstance(found, dict) and isinstance(usual, dict)):
        return f"{name} {found} where {others} has {usual}"
    clauses = []
    for key in usual | found:
        if key not in usual:
            clauses.append(f"{name} {key}, which {others} has not")
        elif key not in found:
            clauses.append(f"no {name} {key}, which {others} has")
        elif found[key] != usual[key]:
            clauses.append(f"{name} {key} {found[key]} where {others} has {usual[key]}")
    return name_some(clauses, most=2, longest=LONGEST)


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
    work: Callable[[], T],
    gather: Callable[[Failure | None], list[Failure | None]],
    *,
    who: str = "sequence rank",
) -> T:
    """Does `work` on every rank; where it fails on one, it fails on all, and they stay in step.

    Args:
        work: The same on every rank.
        gather: Gives what every rank hands in, in the order of the ranks; a collective call.
        who: What a rank is called.

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
                raise ParallelError(f"{who} {rank} failed at it: {failure.text}")
        if own is None and any(failures):
            raise ParallelError(f"another {who} failed at it", remedy="see its log")
    return result
