"""What each tile adds to the logits where a linear head stands behind a weighted sum of tiles."""

import torch
from torch import Tensor

from slidenet.layers import zero_masked


def tile_scores(values: Tensor, weight: Tensor, mask: Tensor, *, relative: bool) -> Tensor:
    """W . h of every tile and output, before attention weighs it.

    Args:
        values: (B, L, D), h.
        weight: (K, D), of the head.
        mask: Bool (B, L).
        relative: Whether scores count from the median over the real tiles of the bag.

    Returns:
        (B, L, K), zeros in the padding.
    """
    scores = values @ weight.to(values.dtype).T
    if relative:
        real = scores.detach().masked_fill(~mask[..., None], torch.nan)
        scores = scores - real.nanmedian(dim=1, keepdim=True).values
    return zero_masked(scores, mask)


def attended_scores(
    attention: Tensor, values: Tensor, weight: Tensor, mask: Tensor, *, relative: bool
) -> Tensor:
    """A (w . h): the part of each tile in logits of a weighted sum (see `BagModel.contributions`).

    Args:
        attention: (B, A, L), one map for all outputs or one for each.
        values: As for `tile_scores`.
        weight: As for `tile_scores`.
        mask: As for `tile_scores`.
        relative: As for `tile_scores`.

    Returns:
        (B, L, K), zeros in the padding.
    """
    scores = tile_scores(values, weight, mask, relative=relative)
    return attention.transpose(1, 2).to(scores.dtype) * scores
