"""How far a query sees: the keys it has learned of after each layer.

A token starts with itself; each layer adds what the keys it sees have learned so far, whichever
head sees them (a residual connection keeps the rest). With M the mask of the united heads, after n
layers query i knows of the keys j where (I + M)^n is above zero, as a product of bools.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slidenet.attention.links import GradientLinks, Links

EVERY_TOKEN = 4096
"""Longest sequence of which every token is followed."""

SAMPLED_TOKENS = 64
"""Tokens that are followed in longer ones."""

SEARCH_WORK = 1 << 28
"""Sets x positions looked at when searching for the layer from which every token is reached."""

SEARCH_ENTRIES = 1 << 31
"""Pairs looked at in that search: a minute."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What the queries followed know of, layer by layer; index 0 is after the first layer.

    Attributes:
        num_tokens: Queries followed.
        least: Fewest keys that one of them knows of.
        median: Keys that the (lower) middle one knows of.
        greatest: Most keys that one of them knows of.
        unconnected: Pairs of such a query and a key it may learn from that are not connected yet.
        possible: All such pairs: L keys per query; only those at or before it when causal.
        every_token_layer: First layer after which all those pairs are connected; None where never,
            or not within `searched_layers`.
        never_connected: Pairs that no number of layers connects; None where the search ended first.
        searched_layers: Layers that were followed.
    """

    num_tokens: int
    least: tuple[int, ...]
    median: tuple[int, ...]
    greatest: tuple[int, ...]
    unconnected: tuple[int, ...]
    possible: int
    every_token_layer: int | None
    never_connected: int | None
    searched_layers: int


def spread_tokens(length: int) -> Tensor:
    """Positions, int64: evenly spread ones with the first and the last, or all of a few."""
    if length <= SAMPLED_TOKENS:
        return torch.arange(length)
    return torch.linspace(0, length - 1, SAMPLED_TOKENS, dtype=torch.float64).round().long()


def reach(links: Links, layers: int) -> Reach:
    """Follows queries through `layers` layers, and on until nothing new is learned.

    Args:
        links: Who sees whom in one layer; all layers are alike.
        layers: Layers to report, at least 1.
    """
    short = links.length <= EVERY_TOKEN
    tokens = torch.arange(links.length) if short else spread_tokens(links.length)
    possible = tokens + 1 if links.causal else torch.full_like(tokens, links.length)
    known = torch.zeros(links.length, len(tokens), dtype=torch.bool)
    known[tokens, torch.arange(len(tokens))] = True
    news, counts = known.clone(), [torch.ones_like(tokens)]
    ended = False
    while not ended and len(counts) - 1 < max(layers, _searched_layers(links, known)):
        news = links.spread(news, united=True)[0] & ~known
        known |= news
        counts.append(known.sum(dim=0))
        ended = bool((counts[-1] == counts[-2]).all() or (counts[-1] == possible).all())
    totals = [int(some.sum()) for some in counts[1:]]
    total, last = int(possible.sum()), totals[-1]
    complete = totals.index(total) + 1 if total in totals else None
    return Reach(
        num_tokens=len(tokens),
        least=_each(layers, [int(some.min()) for some in counts[1:]]),
        median=_each(layers, [statistics.median_low(some.tolist()) for some in counts[1:]]),
        greatest=_each(layers, [int(some.max()) for some in counts[1:]]),
        unconnected=_each(layers, [total - some for some in totals]),
        possible=total,
        every_token_layer=complete,
        never_connected=total - last if ended else None,
        searched_layers=len(totals),
    )


def _searched_layers(links: Links, known: Tensor) -> int:
    if isinstance(links, GradientLinks):  # what a layer costs is unknown: those asked for only
        return 0
    layers = SEARCH_WORK // known.numel()
    return min(layers, SEARCH_ENTRIES // links.entries) if links.entries else layers


def _each(layers: int, found: Sequence[int]) -> tuple[int, ...]:
    """One number per layer; where nothing new is learned, the last goes on."""
    return tuple(found[min(layer, len(found) - 1)] for layer in range(layers))
