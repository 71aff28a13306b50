"""Where the tokens of slides lie: on this device, or spread over several from outside.

Embedding, norms and feed-forward networks work token by token. Everything else (attention, random
draws, pooling) goes through the `TokenLayout` of the forward, which a `TokenSharding` makes. The
defaults here keep whole slides on one device; `slidenet.parallel` brings those for several, and
`LongNetViT.shard_tokens` takes them in.

Shapes: B slides, L tiles, N tokens (class token first), D width, H heads.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from slidenet.attention import AttentionPattern, attend_packed
from slidenet.attention.operators import call_pattern
from slidenet.core.arrays import BoolArray
from slidenet.slide_encoders.longnet.config import Pooling
from slidenet.slide_encoders.longnet.padded import real_tiles_first
from slidenet.slide_encoders.longnet.request import ForwardRequest

T = TypeVar("T")
CheckInputs = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Raises for features, cells or a mask that the model does not take; gives the cells to use."""

Stage = Literal["embedding", "blocks"]


class TokenLayout(Protocol):
    """The tokens of one forward as they lie on this device, and all that mixes tokens of a slide.

    Tokens are x (B, N, D), one slide per row, or packed, (1, all tokens, D), slide after slide.
    """

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """Tokens of each slide on this device where they are packed; None for one slide per row."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether this device holds every token of every slide."""
        ...

    def prepend(self, x: Tensor, class_token: Tensor) -> Tensor:
        """Tokens of tiles, as `TokenSharding.place` gave them, with a class token per slide.

        Args:
            x: (B, L, D), or (all tiles, D) where packed.
            class_token: (1, 1, D).
        """
        ...

    def attend(self, pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`pattern` over each slide on its own; q, k, v and the output are (B, N, H, D / H)."""
        ...

    def own_draws(self, stage: Stage, device: torch.device) -> AbstractContextManager[None]:
        """Within the block, random numbers are of this device's own tokens (dropout)."""
        ...

    def slide_draws(self, block: int, device: torch.device) -> AbstractContextManager[None]:
        """Within the block, random numbers are alike wherever tokens of a slide lie, per block.

        A block that is recomputed in the backward draws the same again.
        """
        ...

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """Tokens to one vector per slide (B, D): the class token, or the mean of the others."""
        ...

    def unpack(self, x: Tensor) -> Tensor:
        """Tokens as (B, 1 + L, D) in the order of the tiles, zeros at masked ones."""
        ...


class TokenSharding(Protocol):
    """How the tokens of slides are spread over devices; kept by the model, the same on all."""

    def place(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None,
        *,
        encoder: nn.Module,
        request: ForwardRequest,
        check: CheckInputs,
    ) -> tuple[Tensor, Tensor, TokenLayout]:
        """Features and cells of the tiles that this device embeds, and the layout of the forward.

        Args:
            features: Tile features (B, L, F).
            grid_xy: int64 (B, L, 2), (column, row) cells.
            mask: Bool (B, L), True = real tile; masked tiles are left out.
            encoder: The slide encoder.
            request: What else it is asked for, unchecked.
            check: Called with the tensors before they are used.

        Returns:
            Features (B, L, F) and cells (B, L, 2), or packed (all tiles, F) and (all tiles, 2).
        """
        ...

    def read_tiles(
        self, real: BoolArray, read: Callable[[int, int], T], *, known: Mapping[str, object]
    ) -> T:
        """What `read` gives for the tiles of one slide that this device embeds.

        Args:
            real: bool (N,), True = real tile.
            read: Takes the first tile and the one after the last.
            known: What every device knows of the slide without reading its features, by name;
                devices that share it must know the same.
        """
        ...


@dataclass(frozen=True, eq=False)
class WholeSlides:
    """The layout of slides that lie whole on this device.

    Attributes:
        lengths: Tokens of each slide where they are packed.
        mask: Bool (B, L), True = real tile, where some tile is not.
    """

    lengths: tuple[int, ...] | None = None
    mask: Tensor | None = None

    @property
    def is_whole(self) -> bool:
        """See `TokenLayout.is_whole`."""
        return True

    def prepend(self, x: Tensor, class_token: Tensor) -> Tensor:
        """See `TokenLayout.prepend`."""
        if self.lengths is None:
            return torch.cat([class_token.expand(x.shape[0], -1, -1), x], dim=1)
        tiles = torch.split(x, [n - 1 for n in self.lengths])
        return torch.cat([part for t in tiles for part in (class_token[0], t)])[None]

    def attend(self, pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `TokenLayout.attend`."""
        if self.lengths is None:
            return call_pattern(pattern, q, k, v)[0]
        return attend_packed(pattern, q[0], k[0], v[0], self.lengths)[0][None]

    def own_draws(self, stage: Stage, device: torch.device) -> AbstractContextManager[None]:
        """PyTorch's default generator, whatever it is at."""
        return nullcontext()

    def slide_draws(self, block: int, device: torch.device) -> AbstractContextManager[None]:
        """PyTorch's default generator, whatever it is at."""
        return nullcontext()

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `TokenLayout.pool`."""
        if self.lengths is None:
            return x[:, 0] if pooling == "class_token" else x[:, 1:].mean(dim=1)
        if pooling == "class_token":
            starts = torch.tensor([s.start for s in spans(self.lengths)], device=x.device)
            return x[0].index_select(0, starts)
        # The parts of a split share one gradient; slices would each have one of the whole batch.
        return torch.stack([t[1:].mean(dim=0) for t in torch.split(x[0], list(self.lengths))])

    def unpack(self, x: Tensor) -> Tensor:
        """See `TokenLayout.unpack`."""
        return x if self.mask is None else at_real_tiles(x.flatten(0, 1), self.mask)


@dataclass(frozen=True)
class OneDevice:
    """Whole slides on one device: what every model does unless it is told otherwise."""

    def place(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None,
        *,
        encoder: nn.Module,
        request: ForwardRequest,
        check: CheckInputs,
    ) -> tuple[Tensor, Tensor, TokenLayout]:
        """See `TokenSharding.place`: packed where slides differ in length, padded if compiled."""
        request.check()
        grid_xy = check(features, grid_xy, mask)
        if mask is not None and torch.compiler.is_compiling():
            return real_tiles_first(features, grid_xy, mask)
        if mask is None or bool(mask.all()):
            return features, grid_xy, WholeSlides()
        counts: list[int] = mask.sum(dim=1).tolist()
        real = mask.flatten().nonzero()[:, 0]
        features, grid_xy = (x.flatten(0, 1).index_select(0, real) for x in (features, grid_xy))
        if len(set(counts)) > 1:
            return features, grid_xy, WholeSlides(tuple(1 + n for n in counts), mask)
        shape = (len(counts), counts[0])
        return features.reshape(*shape, -1), grid_xy.reshape(*shape, 2), WholeSlides(mask=mask)

    def read_tiles(
        self, real: BoolArray, read: Callable[[int, int], T], *, known: Mapping[str, object]
    ) -> T:
        """All of them."""
        return read(0, len(real))


def spans(lengths: tuple[int, ...]) -> Iterator[slice]:
    """Where each slide of a packed batch lies."""
    start = 0
    for length in lengths:
        yield slice(start, start + length)
        start += length


def at_real_tiles(tokens: Tensor, mask: Tensor) -> Tensor:
    """Tokens (all, D), class tokens included, as (B, 1 + L, D) with zeros where masked."""
    with_class = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)[..., None]
    zeros = tokens.new_zeros(*with_class.shape[:2], tokens.shape[-1])
    return zeros.masked_scatter(with_class, tokens)
