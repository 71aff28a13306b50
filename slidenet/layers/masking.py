"""Padding kept out of the numbers: what every model on padded bags begins and ends with.

Shapes: B bags, L tiles, D feature length, A attention maps.
"""

import torch
from torch import Tensor

from slidenet.core.errors import EncoderError


def check_bags(
    features: Tensor,
    mask: Tensor | None = None,
    feature_dim: int | None = None,
    *,
    unit: str = "bag",
) -> None:
    """Refuses bags a model cannot take; what padding holds does not matter.

    It looks at numbers, which no compiler can follow: models call `checked_mask`.

    Args:
        features: (B, L, D).
        mask: Bool (B, L), True = real tile; all are real by default.
        feature_dim: The D the model was built for; None for any.
        unit: What a bag is, for messages ("slide").

    Raises:
        EncoderError: Naming what was found, and which bag of the batch.
    """
    check_bag_shapes(features, mask, feature_dim, unit=unit)
    if mask is None:
        mask = features.new_ones(features.shape[:2], dtype=torch.bool)
    empty = ~mask.any(dim=1)
    if empty.any():
        raise EncoderError(
            f"{unit} {int(empty.nonzero()[0])} of the batch has no real tile",
            expected=f"at least one tile; nothing can be said about an empty {unit}",
            remedy="leave out slides without tiles",
        )
    # A sum is not finite where a number is not, or where it overflows: only those are looked at.
    exact = torch.float64 if features.dtype == torch.float64 else torch.float32
    bad = ~features.detach().sum(dim=-1, dtype=exact).isfinite() & mask
    if bad.any():
        bad[bad.clone()] = ~features[bad].isfinite().all(dim=-1)
    if bad.any():
        index, tile = (int(i) for i in bad.nonzero()[0])
        raise EncoderError(
            f"{int(bad.sum())} tiles have NaN or infinite features (first: tile {tile} of {unit} "
            f"{index} of the batch)",
            expected="finite features",
            remedy="re-encode those tiles, or mask them out",
        )


def check_bag_shapes(
    features: Tensor, mask: Tensor | None, feature_dim: int | None, *, unit: str
) -> None:
    """The part of `check_bags` that needs no number: shapes and dtypes.

    Raises:
        EncoderError: As `check_bags`.
    """
    wrong_length = (
        features.ndim == 3 and feature_dim is not None and features.shape[2] != feature_dim
    )
    if features.ndim != 3 or not features.is_floating_point() or wrong_length:
        remedy = "add the batch axis with features[None]" if features.ndim == 2 else ""
        if wrong_length:
            remedy = (
                "use features of the tile encoder the model was trained with, or build the model "
                f"with feature_dim={features.shape[2]}"
            )
        length = "D" if feature_dim is None else feature_dim
        raise EncoderError(
            f"features are {features.dtype} of shape {tuple(features.shape)}",
            expected=f"floats of shape (B, L, {length}): {unit}s, tiles, feature length",
            remedy=remedy,
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != features.shape[:2]):
        raise EncoderError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}",
            expected=f"bool of shape {tuple(features.shape[:2])}, True = real tile",
        )


def zero_masked(values: Tensor, mask: Tensor) -> Tensor:
    """Values (B, L, D) with zeros in the padding, whatever it held; no gradient flows there."""
    return values.masked_fill(~mask[..., None], 0.0)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the real tiles of each bag, in float32 at least.

    Args:
        scores: (B, A, L), any finite values in the padding.
        mask: Bool (B, L), at least one True per bag.

    Returns:
        (B, A, L), each map sums to one; exact zeros in the padding.
    """
    return full_precision(scores).masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)


def full_precision(values: Tensor) -> Tensor:
    """Half precision to float32, anything else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def weighted_sum(attention: Tensor, values: Tensor) -> Tensor:
    """Pools tiles: maps (B, A, L) and values (B, L, D) to (B, A, D)."""
    return attention.to(values.dtype) @ values
