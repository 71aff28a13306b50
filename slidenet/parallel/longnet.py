"""The classes of a LongNet slide encoder on several ranks; see `injection.py`.

The class token is the first token and lies on rank 0, in front of its tiles. Embedding, positions,
norms and feed-forward work token by token and need nothing. The pooled state is summed over the
ranks, so that all of them have it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from slidenet.attention import DilatedAttention
from slidenet.core.errors import ConfigError, SlidenetError
from slidenet.parallel.agreement import agree
from slidenet.parallel.chunks import Chunks, chunks_of, shard_slides
from slidenet.parallel.collectives import join_chunks, sum_over_ranks
from slidenet.parallel.dilated.attention import parallel_dilated_attention
from slidenet.parallel.randomness import derived_seed, draw_seed, seeded
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.block import Lengths, LongNetBlock, SelfAttention, spans
from slidenet.slide_encoders.longnet.config import Pooling
from slidenet.slide_encoders.recipes import State

Inputs = Literal["whole", "chunk"]


@dataclass(frozen=True)
class SequenceRanks:
    """Where a model stands among the ranks.

    Attributes:
        group: The ranks that share its slides, in the order of the chunks.
        rank: Its place among them.
        data_rank: Its place among the groups.
        inputs: Whether it is given whole slides or its chunks of them.
    """

    group: dist.ProcessGroup
    rank: int
    data_rank: int
    inputs: Inputs

    def __deepcopy__(self, memo: dict[int, Any]) -> "SequenceRanks":
        return self  # a process group cannot be copied, and a copied model stays among its ranks


class ChunkLengths(tuple[int, ...]):
    """Tokens of each slide on this rank, as the blocks pass them on, and what all ranks know.

    Attributes:
        chunks: Of each slide.
        seed: Of this forward.
    """

    chunks: tuple[Chunks, ...]
    seed: int

    @classmethod
    def of(cls, chunks: Sequence[Chunks], rank: int, seed: int) -> "ChunkLengths":
        """The lengths of one rank."""
        lengths = cls(one.size(rank) for one in chunks)
        lengths.chunks, lengths.seed = tuple(chunks), seed
        return lengths


class ParallelSelfAttention(SelfAttention):
    """Attention of a block whose tokens are packed chunks."""

    ranks: SequenceRanks

    def attend(self, x_BND: Tensor, lengths: Lengths) -> Tensor:
        """Normed tokens (1, N, D) in, mixed values out."""
        assert isinstance(lengths, ChunkLengths)
        assert isinstance(self.pattern, DilatedAttention)
        config, group = self.pattern.config, self.ranks.group
        q, k, v = (self.heads(p(x_BND)) for p in (self.q_proj, self.k_proj, self.v_proj))
        if len(set(lengths.chunks)) == 1:  # slides alike: one exchange for all of them
            q, k, v = (x.reshape(len(lengths), -1, *x.shape[2:]) for x in (q, k, v))
            out, _ = parallel_dilated_attention(q, k, v, config, group, chunks=lengths.chunks[0])
            return out.reshape(x_BND.shape)
        mixed = [
            parallel_dilated_attention(q[:, s], k[:, s], v[:, s], config, group, chunks=chunks)[0]
            for s, chunks in zip(spans(lengths), lengths.chunks, strict=True)
        ]
        return torch.cat(mixed, dim=1).flatten(-2)


class ParallelBlock(LongNetBlock):
    """A block whose stochastic depth decides alike on all ranks of a slide."""

    number: int

    def keep_factors(self, x: Tensor, lengths: Lengths) -> tuple[Tensor, Tensor] | None:
        """See `LongNetBlock.keep_factors`; the same again when a block is recomputed."""
        if not self.training or self.drop_path == 0:
            return None
        assert isinstance(lengths, ChunkLengths)
        with seeded(derived_seed(lengths.seed, self.number), x.device):
            return super().keep_factors(x, lengths)


class ParallelLongNetViT(LongNetViT):
    """The slide encoder on chunks; made by `apply_sequence_parallel`, not by hand."""

    ranks: SequenceRanks

    def forward(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        pooling: Pooling | None = None,
        state: State = "final",
    ) -> Tensor:
        """See `LongNetViT.forward`: one embedding per slide (B, D), on every rank.

        Raises:
            ParallelError: On all ranks, if they do not hold chunks of the same slides, if one of
                them holds no token or refuses its chunk, or if a rank is lost.
        """
        num_blocks = self._num_blocks(state)
        x, lengths = self._embed(features, grid_xy, mask)
        with self._dropout_of_rank(lengths, x.device):
            for block in self.blocks[:num_blocks]:
                x = self._run(block, x, lengths)
        return self._normed(self._pooled(x, lengths, pooling, final=state == "final"))

    def states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
    ) -> list[Tensor]:
        """See `LongNetViT.states`. Given chunks, the tokens of this rank's chunks only.

        Given whole slides, every rank receives all tokens: (B, 1 + L, D) for each state.
        """
        wanted = self._layers(layers)
        found = [
            [x[0, s] for s in spans(lengths)]
            if self.ranks.inputs == "chunk"
            else self._joined(x, lengths)
            for x, lengths in self._states(features, grid_xy, mask, wanted)
        ]
        if self.ranks.inputs == "chunk" or mask is None or bool(mask.all()):
            return [pad_sequence(slides, batch_first=True) for slides in found]
        with_class = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)[..., None]
        shape = (*with_class.shape[:2], self.config.embed_dim)
        return [
            slides[0].new_zeros(shape).masked_scatter(with_class, torch.cat(slides))
            for slides in found
        ]

    def pooled_states(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None = None,
        *,
        layers: Sequence[int] | None = None,
        pooling: Pooling | None = None,
    ) -> Tensor:
        """See `LongNetViT.pooled_states`: (S, B, D), on every rank."""
        wanted = self._layers(layers)
        states = self._states(features, grid_xy, mask, wanted)
        pooled = [self._pooled(x, lengths, pooling, final=False) for x, lengths in states]
        return torch.stack([self._normed(one) for one in pooled])

    def _states(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None, wanted: Sequence[int]
    ) -> Iterator[tuple[Tensor, ChunkLengths]]:
        x, lengths = self._embed(features, grid_xy, mask)
        kept = []
        with self._dropout_of_rank(lengths, x.device):
            for i in range(max(wanted, default=-1) + 1):
                if i > 0:
                    x = self._run(self._block(i - 1), x, lengths)
                if i in wanted:
                    kept.append(x)
        yield from ((x, lengths) for x in kept)

    def _embed(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, ChunkLengths]:
        """Packed tokens of this rank (1, N, D), with their lengths."""
        whole = features.shape[1] if features.ndim == 3 else 0
        refusal: SlidenetError | None = None
        counts: list[int] = []
        try:
            if self.ranks.inputs == "whole":
                features, grid_xy, mask = self._own_chunks(features, grid_xy, mask)
            self._check_chunk(features, grid_xy, mask)
            full = features.new_ones(features.shape[:2], dtype=torch.bool)
            counts = [int(n) for n in (full if mask is None else mask).sum(dim=1)]
        except SlidenetError as error:
            refusal = error
        lengths = self._agree(counts, whole, features, refusal)
        x = features[mask] if mask is not None else features.flatten(0, 1)
        cells = grid_xy[mask] if mask is not None else grid_xy.flatten(0, 1)
        x = self.tile_embed(x.to(self.tile_embed.weight.dtype)) + self.positions(cells)
        if self.ranks.rank == 0:
            first = self.class_token[0].to(x.dtype)
            x = torch.cat([part for tiles in x.split(counts) for part in (first, tiles)])
        with self._dropout_of_rank(lengths, x.device, step=1):
            return self.dropout(x[None]), lengths

    def _own_chunks(
        self, features: Tensor, grid_xy: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        self._check(features, grid_xy, mask)
        ranks = dist.get_world_size(self.ranks.group)
        return shard_slides(features, grid_xy, mask, self.ranks.rank, ranks)

    def _check_chunk(self, features: Tensor, grid_xy: Tensor, mask: Tensor | None) -> None:
        """As for whole slides, but rank 0 may hold a class token and no tile."""
        if self.ranks.inputs == "whole":
            return  # checked before it was cut
        fits = features.ndim == 3 and (mask is None or mask.shape == features.shape[:2])
        if fits and mask is not None:
            some = mask.any(dim=1)
            self._check(features[some], grid_xy[some], mask[some])
        elif not fits or features.shape[1]:
            self._check(features, grid_xy, mask)

    def _agree(
        self, counts: list[int], whole: int, features: Tensor, refusal: SlidenetError | None
    ) -> ChunkLengths:
        """What every rank holds of every slide, and one seed; a collective call."""
        first = int(self.ranks.rank == 0)
        seed = draw_seed() if self._is_random() else 0
        facts = {
            "tiles per slide, padding included,": whole if self.ranks.inputs == "whole" else 0,
            "model settings (a checksum)": crc32(repr(self.config).encode()),
            "training mode": int(self.training),
        }
        values = [seed, *(count + first for count in counts)] if refusal is None else []
        table = agree(
            facts, features.dtype, values, features.device, self.ranks.group, refusal=refusal
        )
        chunks = [chunks_of([row[1 + i] for row in table]) for i in range(len(counts))]
        seed = derived_seed(table[0][0], self.ranks.data_rank)
        return ChunkLengths.of(chunks, self.ranks.rank, seed)

    def _is_random(self) -> bool:
        return self.training and bool(self.config.dropout or self.config.drop_path)

    @contextmanager
    def _dropout_of_rank(
        self, lengths: ChunkLengths, device: torch.device, *, step: int = 0
    ) -> Iterator[None]:
        """Within the block, tokens of this rank are dropped by chances of their own."""
        number = -1 - 2 * self.ranks.rank - step  # blocks take the numbers from 0 on
        chance = seeded(derived_seed(lengths.seed, number), device)
        with chance if self._is_random() else nullcontext():
            yield

    def _pooled(
        self, x: Tensor, lengths: ChunkLengths, pooling: Pooling | None, *, final: bool
    ) -> Tensor:
        """Tokens to (B, D) on every rank: the class token, or the mean of the others."""
        how = pooling or self.config.pooling
        if how not in ("class_token", "mean"):
            raise ConfigError(f"pooling {how!r}", expected="'class_token' or 'mean'")
        has_class = self.ranks.rank == 0
        if how == "class_token":
            own = torch.stack([x[0, s.start] for s in spans(lengths)])
            if not has_class:
                # Every rank takes part in the backward, with zeros where it has nothing to say:
                # others wait for the gradients of its keys, and wrappers for its parameters.
                own = torch.where(own.new_zeros((), dtype=torch.bool), own, own.new_zeros(()))
            pooled = sum_over_ranks(self._tied(own), self.ranks.group)
            return self.encoder_norm(pooled) if final else pooled
        x = self.encoder_norm(x) if final else x
        sums = [x[0, s][int(has_class) :].sum(dim=0, dtype=_exact(x)) for s in spans(lengths)]
        total = sum_over_ranks(self._tied(torch.stack(sums)), self.ranks.group)
        tiles = torch.tensor([one.length - 1 for one in lengths.chunks], device=x.device)
        return (total / tiles[:, None]).to(x.dtype)

    def _tied(self, x: Tensor) -> Tensor:
        """x, with a gradient of zero for the class token on ranks that do not hold it."""
        if self.ranks.rank == 0:
            return x
        nothing = self.class_token.new_zeros((), dtype=torch.bool)
        token = torch.where(nothing, self.class_token, 0.0)[0]
        return x + token.to(x.dtype)

    def _joined(self, x: Tensor, lengths: ChunkLengths) -> list[Tensor]:
        """All tokens of each slide, on every rank."""
        parts = [
            join_chunks(
                self._tied(x[0, s]), [one.size(p) for p in range(one.num_ranks)], self.ranks.group
            )
            for s, one in zip(spans(lengths), lengths.chunks, strict=True)
        ]
        return parts


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
