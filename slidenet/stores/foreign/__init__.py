"""Features files of other tools, read as they are: CLAM, TRIDENT, STAMP, slide2vec, and ours."""

from slidenet.stores.foreign.bag_features import BagFacts, BagFeatures, LazyFeatures
from slidenet.stores.foreign.opening import FEATURE_SUFFIXES, open_bag_features

__all__ = [  # noqa: RUF022 - plain sorted order, as the architecture test asks
    "BagFacts",
    "BagFeatures",
    "FEATURE_SUFFIXES",
    "LazyFeatures",
    "open_bag_features",
]
