"""Floor 4: models on bags, all with one contract."""

from slidenet.mil.contract import BagBatch, BagModel, BagOutput, FeatureSet
from slidenet.mil.covariates import CovariateColumn, CovariateModel
from slidenet.mil.gigapath import FROM_CHECKPOINT
from slidenet.mil.registry import BAG_MODELS, bag_model_settings, make_bag_model

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BAG_MODELS",
    "BagBatch",
    "BagModel",
    "BagOutput",
    "CovariateColumn",
    "CovariateModel",
    "FROM_CHECKPOINT",
    "FeatureSet",
    "bag_model_settings",
    "make_bag_model",
]
