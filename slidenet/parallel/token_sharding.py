"""Tokens of slides on several ranks: what `LongNetViT.shard_tokens` takes in.

The class token is the first token and lies on rank 0, in front of its tiles. Embedding, positions,
norms and feed-forward work token by token and need nothing. The pooled state is summed over the
ranks, so that all of them have it.

Shapes: B slides, L tiles, N tokens of this rank, D width, H heads.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zlib import crc32

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from slidenet.attention import AttentionPattern, DilatedAttention
from slidenet.attention.graph_break import outside_compiled_graphs
from slidenet.core.arrays import BoolArray
from slidenet.core.errors import ParallelError
from slidenet.parallel.agreement import Fact, agree, fail_on_all_ranks
from slidenet.parallel.chunks import Chunks, chunks_of, even_chunks, shard_slides, tile_span
from slidenet.parallel.collectives import gather_objects, join_chunks, sum_over_ranks
from slidenet.parallel.digests import WeightDigests
from slidenet.parallel.dilated import parallel_dilated_attention
from slidenet.parallel.forward_facts import (
    SAME_SLIDES,
    SAME_WEIGHTS,
    Inputs,
    draws,
    forward_facts,
)
from slidenet.parallel.randomness import derived_seed, draw_seed, seeded, unchanged_on_error
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.config import Pooling
from slidenet.slide_encoders.longnet.request import ForwardRequest
from slidenet.slide_encoders.longnet.tokens import CheckInputs, Stage, at_real_tiles, spans

T = TypeVar("T")


@dataclass(frozen=True)
class SequenceSharding:
    """Each rank holds a contiguous chunk of the tokens of every slide; a `TokenSharding`.

    Attributes:
        group: The ranks that share a slide, in the order of the chunks.
        rank: The place of this one among them.
        data_rank: Its place among the groups.
        inputs: Whether the model is given whole slides or its chunks of them.
        weights: Digests of the parameters of earlier forwards, and when they were compared.
    """

    group: dist.ProcessGroup
    rank: int
    data_rank: int
    inputs: Inputs
    weights: WeightDigests = field(default_factory=WeightDigests, repr=False, compare=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SequenceSharding":
        return self  # a process group cannot be copied, and a copied model stays among its ranks

    @outside_compiled_graphs
    def place(
        self,
        features: Tensor,
        grid_xy: Tensor,
        mask: Tensor | None,
        *,
        encoder: nn.Module,
        request: ForwardRequest,
        check: CheckInputs,
    ) -> tuple[Tensor, Tensor, "ChunkLayout"]:
        """See `TokenSharding.place`: packed chunks of this rank; a collective call.

        Raises:
            ParallelError: On all ranks, if they do not hold chunks of the same slides or are asked
                for different things, if one of them holds no token or refuses its input, or if a
                rank is lost.
        """
        assert isinstance(encoder, LongNetViT)
        whole, given = self.inputs == "whole", mask
        facts: dict[str, Fact] = {}
        counts: list[int] = []
        changes, random = 0, False
        refusal: Exception | None = None
        try:
            request.check()
            if whole:
                check(features, grid_xy, mask)
            else:
                _check_chunk(features, grid_xy, mask, check)
            facts = forward_facts(
                encoder, request, self.inputs, features, grid_xy, mask, self.weights
            )
            random = draws(encoder)
            changes = self.weights.changes(encoder) if torch.is_grad_enabled() else 0
            if whole:
                ranks = dist.get_world_size(self.group)
                features, grid_xy, mask = shard_slides(features, grid_xy, mask, self.rank, ranks)
            full = features.new_ones(features.shape[:2], dtype=torch.bool)
            counts = [int(n) for n in (full if mask is None else mask).sum(dim=1)]
        except Exception as error:  # whatever it is, the others must hear of it; `agree` raises it
            refusal = error
        first = int(self.rank == 0)  # holds the class token of each slide
        with unchanged_on_error():
            seed = draw_seed() if random else 0
            values = [seed, changes, *(count + first for count in counts)]
            call = f"a forward of a slide encoder (inputs={self.inputs!r})"
            table = agree(call, facts, values, self.group, refusal=refusal)
            if len({row[1] for row in table}) > 1 or changes < 0:
                self._compare_weights(encoder)
            elif not torch.is_grad_enabled():
                self.weights.compared(encoder)
        if not whole and request.slide_id is None:
            raise ParallelError(
                "sequence ranks were given chunks of slides and no slide_id",
                expected="the same slide_id on every rank, as chunks cannot be compared",
                remedy="pass slide_id=..., one name for each slide of the batch",
            )
        layout = ChunkLayout(
            self,
            tuple(chunks_of([row[2 + i] for row in table]) for i in range(len(counts))),
            seed=derived_seed(table[0][0], self.data_rank),
            random=random,
            mask=None if given is None or not whole or bool(given.all()) else given,
        )
        if mask is None:
            return features.flatten(0, 1), grid_xy.flatten(0, 1), layout
        return features[mask], grid_xy[mask], layout

    def _compare_weights(self, encoder: LongNetViT) -> None:
        """A collective call.

        Raises:
            ParallelError: On all ranks, if they are not the same.
        """
        found = 0
        refusal: Exception | None = None
        try:
            found = self.weights.of(encoder)
        except Exception as error:  # such as a lack of memory; `agree` raises it
            refusal = error
        facts = {"weights": Fact(found, SAME_WEIGHTS, "")}
        agree("the comparison of weights", facts, [], self.group, refusal=refusal)
        self.weights.compared(encoder)

    def read_tiles(
        self, real: BoolArray, read: Callable[[int, int], T], *, known: Mapping[str, object]
    ) -> T:
        """See `TokenSharding.read_tiles`; where it fails on one rank, it fails on all of them.

        Ranks share the tiles that are real, as one that is not is as good as absent.

        Raises:
            ParallelError: On all ranks, if they know different things of the slide, if there are
                fewer tokens than ranks, if reading failed on another rank, or if a rank is lost.
        """
        facts = {name: Fact(value, SAME_SLIDES) for name, value in known.items()}
        facts["mask"] = Fact(crc32(real.tobytes()), SAME_SLIDES, "")
        agree("the reading of a slide", facts, [], self.group)

        def read_own() -> T:
            if self.inputs == "whole":
                return read(0, len(real))
            ranks, places = dist.get_world_size(self.group), np.flatnonzero(real)
            first, last = tile_span(even_chunks(1 + len(places), ranks), self.rank)
            start = int(places[first]) if self.rank else 0
            return read(start, int(places[last]) if self.rank < ranks - 1 else len(real))

        return fail_on_all_ranks(read_own, lambda failure: gather_objects(failure, self.group))


def _check_chunk(
    features: Tensor, grid_xy: Tensor, mask: Tensor | None, check: CheckInputs
) -> None:
    """As for whole slides, but rank 0 may hold a class token and no tile."""
    fits = features.ndim == 3 and (mask is None or mask.shape == features.shape[:2])
    if fits and mask is not None:
        some = mask.any(dim=1)
        check(features[some], grid_xy[some], mask[some])
    elif not fits or features.shape[1]:
        check(features, grid_xy, mask)


class ChunkLayout:
    """The tokens of one rank in one forward, packed (1, N, D); a `TokenLayout`.

    Args:
        sharding: The ranks.
        chunks: Of the tokens of each slide.
        seed: Of this forward, the same on all ranks of a slide.
        random: Whether anything is drawn in this forward.
        mask: Bool (B, L) of the whole slides, where the ranks were given them and some tile is not
            real.
    """

    is_whole = False

    def __init__(
        self,
        sharding: SequenceSharding,
        chunks: tuple[Chunks, ...],
        *,
        seed: int,
        random: bool,
        mask: Tensor | None,
    ) -> None:
        self.lengths = tuple(one.size(sharding.rank) for one in chunks)
        self._sharding, self._chunks = sharding, chunks
        self._seed, self._random, self._mask = seed, random, mask
        self._class_token: Tensor | None = None

    def prepend(self, x: Tensor, class_token: Tensor) -> Tensor:
        """See `TokenLayout.prepend`; only rank 0 holds class tokens."""
        self._class_token = class_token
        if self._sharding.rank == 0:
            tiles = torch.split(x, [n - 1 for n in self.lengths])
            first = class_token[0]
            x = torch.cat([part for t in tiles for part in (first, t)])
        return x[None]

    def attend(self, pattern: AttentionPattern, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `TokenLayout.attend`; a collective call."""
        assert isinstance(pattern, DilatedAttention)
        config, group = pattern.config, self._sharding.group
        if len(set(self._chunks)) == 1:  # slides alike: one exchange for all of them
            q, k, v = (x.reshape(len(self.lengths), -1, *x.shape[2:]) for x in (q, k, v))
            out, _ = parallel_dilated_attention(q, k, v, config, group, chunks=self._chunks[0])
            return out.reshape(1, -1, *out.shape[2:])
        mixed = []
        for s, chunks in zip(spans(self.lengths), self._chunks, strict=True):
            one = (q[:, s], k[:, s], v[:, s])
            mixed.append(parallel_dilated_attention(*one, config, group, chunks=chunks)[0])
        return torch.cat(mixed, dim=1)

    def own_draws(self, stage: Stage, device: torch.device) -> AbstractContextManager[None]:
        """See `TokenLayout.own_draws`: seeds that no other rank and no block has."""
        if not self._random:
            return nullcontext()
        # Blocks take the numbers from 0 on.
        number = -1 - 2 * self._sharding.rank - (stage == "embedding")
        return seeded(derived_seed(self._seed, number), device)

    def slide_draws(self, block: int, device: torch.device) -> AbstractContextManager[None]:
        """See `TokenLayout.slide_draws`."""
        return seeded(derived_seed(self._seed, block), device)

    def pool(self, x: Tensor, pooling: Pooling) -> Tensor:
        """See `TokenLayout.pool`: the same on every rank; a collective call."""
        slides = list(spans(self.lengths))
        has_class = self._sharding.rank == 0
        if pooling == "class_token":
            own = torch.stack([x[0, s.start] for s in slides])
            if not has_class:
                # Every rank takes part in the backward, with zeros where it has nothing to say:
                # others wait for the gradients of its keys, and wrappers for its parameters.
                own = torch.where(own.new_zeros((), dtype=torch.bool), own, own.new_zeros(()))
            return sum_over_ranks(self._tied(own), self._sharding.group)
        exact = torch.float64 if x.dtype == torch.float64 else torch.float32
        sums = [x[0, s][int(has_class) :].sum(dim=0, dtype=exact) for s in slides]
        total = sum_over_ranks(self._tied(torch.stack(sums)), self._sharding.group)
        tiles = torch.tensor([one.length - 1 for one in self._chunks], device=x.device)
        return (total / tiles[:, None]).to(x.dtype)

    def unpack(self, x: Tensor) -> Tensor:
        """See `TokenLayout.unpack`: all tokens on every rank, or those of its chunks.

        With `inputs="whole"` it is a collective call; with "chunk", chunks of shorter slides are
        filled up with zeros at the end.
        """
        group, slides = self._sharding.group, [x[0, s] for s in spans(self.lengths)]
        if self._sharding.inputs == "chunk":
            return pad_sequence(slides, batch_first=True)
        joined = [
            join_chunks(self._tied(own), [one.size(p) for p in range(one.num_ranks)], group)
            for own, one in zip(slides, self._chunks, strict=True)
        ]
        if self._mask is None:
            return pad_sequence(joined, batch_first=True)
        return at_real_tiles(torch.cat(joined), self._mask)

    def _tied(self, x: Tensor) -> Tensor:
        """x, with a gradient of zero for the class token on ranks that do not hold it."""
        assert self._class_token is not None
        if self._sharding.rank == 0:
            return x
        nothing = self._class_token.new_zeros((), dtype=torch.bool)
        token = torch.where(nothing, self._class_token, 0.0)[0]
        return x + token.to(x.dtype)
