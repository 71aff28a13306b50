"""What block-sparse attention holds beside queries, keys, values and outputs.

See `slidenet.attention.patterns.block_sparse`: a layout of positions, which the backward keeps;
copies of q, k and v with a spare row; and what one kernel call gathers.
"""

import math

from slidenet.attention import AttentionPattern, TopKBlocksAttention
from slidenet.attention.patterns.block_sparse import (
    PIECE_ELEMENTS,
    BlockSparsePattern,
    FixedBlockPattern,
)

POSITION = 8
"""Bytes of a position in a layout."""

EXACT = 4


def spare_copies(pattern: AttentionPattern) -> int:
    """Tensors of the size of q that a forward copies: q, k and v, or none."""
    return 3 if isinstance(pattern, BlockSparsePattern) else 0


def kernel_bytes(pattern: AttentionPattern) -> int:
    """Bytes around one kernel call: what is gathered, its mask, and partial outputs.

    One and a half times the bound of a piece; between one and two, as groups are wide or long.
    """
    return 3 * PIECE_ELEMENTS * EXACT // 2 if isinstance(pattern, BlockSparsePattern) else 0


def backward_bytes(pattern: AttentionPattern, numbers: int, itemsize: int) -> int:
    """Bytes that a backward holds beside what was saved.

    Copies of q, k, v, the output and its gradient with a spare row, and three gradients, which are
    summed in float32; around one kernel call more than in the forward, by as many gradients.

    Args:
        pattern: The pattern.
        numbers: In one of those tensors.
        itemsize: Bytes per number of q.
    """
    if not isinstance(pattern, BlockSparsePattern):
        return 0
    rounded = 3 * itemsize if itemsize != EXACT else 0
    return numbers * (5 * itemsize + 3 * EXACT + rounded) + 5 * PIECE_ELEMENTS * EXACT // 2


def layout_bytes(pattern: AttentionPattern, length: int, num_heads: int) -> int:
    """Bytes of the layout of one sequence, kept from the forward to the backward of each layer.

    Counted on the layout itself, and for "topk_blocks", which lays out what its content chooses,
    worked out for content that chooses all blocks about equally often. Other patterns have none.
    """
    if isinstance(pattern, TopKBlocksAttention):
        return _routes(pattern, length, num_heads)
    if not isinstance(pattern, FixedBlockPattern):
        return 0
    storages = [
        positions.untyped_storage()
        for blocks in pattern.layout(length, num_heads)
        for positions in (blocks.queries, blocks.keys)
    ]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def _routes(pattern: TopKBlocksAttention, length: int, num_heads: int) -> int:
    """The blocks themselves, and per head and further block of a query the groups it lies in.

    Groups are half a block of queries; the last one of a block is half full on average.
    """
    size, blocks = pattern.block_size, math.ceil(length / pattern.block_size)
    side = max(1, size // 2)
    groups = length / side + blocks / 2
    routes = min(pattern.top_k, blocks) - 1
    return POSITION * (blocks * size + int(routes * num_heads * groups * (side + size)))
