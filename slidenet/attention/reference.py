"""The oracle: attention from an explicit boolean mask, in float64, differentiated by autograd.

Quadratic in time and memory on purpose; every fast path is compared with it in value and gradient.
"""

import torch
from torch import Tensor

from slidenet.attention.protocol import check_inputs, zero_masked


def reference_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    allowed: Tensor,
    *,
    mask: Tensor | None = None,
    zero_keys: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(D)) v over the allowed pairs.

    Args:
        q: Queries (B, L, H, D).
        k: Keys (B, L, H, D).
        v: Values (B, L, H, D).
        allowed: Bool, broadcastable to (B, H, L, L), rows are queries, True = attended.
        mask: Bool (B, L), True = real; the others neither attend nor are attended.
        zero_keys: Number of extra keys with score 0 and value 0 that each query sees,
            broadcastable to (B, H, L); the padding slots of released dilated attention.

    Returns:
        Output (B, L, H, D) and log-sum-exp (B, H, L), both float64. Rows without any key are zero
        with log-sum-exp -inf, and have zero gradients.

    Raises:
        AttentionError: For inputs `check_inputs` refuses.
    """
    check_inputs(q, k, v, mask)
    q_BHLD, k_BHLD, v_BHLD = (zero_masked(x, mask).double().transpose(1, 2) for x in (q, k, v))
    seen = allowed
    if mask is not None:
        seen = seen & mask[:, None, :, None] & mask[:, None, None, :]
    scores = (q_BHLD @ k_BHLD.transpose(-1, -2)) * q.shape[-1] ** -0.5
    seen = seen.expand(scores.shape)
    counts = scores.new_zeros(scores.shape[:-1])
    if zero_keys is not None:
        counts = counts + zero_keys
    if mask is not None:
        counts = counts * mask[:, None, :]
    # One more column stands for all zero keys of a row: score log(count), value zero.
    scores = torch.cat([scores.masked_fill(~seen, -torch.inf), counts.log()[..., None]], dim=-1)
    empty = (scores == -torch.inf).all(dim=-1)
    lse = torch.logsumexp(scores.masked_fill(empty[..., None], 0.0), dim=-1)
    weights = torch.exp(scores - lse[..., None])[..., :-1]
    out = (weights @ v_BHLD).transpose(1, 2)
    return out, lse.masked_fill(empty, -torch.inf)
