"""Floor 4: what models are fed with: tiles straight from the slide, and bags with their labels."""

from slidenet.data.encoding import encode_bag_targets, encode_targets
from slidenet.data.label_values import labelled_rows
from slidenet.data.labels import LabelTable, read_label_table
from slidenet.data.task_from_labels import make_task
from slidenet.data.tile_batches import TileBatch, tile_batches

__all__ = [
    "LabelTable",
    "TileBatch",
    "encode_bag_targets",
    "encode_targets",
    "labelled_rows",
    "make_task",
    "read_label_table",
    "tile_batches",
]
