"""Rollout of attention through the layers of LongNet: how much of each tile reaches the pooling.

One block mixes its tokens as A' = residual * I + (1 - residual) * A; the readout r (the class
token, the mean over tiles, the weights of attention pooling) sees the tiles by r^T A'_L ... A'_1.
It has no sign and is the same for every target.

A is the heads' attention times what there is to fetch: |W_h (v_jh - m_h)|, how far the value of
token j in head h, through that head's part of the output projection, lies from the value of the
median tile. Attention to what any other tile has, too, moves nothing. With attention alone planted
lesions were found at a tile AUROC of 0.95 instead of 0.98 (LongNet, five seeds), with 0.83 in the
worst instead of 0.95. Feed-forward networks are left out.

Dilated attention shows some tiles to many heads and others to few, whatever is on them. The map
therefore counts how often the share of a tile is that which it would have if every token attended
alike to all that it may see, and all had one value. Shares alone found planted lesions worse (tile
AUROC 0.78 instead of 0.89, three seeds); where all see all, the two are the same map.

No L x L matrix is made. Attention with these weights as its values gives the sums of the rows of A,
and its gradient gives r^T A: one forward and one backward of the attention per layer. Rows are
normalised; a token that no head covers keeps its row of the identity.

Source: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers", section 3 (rollout,
heads averaged; with a residual of 0.5). Kobayashi et al. 2020, "Attention is Not Only a Weight",
section 3 (norms of weighted and projected values). The median tile, a residual of 0.2, normalised
rows, any readout, and the comparison are ours.

Shapes: L tiles, N = 1 + L tokens (class token first), F feature length, H heads, D width.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from slidenet.attention import AttentionPattern
from slidenet.core.checks import check_share
from slidenet.explanation.methods import EXPLAINERS, Explanation, tile_values
from slidenet.explanation.subject import Subject
from slidenet.mil import BagModel
from slidenet.mil.longnet import LongNetMIL
from slidenet.slide_encoders import LongNetViT
from slidenet.slide_encoders.longnet.block import LongNetBlock, SelfAttention
from slidenet.stores.tile_maps import Unit
from slidenet.tasks import ExplainedTarget

RESIDUAL = 0.2
LEAST_CHANGE = 1e-4
"""Of the largest value of a layer: nearer to the median tile all values are alike."""

Seen = tuple[Tensor, Tensor, Tensor]
"""Queries and keys of a block (1, N, H, D / H), and the weights of its values (N, H)."""


class Rollout:
    """Shares of the tiles in what the head of a LongNet reads."""

    name = "rollout"
    signed = False
    unit: Unit = "share"
    is_evidence = False

    def applies_to(self, network: BagModel) -> str:
        """See `Explainer.applies_to`."""
        return "" if isinstance(network, LongNetMIL) else "it is no LongNet"

    def explain(self, subject: Subject, target: ExplainedTarget) -> Explanation:
        """See `Explainer.explain`; the same for every target."""
        network = subject.network
        assert isinstance(network, LongNetMIL), "asked by applies_to"
        shares, class_share = subject.once(
            self.name, lambda: rollout_of_model(network, subject.features, subject.grid_xy)
        )
        alike = rollout_of_pattern(network, len(subject)).to(shares)
        # A pattern that chooses by content may show tiles that it would not show to all alike.
        comparable = bool((alike[shares > 0] > 0).all())
        values = torch.where(alike > 0, shares / alike, 0.0) if comparable else shares
        return tile_values(values / values.sum()), {
            "residual": RESIDUAL,
            "attention_times": "distance of projected values from the median tile's",
            "layers": max(network.layers),
            "class_token_share": class_share,
            "unseen_tiles": int((shares == 0).sum()),
            "counted_from": "attention alike to all that is seen" if comparable else "zero",
        }


def rollout_of_model(
    network: LongNetMIL, features: Tensor, grid_xy: Tensor, *, residual: float = RESIDUAL
) -> tuple[Tensor, float]:
    """Rollout from what the head of a model reads, whatever its pooling is.

    Where several states are concatenated, each is read with the same weight.

    Args:
        network: A slide encoder with pooling and head, in eval mode.
        features: Tile features (L, F) as the network sees them.
        grid_xy: int64 (L, 2), (column, row) cells.
        residual: Share of a token that a block leaves as it is.

    Returns:
        Shares (L,), at least zero, and the share that stays in the class token; together one.

    Raises:
        EncoderError: For features that do not fit.
        CoordinateError: For cells beyond the lattice.
        ConfigError: For a share out of range.
    """
    with torch.no_grad():
        mask = torch.ones(1, len(features), dtype=torch.bool, device=features.device)
        attention = network(features[None], grid_xy[None], mask).tile_attention
    tiles = None if attention is None else attention[0, 0]
    readouts = _readouts(network, tiles, features.new_zeros(1 + len(features)))
    shares = rollout(network.encoder, features, grid_xy, readouts, residual=residual)
    return shares[1:], float(shares[0])


def rollout_of_pattern(
    network: LongNetMIL, num_tiles: int, *, residual: float = RESIDUAL
) -> Tensor:
    """The same for any slide of so many tiles, if every token attended alike to all it may see.

    Args:
        network: A slide encoder with pooling and head.
        num_tiles: L.
        residual: As there.

    Returns:
        Shares (L,); zero where the pattern shows a tile to nobody that is read.
    """
    encoder = network.encoder
    row = encoder.class_token.new_zeros(1 + num_tiles)
    tiles = None if network.pooling == "class_token" else row.new_full((num_tiles,), 1 / num_tiles)
    config = encoder.config
    alike = row.new_zeros(1, 1 + num_tiles, config.num_heads, config.embed_dim // config.num_heads)
    ones = torch.ones_like(alike[0, :, :, 0])
    readouts = _readouts(network, tiles, row)
    return _rolled(encoder, readouts, lambda block: (alike, alike, ones), residual)[1:]


def _readouts(network: LongNetMIL, tiles: Tensor | None, row: Tensor) -> dict[int, Tensor]:
    """How the states of a model are read: by weights of the tiles, or the class token (None)."""
    if tiles is None:
        row[0] = 1.0
    else:
        row[1:] = tiles
    return {layer: row / len(network.layers) for layer in network.layers}


@torch.no_grad()
def rollout(
    encoder: LongNetViT,
    features: Tensor,
    grid_xy: Tensor,
    readouts: Mapping[int, Tensor],
    *,
    residual: float = RESIDUAL,
) -> Tensor:
    """Where the tokens of some states come from, among the tokens that enter the first block.

    Memory is that of the states: depth x N x D numbers.

    Args:
        encoder: In eval mode, with any attention pattern.
        features: Tile features (L, F).
        grid_xy: int64 (L, 2), (column, row) cells.
        readouts: Per state (0 = embeddings, i = after block i) how its tokens are read, (N,).
        residual: Share of a token that a block leaves as it is.

    Returns:
        (N,), the class token first; it sums to what the readouts sum to.

    Raises:
        EncoderError, CoordinateError: As `LongNetViT.states`.
        ConfigError: For a share out of range.
    """
    check_share(residual=residual)
    states = encoder.states(features[None], grid_xy[None], layers=range(max(readouts)))

    def seen(block: LongNetBlock) -> Seen:
        attention, normed = block.attention, block.attention_norm(states.pop())
        q, k, v = (
            attention.heads(projection(normed)).float()
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        return q, k, value_changes(attention, v[0])

    return _rolled(encoder, readouts, seen, residual)


def value_changes(attention: SelfAttention, values: Tensor) -> Tensor:
    """How far each value lies from that of the median tile, as the output projection sees it.

    The inner norm divides all values of a row alike, which normalised rows do not show; that it
    takes off the mean of the features is left out.

    Args:
        attention: Of a block.
        values: (N, H, D / H), the class token first.

    Returns:
        (N, H), above zero and at most one; all one where the values are alike.
    """
    norm, heads = attention.inner_norm, values.shape[1]
    weight = (attention.out_proj.weight * norm.weight).float().reshape(-1, heads, values.shape[2])
    gram = torch.einsum("ehc,ehd->hcd", weight, weight)

    def sizes(of: Tensor) -> Tensor:
        return torch.einsum("nhc,hcd,nhd->nh", of, gram, of).clamp_min(0.0).sqrt()

    changes = sizes(values - values[1:].median(dim=0).values)
    least = LEAST_CHANGE * sizes(values).max()
    changes = changes.clamp_min(float(least.clamp_min(torch.finfo(least.dtype).tiny)))
    return changes / changes.max()


def _rolled(
    encoder: LongNetViT,
    readouts: Mapping[int, Tensor],
    seen: Callable[[LongNetBlock], Seen],
    residual: float,
) -> Tensor:
    """From the last block to the first, given the queries, keys and weights of each."""
    top = max(readouts)
    row = torch.zeros_like(readouts[top])
    for layer in range(top, 0, -1):
        row = row + readouts.get(layer, 0.0)
        block = encoder.blocks[layer - 1]
        assert isinstance(block, LongNetBlock)
        through = attention_product(block.attention.pattern, *seen(block), row)
        row = residual * row + (1 - residual) * through
    return row + readouts.get(0, 0.0)


def attention_product(
    pattern: AttentionPattern, q: Tensor, k: Tensor, weights: Tensor, row: Tensor
) -> Tensor:
    """row^T A, with A the mean of the heads' attention times weights, its rows normalised to one.

    Args:
        pattern: Any pattern that sends gradients to its values.
        q: Queries (1, N, H, D / H).
        k: Keys (1, N, H, D / H).
        weights: Of each token in each head, above zero (N, H).
        row: (N,).

    Returns:
        (N,) of the same sum as `row`.
    """
    with torch.enable_grad():
        values = weights[None, :, :, None].expand_as(q).contiguous().requires_grad_()
        mixed, _ = pattern(q.detach(), k.detach(), values)
    # Every feature of a value is the same here; the first one tells all.
    sums = mixed.detach()[0, :, :, 0].mean(dim=1)
    covered = sums > 0
    scaled = torch.where(covered, row / sums, 0.0)
    wanted = torch.zeros_like(mixed)
    wanted[0, :, :, 0] = (scaled / mixed.shape[2])[:, None]
    (product,) = torch.autograd.grad(mixed, values, wanted)
    return (product[0, :, :, 0] * weights).sum(dim=1) + torch.where(covered, 0.0, row)


EXPLAINERS.add(Rollout.name, Rollout())
