"""Floor 4: models on bags, all with one contract."""

from slidenet.mil.contract import BagBatch, BagModel, BagOutput
from slidenet.mil.gigapath import FROM_CHECKPOINT
from slidenet.mil.registry import BAG_MODELS, bag_model_settings, make_bag_model

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BAG_MODELS",
    "BagBatch",
    "BagModel",
    "BagOutput",
    "FROM_CHECKPOINT",
    "bag_model_settings",
    "make_bag_model",
]
