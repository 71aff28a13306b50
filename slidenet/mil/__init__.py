"""Floor 3: models on bags, all with one contract."""

from slidenet.mil.contract import BagBatch, BagModel, BagOutput

__all__ = ["BagBatch", "BagModel", "BagOutput"]
