"""What a pattern costs, counted exactly from its own rule."""

from dataclasses import dataclass

from slidenet.attention.patterns.topk_blocks import TopKBlocksAttention
from slidenet.attention.protocol import AttentionPattern

FORWARD_PRODUCTS = 2
"""Matrix products over attended pairs in the forward: scores, weighted values."""

BACKWARD_PRODUCTS = 5
"""And in the backward: scores again, and the gradients of weights, values, queries and keys."""


@dataclass(frozen=True)
class AttentionCost:
    """Cost of one layer's attention on one sequence.

    Attributes:
        num_pairs: Attended (query, key) pairs over all heads, once per branch that attends them.
        density: Those pairs over the H L^2 of dense attention; above 1 where branches overlap.
        forward_flops: Floating-point operations of the forward's matrix products, those of a gate
            that chooses keys included.
        backward_flops: Those of a backward that recomputes scores but no outputs.
    """

    num_pairs: int
    density: float
    forward_flops: int
    backward_flops: int


def attention_cost(
    pattern: AttentionPattern,
    length: int,
    num_heads: int,
    head_dim: int,
    *,
    causal: bool = False,
) -> AttentionCost:
    """Counts pairs and matrix-product operations without building the mask.

    Args:
        pattern: Any attention pattern.
        length: Positions, L.
        num_heads: Heads, H.
        head_dim: Features per head, D. A product over a pair costs 2 D operations.
        causal: Whether only keys at or before the query are attended.
    """
    pairs = pattern.num_pairs(length, num_heads, causal=causal)
    gate = 0
    if isinstance(pattern, TopKBlocksAttention):  # scores of blocks; the choice has no gradient
        gate = 2 * head_dim * pattern.num_gate_scores(length, num_heads)
    dense_pairs = num_heads * length * length
    product = 2 * head_dim * pairs
    return AttentionCost(
        num_pairs=pairs,
        density=pairs / dense_pairs if dense_pairs else 0.0,
        forward_flops=FORWARD_PRODUCTS * product + gate,
        backward_flops=BACKWARD_PRODUCTS * product,
    )
