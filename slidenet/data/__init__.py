"""Floor 4: what models are fed with. Tiles straight from the slide; bags come later."""

from slidenet.data.tile_batches import TileBatch, tile_batches

__all__ = ["TileBatch", "tile_batches"]
