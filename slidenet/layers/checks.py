"""The check of bags in every execution mode: called as it is, or an operator of a compiled graph.

A compiler cannot follow an `if` on numbers: it would cut the graph there, and an export would fail.
As an operator the check runs whenever the graph does. It gives the mask to go on with, so that no
compiler takes it for work that nobody reads.
"""

import torch
from torch import Tensor

from slidenet.layers.masking import check_bag_shapes, check_bags


def checked_mask(
    features: Tensor,
    mask: Tensor | None = None,
    feature_dim: int | None = None,
    *,
    unit: str = "bag",
) -> Tensor | None:
    """The mask of bags that `check_bags` takes, for whoever calls to use from here on.

    Args:
        features: (B, L, D).
        mask: Bool (B, L), True = real tile; all are real by default.
        feature_dim: As `check_bags`.
        unit: As `check_bags`.

    Returns:
        The mask itself; in a compiled graph another one alike, all True where None was given.

    Raises:
        EncoderError: As `check_bags`, compiled or not.
    """
    if not torch.compiler.is_compiling():
        check_bags(features, mask, feature_dim, unit=unit)
        return mask
    check_bag_shapes(features, mask, feature_dim, unit=unit)
    checked: Tensor = torch.ops.slidenet.checked_mask(features, mask, feature_dim, unit)
    return checked


@torch.library.custom_op(
    "slidenet::checked_mask",
    mutates_args=(),
    schema="(Tensor features, Tensor? mask, int? feature_dim, str unit) -> Tensor",
)
def _checked_mask(
    features: Tensor, mask: Tensor | None, feature_dim: int | None, unit: str
) -> Tensor:
    check_bags(features, mask, feature_dim, unit=unit)
    if mask is None:
        return features.new_ones(features.shape[:2], dtype=torch.bool)
    return mask.clone(memory_format=torch.contiguous_format)


@_checked_mask.register_fake
def _fake_checked_mask(
    features: Tensor, mask: Tensor | None, feature_dim: int | None, unit: str
) -> Tensor:
    return features.new_empty(features.shape[:2], dtype=torch.bool)
