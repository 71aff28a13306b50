"""Floor 4: what models are fed with: tiles straight from the slide, and bags with their labels."""

from slidenet.data.labels import LabelTable, read_label_table
from slidenet.data.tile_batches import TileBatch, tile_batches

__all__ = ["LabelTable", "TileBatch", "read_label_table", "tile_batches"]
