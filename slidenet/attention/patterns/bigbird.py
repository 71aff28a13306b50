"""BigBird attention: a window of blocks, global blocks and random blocks."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from slidenet.attention.patterns.block_sparse import Blocks, FixedBlockPattern, split_into_groups
from slidenet.attention.patterns.sliding_window import check_rule, within
from slidenet.core.checks import check_whole, plain_numbers
from slidenet.core.errors import AttentionError
from slidenet.core.window_rule import WindowRule


@dataclass(frozen=True)
class BigBirdAttention(FixedBlockPattern):
    """Blocks of queries see neighbouring, global and random blocks of keys.

    Zaheer et al. 2020, section 2 and appendix D (the blocked form; global blocks are existing
    tokens, "ITC"). Linear: L block_size (window_blocks + 2 global_blocks + random_blocks). Random
    blocks are drawn per head and query block, without repetition, among those neither global nor in
    the window; a given length, number of heads and seed always draws the same. When causal, pairs
    that look ahead are dropped, global and random ones too, and the window lies before the query.
    The paper has no causal form; a window means here what it means in the rest of the family.

    Args:
        block_size: Tokens per block.
        window_blocks: Width of the window in blocks, the query's own among them. Both ways half of
            it on each side, an even width counting as the next odd one; when causal the query's
            own block and window_blocks - 1 before it.
        global_blocks: How many blocks from the start are global; the first holds the class token.
        random_blocks: How many random blocks each query block sees.
        seed: Chooses the random blocks.
        window_rule: As in `SlidingWindowAttention`, counted in blocks.

    Raises:
        AttentionError: If a size is out of range, or the rule unknown.
    """

    block_size: int = 64
    window_blocks: int = 3
    global_blocks: int = 1
    random_blocks: int = 3
    seed: int = 0
    window_rule: WindowRule = "keys"
    name: ClassVar[str] = "bigbird"

    def __post_init__(self) -> None:
        plain_numbers(self)
        check_whole(
            error=AttentionError, block_size=self.block_size, window_blocks=self.window_blocks
        )
        check_whole(
            least=0,
            error=AttentionError,
            global_blocks=self.global_blocks,
            random_blocks=self.random_blocks,
            seed=self.seed,
        )
        check_rule(self.window_rule)

    def mask(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Pairs of blocks that are near, global or drawn; (H, L, L)."""
        position = torch.arange(length)
        block = position // self.block_size
        near = within(block[:, None] - block, *self._near(causal))
        is_global = block < self.global_blocks
        num_blocks = math.ceil(length / self.block_size)
        drawn = torch.zeros(num_heads, num_blocks, num_blocks + 1, dtype=torch.bool)
        chosen = self.drawn_blocks(length, num_heads, causal=causal)
        drawn.scatter_(2, chosen % (num_blocks + 1), True)
        allowed = near | is_global[:, None] | is_global | drawn[:, block][:, :, block]
        return allowed & (position[:, None] >= position) if causal else allowed

    def _near(self, causal: bool) -> tuple[int, int]:
        """Blocks of the window before and after the query's own, those that look ahead included.

        By the old rule a causal window is the one around the query without what looks ahead, and
        the random blocks keep off both halves.
        """
        if causal and self.window_rule == "keys":
            return self.window_blocks - 1, 0
        return self.window_blocks // 2, self.window_blocks // 2

    def drawn_blocks(self, length: int, num_heads: int, *, causal: bool = False) -> Tensor:
        """Random key blocks per head and query block, int64 (H, blocks, random_blocks), -1 = none.

        Floyd's sampling: linear in what is drawn, whatever there is to choose from.
        """
        num_blocks = math.ceil(length / self.block_size)
        block = torch.arange(num_blocks)
        back, ahead = self._near(causal)
        first_near = (block - back).clamp(min=self.global_blocks)
        end_near = (block + ahead + 1).clamp(max=num_blocks)
        num_near = (end_near - first_near).clamp(min=0)
        choices = (num_blocks - self.global_blocks - num_near).clamp(min=0)
        generator = torch.Generator().manual_seed(self.seed)
        share = torch.rand(
            num_heads, num_blocks, self.random_blocks, generator=generator, dtype=torch.float64
        )
        drawn = torch.full(share.shape, -1, dtype=torch.long)
        wanted = choices.clamp(max=self.random_blocks)
        for turn in range(self.random_blocks):
            last = choices - wanted + turn  # Floyd: draw from 0 .. last, take last if already taken
            draw = (share[..., turn] * (last + 1)).long()
            taken = (drawn[..., :turn] == draw[..., None]).any(-1)
            drawn[..., turn] = torch.where(taken, last, draw).masked_fill(turn >= wanted, -1)
        chosen = drawn + self.global_blocks
        chosen = torch.where(chosen >= first_near[:, None], chosen + num_near[:, None], chosen)
        nobody = (drawn < 0) | (block < self.global_blocks)[:, None]
        return chosen.masked_fill(nobody, -1)

    def num_pairs(self, length: int, num_heads: int, *, causal: bool = False) -> int:
        """By pairs of blocks: their sizes multiplied, half of it for a causal block with itself."""
        starts = torch.arange(0, length, self.block_size)
        size = (length - starts).clamp(max=self.block_size)
        block, others = torch.arange(len(size)), torch.arange(len(size)) >= self.global_blocks
        before = torch.cat([size.new_zeros(1), size.cumsum(0)])  # tokens before each block
        back, ahead = self._near(causal)
        first = (block - back).clamp(min=min(self.global_blocks, len(size)))
        end = (block + (0 if causal else ahead + 1)).clamp(max=len(size))
        near = (before[end] - before[first.minimum(end)]) * size
        if causal:
            near += size * (size + 1) // 2
        chosen = self.drawn_blocks(length, num_heads, causal=causal)
        seen = (chosen >= 0) & ((chosen < block[:, None]) if causal else True)
        drawn = (torch.where(seen, size[chosen], 0).sum(dim=2) * size)[:, others]
        number = min(self.global_blocks * self.block_size, length)
        with_global = (length - number) * number
        with_global += number * (number + 1) // 2 if causal else length * number
        return num_heads * (int(near[others].sum()) + with_global) + int(drawn.sum())

    def layout(self, length: int, num_heads: int, *, causal: bool = False) -> list[Blocks]:
        """Other blocks see near and drawn ones; others see globals; globals see everyone."""
        blocks = split_into_groups(length, self.block_size)[0]
        others = torch.arange(len(blocks))[self.global_blocks :]
        back, ahead = self._near(causal)
        near = others[:, None] + torch.arange(-back, ahead + 1)
        near = near.masked_fill((near < self.global_blocks) | (near >= len(blocks)), -1)
        drawn = self.drawn_blocks(length, num_heads, causal=causal)[:, self.global_blocks :]
        seen = torch.cat([near.expand(num_heads, *near.shape), drawn], dim=2)
        nothing = blocks.new_full((1, self.block_size), -1)
        keys = torch.cat([blocks, nothing])[seen].flatten(2)
        num_globals = min(self.global_blocks * self.block_size, length)
        everyone = torch.arange(length).view(1, 1, -1)
        globals_, rest = everyone[..., :num_globals], everyone[..., num_globals:]
        return [
            Blocks(blocks[None, self.global_blocks :], keys),
            Blocks(rest, globals_),
            Blocks(globals_, everyone),
        ]
