"""What probes see of bags: mean and standard deviation of the features of their tiles.

N bags, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from slidenet.core.arrays import BLOCK_ROWS, Float64Array
from slidenet.data import BagDataset
from slidenet.data.bags.dataset import BagSource
from slidenet.data.datamodule import BagDataModule
from slidenet.mil.probe import BagColumns


@dataclass(frozen=True, eq=False)
class BagStatistics:
    """Bags as columns, by their names.

    Attributes:
        bag_ids: N names.
        columns: float64 (N, 2 D), the means and then the deviations.
    """

    bag_ids: tuple[str, ...]
    columns: Float64Array

    def of(self, bag_ids: Sequence[str], described: BagColumns) -> Float64Array:
        """Some of the bags, as a probe takes them: (len(bag_ids), D or 2 D)."""
        place = {name: row for row, name in enumerate(self.bag_ids)}
        width = self.columns.shape[1]
        width = width // 2 if described == "mean" else width
        chosen: Float64Array = self.columns[[place[name] for name in bag_ids], :width]
        return chosen


def read_statistics(data: BagDataModule, bags: Sequence[BagSource]) -> BagStatistics:
    """Reads every tile of the bags once.

    Raises:
        StoreError: A file is broken, holds NaN or infinite values, or has no readable tile.
    """
    dataset = BagDataset(bags, memory=data.cohort.memory)
    rows = [
        _columns(dataset, i)
        for i in tqdm(range(len(bags)), desc="probes", unit=" bags", leave=False, disable=None)
    ]
    return BagStatistics(tuple(bag.bag_id for bag in bags), np.stack(rows))


def _columns(dataset: BagDataset, index: int) -> Float64Array:
    """One bag as (2 D,); in float64, block by block."""
    totals, count = [], 0
    for block in dataset.blocks(index, BLOCK_ROWS):
        totals.append(block.sum(dim=0, dtype=torch.float64))
        count += len(block)
    mean = torch.stack(totals).sum(dim=0) / count
    squares = [
        (block.double() - mean).square().sum(dim=0) for block in dataset.blocks(index, BLOCK_ROWS)
    ]
    deviation = (torch.stack(squares).sum(dim=0) / count).sqrt()
    found: Float64Array = torch.cat([mean, deviation]).numpy()
    return found
