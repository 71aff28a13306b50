"""Which bags make a batch: by number, or by the tokens of the padded batch.

Every bag is in exactly one batch. The number of batches is the same in every epoch and a multiple
of the number of processes, so that none of them waits for a batch that never comes.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError

_NOISE = (0.2, 0.1, 0.05, 0.0)
"""Shares by which lengths are jittered before bags of similar length are put together."""

Batch = list[int]


def plan_batches(
    lengths: Sequence[int],
    *,
    batch_size: int | None = None,
    token_budget: int | None = None,
    num_processes: int = 1,
    rng: np.random.Generator | None = None,
) -> list[Batch]:
    """Puts bags into batches.

    Args:
        lengths: Tiles of each bag.
        batch_size: Most bags of a batch. The bags are spread evenly, so a batch may hold fewer.
            Default: 1, or with a token budget any number.
        token_budget: Most tiles of a batch, padding counted (longest bag times number of bags). A
            bag longer than that is a batch of its own. Where no `batch_size` bags can exceed it,
            the batches are those of `batch_size` alone.
        num_processes: The number of batches is a multiple of it. With fewer bags than batches
            wanted so, some batches hold more than asked for.
        rng: Shuffles bags and batches, bags of similar length together under a token budget. None
            keeps the order.

    Returns:
        Positions in `lengths`, each exactly once.

    Raises:
        ConfigError: Fewer bags than processes, or a size below one.
    """
    check_whole(or_none=True, batch_size=batch_size, token_budget=token_budget)
    if len(lengths) < num_processes:
        raise ConfigError(
            f"{len(lengths)} bags for {num_processes} processes",
            expected="at least one bag for each process",
            remedy="use fewer devices, or a larger share of the slides",
        )
    if token_budget is None and batch_size is None:
        batch_size = 1
    if token_budget is None or not exceeds_budget(lengths, batch_size, token_budget):
        assert batch_size is not None, "a budget that is kept limits the number of bags"
        order = np.arange(len(lengths)) if rng is None else rng.permutation(len(lengths))
        wanted = _whole_rounds(-(-len(order) // batch_size), len(order), num_processes)
        return [batch.tolist() for batch in np.array_split(order, wanted)]
    costs, most = np.asarray(lengths), batch_size or len(lengths)
    if rng is None:
        batches = _pack(np.arange(len(costs)), costs, token_budget, most)
        return _resize(batches, costs, _whole_rounds(len(batches), len(costs), num_processes))
    by_length = _pack(np.argsort(costs, kind="stable"), costs, token_budget, most)
    wanted = _whole_rounds(len(by_length), len(costs), num_processes)
    for noise in _NOISE:
        order = rng.permutation(len(costs))
        jittered = costs[order] * (1 + rng.uniform(-noise, noise, len(costs)))
        batches = _pack(order[np.argsort(jittered, kind="stable")], costs, token_budget, most)
        if len(batches) <= wanted:
            break
    batches = _resize(batches, costs, wanted)
    return [batches[i] for i in rng.permutation(len(batches))]


def exceeds_budget(lengths: Sequence[int], batch_size: int | None, token_budget: int) -> bool:
    """Whether bags of these lengths could make a batch of several that the budget does not allow.

    Without a `batch_size` it is the budget that makes the batches.
    """
    if batch_size is None:
        return True
    together = min(batch_size, len(lengths))
    return together > 1 and together * max(lengths) > token_budget


def _pack(
    order: npt.NDArray[np.int64], costs: npt.NDArray[np.int64], budget: int, most: int
) -> list[Batch]:
    batches: list[Batch] = []
    longest = 0
    for position in order.tolist():
        longest = max(longest, int(costs[position]))
        fits = batches and len(batches[-1]) < most
        if fits and longest * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            longest = int(costs[position])
    return batches


def _whole_rounds(num_batches: int, num_bags: int, num_processes: int) -> int:
    rounds = min(-(-num_batches // num_processes), num_bags // num_processes)
    return rounds * num_processes


def _resize(batches: list[Batch], costs: npt.NDArray[np.int64], wanted: int) -> list[Batch]:
    """Halves the fullest batches, or joins the cheapest neighbours, until there are `wanted`."""
    batches = list(batches)

    def tokens(batch: Batch) -> int:
        return int(costs[batch].max()) * len(batch)

    while len(batches) < wanted:
        fullest = max(
            (i for i, b in enumerate(batches) if len(b) > 1), key=lambda i: tokens(batches[i])
        )
        batch = batches[fullest]
        middle = len(batch) // 2
        batches[fullest : fullest + 1] = [batch[:middle], batch[middle:]]
    while len(batches) > wanted:
        cheapest = min(range(len(batches) - 1), key=lambda i: tokens(batches[i] + batches[i + 1]))
        batches[cheapest : cheapest + 2] = [batches[cheapest] + batches[cheapest + 1]]
    return batches
