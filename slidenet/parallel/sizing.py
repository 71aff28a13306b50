"""How much one slide costs before anything runs: operations, memory and traffic per rank.

Any attention pattern can be sized on one rank; dilated attention, and dense attention gathered or
as a ring, also on several. Memory is counted from what the code keeps: tensors saved for the
backward, token by token and layer by layer, and the largest set alive at once otherwise. Sizes of
temporaries within one kernel and the allocator's own losses are not in it;
`scripts/benchmarks/bench_parallel.py` measures both.
"""

from dataclasses import dataclass
from typing import Literal

from slidenet.attention import AttentionPattern, DenseAttention, DilatedAttention
from slidenet.attention.accounting import attention_cost
from slidenet.attention.patterns.block_sparse import BlockSparsePattern
from slidenet.core.checks import check_whole
from slidenet.core.errors import ConfigError, ParallelError
from slidenet.parallel.block_memory import backward_bytes, kernel_bytes, layout_bytes, spare_copies
from slidenet.parallel.chunks import Chunks, even_chunks
from slidenet.parallel.communication import dilated_bytes, ring_bytes
from slidenet.slide_encoders import LongNetConfig
from slidenet.slide_encoders.longnet.block import GPU_CHUNK_TOKENS

Scheme = Literal["dilated", "dense", "ring", "alone"]
Precision = Literal["float32", "bfloat16"]
EXACT = 4
"""Bytes per number of weights, residuals, norms and accumulators."""

MOST_RANKS = 4096


@dataclass(frozen=True)
class Workload:
    """One slide, and how it is worked on.

    Attributes:
        num_tiles: Tiles of the slide; the class token is one more token.
        scheme: "dilated" attention with our exchange; "dense" attention with keys and values
            gathered on every rank; "ring": dense, with keys and values passed around; "alone": any
            attention, which one rank computes.
        pattern: The attention of the scheme "alone"; for "dilated" one other than the encoder's.
        precision: "bfloat16" is mixed precision: weights, residuals and norms stay in float32.
        training: Forward, backward and AdamW, instead of a forward without gradients.
        checkpoint_activations: Blocks are recomputed in the backward.
        whole_inputs: Every rank is given all tile features, not only its chunk's.
        chunk_tokens: Tokens per chunk of the token-wise part of a block; a GPU's default.
    """

    num_tiles: int
    scheme: Scheme = "dilated"
    pattern: AttentionPattern | None = None
    precision: Precision = "bfloat16"
    training: bool = False
    checkpoint_activations: bool = False
    whole_inputs: bool = False
    chunk_tokens: int = GPU_CHUNK_TOKENS

    def __post_init__(self) -> None:
        check_whole(num_tiles=self.num_tiles)
        wanted = {"alone": AttentionPattern, "dilated": DilatedAttention | None}
        if not isinstance(self.pattern, wanted.get(self.scheme, type(None))):
            raise ConfigError(
                f"the scheme {self.scheme!r} with {getattr(self.pattern, 'name', 'no')} attention",
                expected="a pattern for 'alone', one of dilated attention or none for 'dilated', "
                "none for the others",
            )

    @property
    def tokens(self) -> int:
        """Tiles and the class token."""
        return self.num_tiles + 1

    @property
    def itemsize(self) -> int:
        """Bytes per number of queries, keys, values and what linear layers take."""
        return 2 if self.precision == "bfloat16" else EXACT


@dataclass(frozen=True)
class RankCost:
    """What the rank that is worst off has to do and to hold.

    Attributes:
        num_ranks: Ranks that share the slide.
        forward_flops: Of the matrix products of one forward, per rank.
        step_flops: Of a training step, or of the forward where nothing is trained.
        weights: Bytes of parameters, with their copies in half precision.
        optimiser: Bytes of gradients and of AdamW's two moments.
        inputs: Bytes of tile features and cells.
        activations: Bytes alive at the peak.
        exchanged: Bytes received per layer in one exchange.
        exchanges: Exchanges per layer: the forward's, in training also the backward's, and that of
            a forward recomputed there.
    """

    num_ranks: int
    forward_flops: float
    step_flops: float
    weights: int
    optimiser: int
    inputs: int
    activations: int
    exchanged: int
    exchanges: int

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.weights + self.optimiser + self.inputs + self.activations


