"""Which bags are drawn in an epoch, in which batches, and on which process.

`BagBatchSampler` gives whole batches: `DataLoader(dataset, sampler=sampler, batch_size=None,
collate_fn=collate_bags)`, or simply `bag_loader`. It is a `DistributedSampler`, so Lightning leaves
it in place under DDP and calls `set_epoch` before every epoch; unlike its base it never repeats or
drops a bag to make the processes even.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from slidenet.core.errors import ConfigError
from slidenet.data.bags.dataset import Bag, BagDataset, Draw
from slidenet.data.batches.collate import collate_bags
from slidenet.data.batches.plan import plan_batches
from slidenet.mil import BagBatch


class BagBatchSampler(DistributedSampler[list[Draw]]):
    """Batches of draws, a new order every epoch, the same on every process.

    Args:
        dataset: The bags.
        batch_size: Bags per batch at most; see `plan_batches`.
        token_budget: Tiles per padded batch at most.
        shuffle: Whether bags are drawn in another order every epoch.
        classes: int64, class of each bag, for class-balanced draws: an epoch has as many draws as
            there are bags, as many of each class (give or take one), those of a class going round
            its bags. None draws every bag exactly once.
        seed: With the epoch, decides everything that is random.
        num_replicas: Number of processes.
        rank: This process; it gets every `num_replicas`-th batch.

    Raises:
        ConfigError: Fewer bags than processes, a size below one, or classes without shuffling.
    """

    def __init__(
        self,
        dataset: BagDataset,
        *,
        batch_size: int | None = None,
        token_budget: int | None = None,
        shuffle: bool = False,
        classes: npt.NDArray[np.int64] | None = None,
        seed: int = 0,
        num_replicas: int = 1,
        rank: int = 0,
    ) -> None:
        plain: Dataset[Bag] = dataset
        super().__init__(plain, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed)
        if classes is not None and (not shuffle or len(classes) != len(dataset)):
            raise ConfigError(
                f"{len(classes)} classes for balanced draws of {len(dataset)} bags",
                expected="one per bag, and shuffling",
            )
        self._lengths = dataset.lengths
        self._batch_size = batch_size
        self._token_budget = token_budget
        self._classes = classes
        self._planned: tuple[int, list[list[Draw]]] = (self.epoch, self._plan())

    def batches(self) -> list[list[Draw]]:
        """The batches of all processes in this epoch (`set_epoch`)."""
        if self._planned[0] != self.epoch:
            self._planned = (self.epoch, self._plan())
        return self._planned[1]

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches()[self.rank :: self.num_replicas])

    def __len__(self) -> int:
        return len(self.batches()) // self.num_replicas

    def _plan(self) -> list[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch]) if self.shuffle else None
        num_bags = len(self._lengths)
        first = self.epoch * num_bags  # no number of a draw comes twice for a bag
        draws = [(bag, first) for bag in range(num_bags)]
        if self._classes is not None and rng is not None:
            draws = [(bag, first + turn) for bag, turn in balanced_draws(self._classes, rng)]
        batches = plan_batches(
            [self._lengths[bag] for bag, _ in draws],
            batch_size=self._batch_size,
            token_budget=self._token_budget,
            num_processes=self.num_replicas,
            rng=rng,
        )
        return [[draws[i] for i in batch] for batch in batches]


def balanced_draws(
    classes: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """As many draws as bags, the classes alike in number.

    Args:
        classes: int64 (N,), class of each bag.
        rng: Chooses the bags, and the classes that get one draw more.

    Returns:
        N pairs: a bag, and how often it was drawn before. Bags of a class are drawn in turn, each
        once more before any is drawn twice more.
    """
    present = rng.permutation(np.unique(classes))
    draws = []
    for position, label in enumerate(present):
        members = np.flatnonzero(classes == label)
        count = len(classes) // len(present) + (position < len(classes) % len(present))
        rounds = -(-count // len(members))
        order = np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count]
        draws += [(int(bag), turn // len(members)) for turn, bag in enumerate(order)]
    return draws


def bag_loader(
    dataset: BagDataset, sampler: BagBatchSampler | None = None, *, num_workers: int = 0
) -> DataLoader[BagBatch]:
    """A loader of `BagBatch`es.

    Args:
        dataset: The bags.
        sampler: Which bags make a batch; one bag per batch, in order, where not given.
        num_workers: Processes that read ahead; 0 reads in this one.
    """
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # bags in, and batches of them out after collating
        sampler=sampler if sampler is not None else BagBatchSampler(dataset),
        batch_size=None,
        collate_fn=collate_bags,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
