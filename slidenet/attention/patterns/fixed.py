"""Fixed attention: the own block, and a few summary positions at the end of every block."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern, split_into_groups
from slidenet.attention.patterns.strided import root_stride
from slidenet.core.checks import check_whole, plain_numbers
from slidenet.core.errors import AttentionError


@dataclass(frozen=True)
class FixedAttention(FixedBlockPattern):
    """Every query sees its own block, and the last positions of every block.

    The *fixed* attention of the Sparse Transformer (Child et al. 2019, section 4.3), both sets of
    keys merged into one head. What is in a block flows into its summary positions in one layer and
    from there to everyone in the next, so every token reaches every other (when causal, every
    earlier one) in two layers, at any length and any settings. A short last block has summary
    positions too, its own last ones.

    Cost is L (stride + summary_tokens L / stride): with the default stride of sqrt(L)
    (1 + summary_tokens) L sqrt(L). The paper takes 8 to 32 summary positions for a stride of 128 or
    256.

    Args:
        stride: Positions per block (l in the paper); None = sqrt(L) rounded up.
        summary_tokens: How many positions at the end of a block everyone sees (c in the paper); all
            of them in a block that has no more.

    Raises:
        AttentionError: If a number is below 1.
    """

    stride: int | None = None
    summary_tokens: int = 1
    name: ClassVar[str] = "fixed"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(or_none=True, error=AttentionError, stride=self.stride)
        check_whole(error=AttentionError, summary_tokens=self.summary_tokens)

    def stride_for(self, length: int) -> int:
        """Positions per block in a sequence of `length` positions."""
        return self.stride or root_stride(length)

    def summaries(self, length: int) -> Tensor:
        """The positions everyone sees, ascending; int64."""
        position, stride = torch.arange(length), self.stride_for(length)
        end = ((position // stride + 1) * stride).clamp(max=length)
        return position[position >= end - self.summary_tokens]

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Pairs of one block, and every pair with a summary position as its key; (1, L, L)."""
        block = torch.arange(length) // self.stride_for(length)
        allowed = block[:, None] == block
        allowed[:, self.summaries(length)] = True
        return (allowed.tril() if causal else allowed)[None]

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """Blocks with themselves, and summaries with queries of other (causal: later) blocks."""
        stride = self.stride_for(length)
        start = torch.arange(0, length, stride)
        end = (start + stride).clamp(max=length)
        size = end - start
        own = size * (size + 1) // 2 if causal else size.square()
        seeing = length - end if causal else length - size
        return num_heads * int((own + size.clamp(max=self.summary_tokens) * seeing).sum())

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """Blocks see themselves; everyone sees the summaries of other blocks."""
        stride = self.stride_for(length)
        blocks, everyone = split_into_groups(length, stride), torch.arange(length).view(1, 1, -1)
        return [
            Blocks(blocks, blocks),
            Blocks(everyone, self.summaries(length).view(1, 1, -1), Elsewhere(stride)),
        ]


@dataclass(frozen=True)
class Elsewhere:
    """Keys of other blocks of `stride` positions than the query's."""

    stride: int

    def __call__(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Predicate`."""
        return query // self.stride != key // self.stride
