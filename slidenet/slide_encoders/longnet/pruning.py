"""Work nobody reads: when only the class token is asked for, the last block needs one query.

The class token is position 0. In dilated attention only the heads with offset 0 see it, and it
looks only at every r-th key of the first segment of each branch: the keys and values of all other
tokens, and the queries, output projection and feed-forward of every other token, are never read.
The first segment is never filled up for those heads, so no zero slot is among the keys.
"""

import torch
from torch import Tensor

from slidenet.attention import DilatedAttention, DilatedConfig
from slidenet.attention.dilated.config import head_offsets
from slidenet.attention.merge import mixing_weights, safe_logsumexp
from slidenet.slide_encoders.longnet.block import LongNetBlock
from slidenet.slide_encoders.longnet.padded import PaddedSlides
from slidenet.slide_encoders.longnet.tokens import TokenLayout, WholeSlides, spans


def class_token_output(block: LongNetBlock, x: Tensor, tokens: TokenLayout) -> Tensor:
    """What `block` makes of the class token of each slide, and nothing else.

    In a compiled graph attention runs for all tokens: which rows are read depends on the length,
    and a graph of rows would serve that length only. So it does where padded slides come from such
    a graph; packed ones, which come from none, are as without a compiler even where one looks on
    (it takes functions one by one once it has given up on the forward).

    Args:
        block: The last block to run.
        x: Tokens (B, N, D), or packed (1, N, D).
        tokens: Of whole slides.

    Returns:
        (B, 1, D), one class token per slide.
    """
    compiled = torch.compiler.is_compiling() and tokens.lengths is None
    if compiled or isinstance(tokens, PaddedSlides):
        mixed = block.attention.attend(block.attention_norm(x), tokens)[:, :1]
        return block.tail(x[:, :1], mixed, block.keep_factors(x[:, :1], tokens))
    if tokens.lengths is None:
        first, mixed = x[:, :1], _class_token_attention(block, x)
    else:
        starts = torch.tensor([s.start for s in spans(tokens.lengths)], device=x.device)
        first = x[0].index_select(0, starts)[:, None]
        mixed = _packed_class_token_attention(block, x, tokens, starts)
    return block.tail(first, mixed, block.keep_factors(first, WholeSlides()))


def _class_token_attention(block: LongNetBlock, x: Tensor) -> Tensor:
    """Mixed values (B, 1, D) of the class token of slides (B, N, D) of one length."""
    attention = block.attention
    if not isinstance(attention.pattern, DilatedAttention):  # any other is computed in full
        return attention.attend(block.attention_norm(x), WholeSlides())[:, :1]
    config = attention.pattern.config
    rows = rows_read(config, x.shape[1]).to(x.device)
    normed = block.attention_norm(x[:, rows])
    q = attention.heads(attention.q_proj(normed[:, :1]))
    k = attention.heads(attention.k_proj(normed))
    v = attention.heads(attention.v_proj(normed))
    return first_query(q, k, v, rows, config).flatten(-2)


def _packed_class_token_attention(
    block: LongNetBlock, x: Tensor, tokens: TokenLayout, starts: Tensor
) -> Tensor:
    """The same of packed slides (1, N, D) of these starts.

    A shorter slide reads the first of the rows that the longest one reads. Norm and projections run
    on those that are read; only their keys and values are padded.
    """
    attention, lengths = block.attention, tokens.lengths
    assert lengths is not None
    if not isinstance(attention.pattern, DilatedAttention):
        mixed = attention.attend(block.attention_norm(x), tokens)
        return mixed[0].index_select(0, starts)[:, None]
    config = attention.pattern.config
    rows = rows_read(config, max(lengths)).to(x.device)
    real = rows < torch.tensor(lengths, device=x.device)[:, None]
    normed = block.attention_norm(x[0].index_select(0, (starts[:, None] + rows)[real]))
    place = real.flatten().cumsum(0).view(real.shape) - 1  # filling repeats the row before it
    q = attention.heads(attention.q_proj(normed.index_select(0, place[:, 0])[:, None]))
    k, v = (
        attention.heads(project(normed).index_select(0, place.flatten()).view(*place.shape, -1))
        for project in (attention.k_proj, attention.v_proj)
    )
    return first_query(q, k, v, rows, config, real).flatten(-2)


def rows_read(config: DilatedConfig, length: int) -> Tensor:
    """Positions the class token looks at in any branch, ascending, itself included."""
    read = torch.zeros(length, dtype=torch.bool)
    read[0] = True
    for w, r in config.branches:
        read[: min(w, length) : r] = True
    return read.nonzero()[:, 0]


def first_query(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    config: DilatedConfig,
    real: Tensor | None = None,
) -> Tensor:
    """Dilated attention of position 0 over the rows it reads.

    Args:
        q: Its query (B, 1, H, D / H).
        k: Keys at `rows` (B, R, H, D / H).
        v: Values at `rows` (B, R, H, D / H).
        rows: Their positions, ascending from 0.
        config: Branches and conventions.
        real: Bool (B, R), which rows a slide has; None where each has all.

    Returns:
        (B, 1, H, D / H). A head no branch covers gives zeros.
    """
    exact = torch.float64 if q.dtype == torch.float64 else torch.float32
    batch, _, num_heads, head_dim = q.shape
    outs, lses = [], []
    for w, r in config.branches:
        kept = ((rows < w) & (rows % r == 0)).nonzero()[:, 0]
        offsets = torch.tensor(head_offsets(num_heads, r, config.head_order))
        heads = (offsets == 0).nonzero()[:, 0].to(q.device)
        keys, values = (x.index_select(1, kept).index_select(2, heads).to(exact) for x in (k, v))
        scores = torch.einsum("bqhd,bnhd->bhqn", q[:, :, heads].to(exact), keys)
        scores = scores * (head_dim**-0.5)
        if real is not None:
            scores = scores.masked_fill(~real[:, None, None, kept], -torch.inf)
        out = torch.einsum("bhqn,bnhd->bqhd", scores.softmax(dim=-1), values)
        outs.append(out.new_zeros(batch, 1, num_heads, head_dim).index_copy(2, heads, out))
        lse = scores.logsumexp(dim=-1)
        lses.append(lse.new_full((batch, num_heads, 1), -torch.inf).index_copy(1, heads, lse))
    stacked = torch.stack(lses)
    weights = mixing_weights(stacked, safe_logsumexp(stacked))
    if config.mixing_gradient == "released":
        weights = weights.detach()
    return (weights * torch.stack(outs)).sum(dim=0).to(q.dtype)