def rank_cost(config: LongNetConfig, work: Workload, num_ranks: int = 1) -> RankCost:
    """The cost of one slide shared by some ranks.

    Args:
        config: The slide encoder; its segments and dilations count for the scheme "dilated".
        work: The slide, and how it is worked on.
        num_ranks: Ranks that share it.

    Raises:
        ParallelError: If there are more ranks than tokens, or several and the scheme is "alone".
        ConfigError: If the scheme is "dilated" and the encoder's attention is not.
    """
    if work.scheme == "alone" and num_ranks > 1:
        name = _pattern(config, work).name
        raise ParallelError(
            f"{name} attention on {num_ranks} ranks",
            expected="one rank",
            remedy="share a slide by dilated attention, or count with dense attention",
        )
    chunks = even_chunks(work.tokens, num_ranks)
    exchanged = _exchanged(config, work, chunks)
    forward, step = _flops(config, work)
    weights = parameter_count(config) * EXACT
    per_rank = work.tokens if work.whole_inputs else chunks.size(0)
    return RankCost(
        num_ranks=num_ranks,
        forward_flops=forward / num_ranks,
        step_flops=step / num_ranks,
        weights=weights + (weights // 2 if work.itemsize == 2 else 0),
        optimiser=3 * weights if work.training else 0,
        inputs=per_rank * (config.feature_dim * EXACT + 2 * 8),
        activations=_activations(config, work, chunks, exchanged),
        exchanged=exchanged,
        exchanges=1 + work.training * (1 + work.checkpoint_activations),
    )


def smallest_ranks(config: LongNetConfig, work: Workload, memory: float) -> int | None:
    """The smallest number of ranks whose memory holds the slide, or None.

    Args:
        config: The slide encoder.
        work: The slide, and how it is worked on.
        memory: Bytes per rank that may be used.
    """
    most = 1 if work.scheme == "alone" else min(MOST_RANKS, work.tokens)
    failed, fits = 0, 1
    while rank_cost(config, work, fits).memory > memory:
        failed, fits = fits, fits * 2
        if fits > most or not _still_falls(config, work, failed, memory):
            return None
    while fits - failed > 1:
        middle = (failed + fits) // 2
        if rank_cost(config, work, middle).memory > memory:
            failed = middle
        else:
            fits = middle
    return fits


def _still_falls(config: LongNetConfig, work: Workload, num_ranks: int, memory: float) -> bool:
    """Whether more ranks can help at all: what does not shrink must fit."""
    cost = rank_cost(config, work, num_ranks)
    fixed = cost.weights + cost.optimiser + (cost.inputs if work.whole_inputs else 0)
    return fixed < memory


def parameter_count(config: LongNetConfig) -> int:
    """Numbers in a `LongNetViT`: embedding, class token, blocks, two last norms."""
    d, f = config.embed_dim, config.ffn_dim
    linears = 4 * (d * d + d) + (d * f + f) + (f * d + d)
    norms = 3 * 2 * d + 2 * f
    return config.feature_dim * d + d + d + config.depth * (linears + norms) + 2 * 2 * d


def _flops(config: LongNetConfig, work: Workload) -> tuple[float, float]:
    """Operations of the forward and of a step, over all ranks."""
    d, f, n = config.embed_dim, config.ffn_dim, work.tokens
    linear = 2 * n * (config.feature_dim * d + config.depth * (4 * d * d + 2 * d * f))
    attention = attention_cost(_pattern(config, work), n, config.num_heads, d // config.num_heads)
    forward = linear + config.depth * attention.forward_flops
    if not work.training:
        return forward, forward
    backward = 2 * linear + config.depth * attention.backward_flops
    return forward, forward * (2 if work.checkpoint_activations else 1) + backward


def _pattern(config: LongNetConfig, work: Workload) -> AttentionPattern:
    """The attention whose pairs are computed."""
    if work.scheme == "dilated":
        return _dilated(config, work)
    return work.pattern or DenseAttention()


def _dilated(config: LongNetConfig, work: Workload) -> DilatedAttention:
    if isinstance(work.pattern, DilatedAttention):
        return work.pattern
    if config.attention != "dilated":
        raise ConfigError(
            f"a slide encoder with {config.attention!r} attention",
            expected="'dilated'",
            remedy="choose a slide encoder with dilated attention",
        )
    return DilatedAttention(**config.pattern_settings())


def _exchanged(config: LongNetConfig, work: Workload, chunks: Chunks) -> int:
    if work.scheme == "alone":
        return 0
    if work.scheme != "dilated":
        return ring_bytes(chunks, config.embed_dim, itemsize=work.itemsize).most
    head_dim = config.embed_dim // config.num_heads
    settings = _dilated(config, work).config
    return dilated_bytes(chunks, config.num_heads, head_dim, settings, itemsize=work.itemsize).most


def _activations(config: LongNetConfig, work: Workload, chunks: Chunks, exchanged: int) -> int:
    """Bytes alive at the peak of a forward or of a step."""
    tokens, d = chunks.size(0), config.embed_dim
    if not work.training:
        return _forward_peak(config, work, chunks, exchanged)
    kept = saved_bytes(config, work) * tokens + (exchanged if work.scheme == "dilated" else 0)
    pattern = _pattern(config, work)
    layout = layout_bytes(pattern, tokens, config.num_heads)
    kept += layout
    gradients = 2 * d * EXACT * tokens  # of the residual stream, and of one sum into it
    feed_forward = 3 * config.ffn_dim * EXACT * min(work.chunk_tokens, tokens)
    embedding = config.feature_dim * (work.itemsize if work.itemsize != EXACT else 0) * tokens
    returned = 2 * exchanged if work.scheme == "dilated" else 0  # gradients of others' keys
    fixed = gradients + feed_forward + embedding + returned
    layers = config.depth * kept
    if work.checkpoint_activations:
        layers = config.depth * d * EXACT * tokens + kept
    if not isinstance(pattern, BlockSparsePattern):
        return layers + fixed
    # The other large set: in the backward of attention, when the feed-forward network is done.
    own = tokens * (d * (EXACT + 5 * work.itemsize) + EXACT * config.num_heads) + layout
    gradients = tokens * d * (EXACT + 2 * work.itemsize)  # residual stream, twice of the output
    temporary = backward_bytes(pattern, tokens * d, work.itemsize)
    return max(layers + fixed, layers - kept + own + gradients + temporary)


def saved_bytes(config: LongNetConfig, work: Workload) -> int:
    """Bytes one block saves for the backward per token; not what is received, and no layout."""
    d, f, s = config.embed_dim, config.ffn_dim, work.itemsize
    outputs = 1.0
    if work.scheme == "dilated":
        settings = _dilated(config, work).config
        if settings.mixing_gradient == "released" and len(settings.branches) > 1:
            outputs = sum(1 / r for _, r in settings.branches)  # each branch's own
    narrow = d * (1 + 3 + outputs + 1 + 1) + f  # norm, q k v, outputs, inner norm, norm; f: norm
    exact = d * (1 + 1 + 1) + 2 * f  # input, mixed values, middle; before and after GELU
    masks = 2 * d if config.dropout else 0
    statistics = 3 * 2 * EXACT + EXACT * config.num_heads
    return int(narrow * s + exact * EXACT + masks + statistics)


def _forward_peak(config: LongNetConfig, work: Workload, chunks: Chunks, exchanged: int) -> int:
    """The larger of two sets.

    In attention: input, its norm, q, k, v, output and accumulators, others' keys; in block-sparse
    attention also copies of q, k and v with a spare row, the layout, and what a kernel call
    gathers. In the feed-forward network: input, mixed values, output, and the hidden states of one
    chunk.
    """
    tokens, d, s = chunks.size(0), config.embed_dim, work.itemsize
    cast = d * s if s != EXACT else 0
    per_token = d * EXACT * 3 + d * s * 4 + 2 * cast + 2 * EXACT * config.num_heads
    if work.scheme == "dilated":
        spans = [r for w, r in _dilated(config, work).config.branches if w > tokens < work.tokens]
        per_token += int(sum(d * (s + EXACT) / r for r in spans))  # queries and outputs of groups
        others = exchanged + exchanged + exchanged  # sent, received, and gathered for one group
    elif work.scheme == "ring":
        others = 2 * 2 * d * s * tokens if chunks.num_ranks > 1 else 0  # one block here, one coming
    else:
        pattern = _pattern(config, work)
        per_token += spare_copies(pattern) * d * s
        others = exchanged + layout_bytes(pattern, tokens, config.num_heads)
        # Before the output is made of the accumulators.
        others += max(0, kernel_bytes(pattern) - tokens * d * s)
    hidden = 3 * config.ffn_dim * EXACT * min(work.chunk_tokens, tokens)
    return max(per_token * tokens + others, d * (2 * EXACT + s) * tokens + hidden)
