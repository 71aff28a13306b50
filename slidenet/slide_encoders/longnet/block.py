"""One block of the encoder: pre-norm attention and feed-forward, with inner norms (sub-LN).

Shapes: B slides (1 where they are packed, see `tokens.py`), N tokens, class token first, D width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slidenet.attention import AttentionPattern
from slidenet.layers import Linear, full_precision
from slidenet.slide_encoders.longnet.config import LongNetConfig
from slidenet.slide_encoders.longnet.tokens import TokenLayout

CHUNK_TOKENS, GPU_CHUNK_TOKENS = 4096, 16_384
"""Tokens per chunk of the token-wise part unless asked otherwise; a GPU is done with 4,096 before
the next kernels are launched."""


def default_chunk_tokens(device: torch.device) -> int:
    """Tokens per chunk on a device where nobody asked for another number."""
    return GPU_CHUNK_TOKENS if device.type == "cuda" else CHUNK_TOKENS


class SelfAttention(nn.Module):
    """Projections around an attention pattern; the inner norm comes before the output projection.

    Args:
        config: Widths and eps.
        pattern: The attention pattern, shared by all blocks.
    """

    def __init__(self, config: LongNetConfig, pattern: AttentionPattern) -> None:
        super().__init__()
        width = config.embed_dim
        self.num_heads = config.num_heads
        self.pattern = pattern
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.inner_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)

    def heads(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, H, D / H)."""
        return x_BND.reshape(*x_BND.shape[:-1], self.num_heads, -1)

    def attend(self, x_BND: Tensor, tokens: TokenLayout) -> Tensor:
        """Normed tokens in, mixed values out; each slide on its own."""
        q, k, v = (self.heads(p(x_BND)) for p in (self.q_proj, self.k_proj, self.v_proj))
        return tokens.attend(self.pattern, q, k, v).flatten(-2)


class FeedForward(nn.Module):
    """fc1 -> erf-GELU in float32 at least -> norm -> fc2."""

    def __init__(self, config: LongNetConfig) -> None:
        super().__init__()
        self.fc1 = Linear(config.embed_dim, config.ffn_dim)
        self.inner_norm = nn.LayerNorm(config.ffn_dim, eps=config.layer_norm_eps)
        self.fc2 = Linear(config.ffn_dim, config.embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        hidden = self.fc1(x)
        if hidden.is_cuda:  # its kernel computes in float32 and rounds the result: the same bits
            hidden = F.gelu(hidden)
        else:
            hidden = F.gelu(full_precision(hidden)).to(hidden.dtype)
        out: Tensor = self.fc2(self.inner_norm(hidden))
        return out


class LongNetBlock(nn.Module):
    """x + drop(attention(norm(x))), then x + drop(ffn(norm(x))).

    Args:
        config: Widths, eps, dropout.
        pattern: The attention pattern.
        drop_path: Chance to skip each branch for a slide, while training.
        number: Place among the blocks, from 0.
    """

    def __init__(
        self, config: LongNetConfig, pattern: AttentionPattern, drop_path: float, number: int
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config, pattern)
        self.ffn_norm = nn.LayerNorm(config.embed_dim, eps=config.layer_norm_eps)
        self.ffn = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        self.drop_path = drop_path
        self.number = number

    def forward(self, x: Tensor, tokens: TokenLayout, chunk_tokens: int) -> Tensor:
        """(B, N, D) -> (B, N, D), the token-wise part in chunks of `chunk_tokens`.

        In one piece where compiled: a graph of chunks would serve one length only.
        """
        mixed = self.attention.attend(self.attention_norm(x), tokens)
        keep = self.keep_factors(x, tokens)
        if torch.compiler.is_compiling() or x.shape[1] <= chunk_tokens:
            return self.tail(x, mixed, keep)
        if torch.is_grad_enabled():
            return torch.cat([self.tail(*part) for part in chunks(x, mixed, keep, chunk_tokens)], 1)
        out, start = torch.empty_like(x), 0
        for part in chunks(x, mixed, keep, chunk_tokens):
            stop = start + part[0].shape[1]
            out[:, start:stop] = self.tail(*part)
            start = stop
        return out

    def tail(self, x: Tensor, mixed: Tensor, keep: tuple[Tensor, Tensor] | None) -> Tensor:
        """Everything after attention, token by token."""
        update = self.dropout(self.attention.out_proj(self.attention.inner_norm(mixed)))
        x = x + (update if keep is None else update * keep[0])
        update = self.dropout(self.ffn(self.ffn_norm(x)))
        out: Tensor = x + (update if keep is None else update * keep[1])
        return out

    def keep_factors(self, x: Tensor, tokens: TokenLayout) -> tuple[Tensor, Tensor] | None:
        """Stochastic depth per slide: 0 or 1 / (1 - drop_path), as (B, N or 1, 1); None when off.

        Source: Huang et al. 2016, section 3; scaled while training instead of at test time.
        """
        if not self.training or self.drop_path == 0:
            return None
        share, lengths = 1 - self.drop_path, tokens.lengths
        slides = x.shape[0] if lengths is None else len(lengths)
        with tokens.slide_draws(self.number, x.device):
            drawn = x.new_empty(2, slides).bernoulli_(share) / share
        if lengths is None:
            return drawn[0][:, None, None], drawn[1][:, None, None]
        repeats = torch.tensor(lengths, device=x.device)
        spread = drawn.repeat_interleave(repeats, dim=1)[:, None, :, None]
        return spread[0], spread[1]


Part = tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]


def chunks(
    x: Tensor, mixed: Tensor, keep: tuple[Tensor, Tensor] | None, chunk_tokens: int
) -> Iterator[Part]:
    """Arguments of `LongNetBlock.tail`, a slice of tokens at a time."""
    for start in range(0, x.shape[1], chunk_tokens):
        piece = slice(start, start + chunk_tokens)
        kept = keep
        if keep is not None and keep[0].shape[1] > 1:
            kept = (keep[0][:, piece], keep[1][:, piece])
        yield x[:, piece], mixed[:, piece], kept
