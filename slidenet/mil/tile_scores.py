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
