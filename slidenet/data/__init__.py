"""Floor 5: what models are fed with: tiles straight from the slide, and bags with their labels.

`BagDataModule` lives in `slidenet.data.datamodule`: whoever only needs tiles starts without
Lightning.
"""

from slidenet.data.bags.dataset import Bag, BagDataset, BagSource
from slidenet.data.bags.files import BagFiles, check_same_identity, find_bag_files, open_bag_files
from slidenet.data.batches.collate import collate_bags
from slidenet.data.batches.sampler import BagBatchSampler, bag_loader
from slidenet.data.labels.cells import labelled_rows
from slidenet.data.labels.encoding import encode_bag_targets, encode_targets
from slidenet.data.labels.table import LabelTable, read_label_table
from slidenet.data.labels.task import make_task
from slidenet.data.settings import DataSettings
from slidenet.data.splits.files import read_splits, write_splits
from slidenet.data.splits.make import (
    hold_out_validation,
    make_folds,
    make_split,
)
from slidenet.data.splits.record import Split, check_split
from slidenet.data.tile_stream import TileFeatures, TileStream

__all__ = [
    "Bag",
    "BagBatchSampler",
    "BagDataset",
    "BagFiles",
    "BagSource",
    "DataSettings",
    "LabelTable",
    "Split",
    "TileFeatures",
    "TileStream",
    "bag_loader",
    "check_same_identity",
    "check_split",
    "collate_bags",
    "encode_bag_targets",
    "encode_targets",
    "find_bag_files",
    "hold_out_validation",
    "labelled_rows",
    "make_folds",
    "make_split",
    "make_task",
    "open_bag_files",
    "read_label_table",
    "read_splits",
    "write_splits",
]
