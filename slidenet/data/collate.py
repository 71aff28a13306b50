"""Bags of different lengths as one batch: padding with zeros, and a mask that says so."""

from collections.abc import Sequence

import torch

from slidenet.data.bags import Bag
from slidenet.mil import BagBatch


def collate_bags(bags: Sequence[Bag] | Bag) -> BagBatch:
    """Pads bags to the length of the longest.

    Args:
        bags: At least one bag, with features of one length.

    Returns:
        The batch, in order; zeros and mask False after the tiles of each bag.
    """
    if isinstance(bags, Bag):
        bags = [bags]
    shape = len(bags), max(len(bag.features) for bag in bags)
    features = torch.zeros(*shape, bags[0].features.shape[1])
    coords = torch.zeros(*shape, 2, dtype=torch.int64)
    grid_xy = torch.zeros(*shape, 2, dtype=torch.int64)
    mask = torch.zeros(*shape, dtype=torch.bool)
    for row, bag in enumerate(bags):
        tiles = slice(len(bag.features))
        features[row, tiles] = bag.features
        coords[row, tiles] = bag.coords
        grid_xy[row, tiles] = bag.grid_xy
        mask[row, tiles] = True
    targets = [bag.target for bag in bags if bag.target is not None]
    assert len(targets) in (0, len(bags)), "either all bags of a batch have labels or none"
    return BagBatch(
        features=features,
        coords=coords,
        grid_xy=grid_xy,
        mask=mask,
        target=torch.stack(targets) if targets else None,
        bag_ids=tuple(bag.bag_id for bag in bags),
        slide_ids=tuple(bag.slide_ids for bag in bags),
    )
