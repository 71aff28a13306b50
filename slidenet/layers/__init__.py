"""Floor 1: what models of several rooms share: linear layers, and padding kept out of the numbers.

The room is small because little is shared: patterns of attention have a room of their own
(`slidenet.attention`), and gated attention and heads belong to the models on bags alone.
"""

from slidenet.layers.checks import checked_mask
from slidenet.layers.linear import Linear
from slidenet.layers.masking import (
    check_bags,
    full_precision,
    masked_softmax,
    weighted_sum,
    zero_masked,
)

__all__ = [
    "Linear",
    "check_bags",
    "checked_mask",
    "full_precision",
    "masked_softmax",
    "weighted_sum",
    "zero_masked",
]
