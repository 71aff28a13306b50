"""Bags of different lengths as one batch: padding with zeros, and a mask that says so."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from slidenet.data.bags.dataset import Bag, BagTiles
from slidenet.mil import BagBatch, FeatureSet


def collate_bags(bags: Sequence[Bag] | Bag) -> BagBatch:
    """Pads bags to the length of the longest.

    Args:
        bags: At least one bag, with features of one length.

    Returns:
        The batch, in order; zeros and mask False after the tiles of each bag.
    """
    if isinstance(bags, Bag):
        bags = [bags]
    targets = [bag.target for bag in bags if bag.target is not None]
    assert len(targets) in (0, len(bags)), "either all bags of a batch have labels or none"
    known = [bag.covariates for bag in bags if bag.covariates is not None]
    assert len(known) in (0, len(bags)), "either all bags of a batch have covariates or none"
    return BagBatch(
        **vars(_collate_tiles(bags)),
        target=torch.stack(targets) if targets else None,
        bag_ids=tuple(bag.bag_id for bag in bags),
        slide_ids=tuple(bag.slide_ids for bag in bags),
        covariates=torch.stack(known) if known else None,
        others=tuple(_collate_tiles(one) for one in zip(*(b.others for b in bags), strict=True)),
    )


def _collate_tiles(bags: Sequence[BagTiles]) -> FeatureSet:
    lengths = torch.tensor([len(bag.features) for bag in bags])
    return FeatureSet(
        features=_padded([bag.features for bag in bags]),
        coords=_padded([bag.coords for bag in bags]),
        grid_xy=_padded([bag.grid_xy for bag in bags]),
        mask=torch.arange(int(lengths.max())) < lengths[:, None],
    )


def _padded(rows: list[Tensor]) -> Tensor:
    # One bag needs no copy, and is the usual batch.
    return rows[0][None] if len(rows) == 1 else pad_sequence(rows, batch_first=True)
