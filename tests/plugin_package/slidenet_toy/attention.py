"""An attention pattern: every token sees itself and the token before it."""

import torch

from slidenet.attention import reference_attention


class PreviousToken:
    """Follows the `AttentionPattern` protocol; computed by the oracle, so slow but exact."""

    name = "toy_previous"

    def mask(self, length, num_heads, *, causal=False):
        """Bool (1, L, L)."""
        steps = torch.arange(length)
        distance = steps[:, None] - steps[None, :]
        return ((distance == 0) | (distance == 1))[None]

    def num_pairs(self, length, num_heads, *, causal=False):
        """Pairs over all heads."""
        return num_heads * max(2 * length - 1, 0)

    def __call__(self, q, k, v, *, mask=None, causal=False):
        """Output (B, L, H, D) and log-sum-exp (B, H, L)."""
        pattern = self.mask(q.shape[1], q.shape[2]).to(q.device)
        out, lse = reference_attention(q, k, v, pattern, mask=mask)
        return out.to(q.dtype), lse.float()
