"""The numbers of an attention pattern as the text that `slidenet attention` prints."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from slidenet.attention.accounting import BACKWARD_PRODUCTS, FORWARD_PRODUCTS
from slidenet.attention.describe import GROWTH_LENGTHS, Description
from slidenet.attention.dilated.config import DilatedConfig
from slidenet.attention.dilated.steps import example_length
from slidenet.core.text import count_of, name_some, plural, text_table
from slidenet.pipelines.inspection.attention_ranks import RankShares

MOST_LAYERS_SHOWN = 8
MOST_RANKS_SHOWN = 8

USUAL = {
    "head_order": "released",
    "padding": "released",
    "mixing_gradient": "released",
    "legacy_readback": False,
    "window_rule": "keys",
}
"""Conventions that are shown only where they are others."""


def report_text(
    found: Description, ranks: RankShares | None = None, files: Sequence[Path] = ()
) -> str:
    """All of it, section by section."""
    sections = [_heading(found), _cost(found), *_coverage(found), *_reach(found), _growth(found)]
    if ranks is not None:
        sections.append(_ranks(found, ranks))
    if files:
        text = f"wrote {files[0]} and {count_of('figure', len(files) - 1)} beside it"
        if found.branches:
            config = DilatedConfig(
                tuple(branch.segment_length for branch in found.branches),
                tuple(branch.dilation_rate for branch in found.branches),
            )
            drawn = example_length(config, found.length)
            if drawn < found.length:
                text += f"; the steps are drawn for a sequence of {drawn} tokens"
        sections.append(text)
    return "\n\n".join(sections)


def settings_text(settings: Mapping[str, Any], chosen: Mapping[str, int]) -> str:
    """`window 9; global tokens 0, 40`: names and values, without conventions that are as usual.

    Args:
        settings: Of a pattern.
        chosen: What the length decides where a setting is None.
    """
    parts = []
    for name, value in settings.items():
        if name in USUAL and value == USUAL[name]:
            continue
        if value is None:
            value = chosen.get(name, "chosen by itself")
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, tuple | list):
            value = ", ".join(map(str, value)) or "none"
        parts.append(f"{name.replace('_', ' ')} {value}")
    return "; ".join(parts)


def share_text(share: float) -> str:
    """A share in percent with three digits that count; more where less than all would be 100."""
    digits, text = 3, ""
    while not text or (share < 1 and float(text) >= 100 and digits < 16):
        text = np.format_float_positional(100 * share, digits, fractional=False, trim="-")
        digits += 1
    return f"{text} %"


def large(number: float) -> str:
    """`42`, `8,320`, `1.60 million`."""
    for size, word in ((1e15, "e15"), (1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:,.2f} {word}"
    return f"{number:,.0f}"


def _heading(found: Description) -> str:
    order = (
        "each token sees itself and earlier ones (causal)" if found.causal else "both directions"
    )
    lines = [
        f"{found.pattern}: {settings_text(found.settings, found.chosen) or 'no settings'}",
        f"{found.length:,} {plural('token', found.length)}, "
        f"{found.num_heads:,} {plural('head', found.num_heads)} of "
        f"{count_of('feature', found.head_dim)}, {order}",
    ]
    if found.settings.get("legacy_readback"):
        lines.append(
            "What is seen and its cost are those of the paper, before results are read back."
        )
    if found.by_content:
        lines.append(
            "The content decides who sees whom: coverage and reach are those of one random example."
        )
    return "\n".join(lines)


def _cost(found: Description) -> str:
    product = 2 * found.head_dim * found.dense_pairs
    dense_flops = FORWARD_PRODUCTS * product
    both = found.cost.forward_flops + found.cost.backward_flops
    dense_both = (FORWARD_PRODUCTS + BACKWARD_PRODUCTS) * product
    pairs = "attended pairs, at most" if found.at_most else "attended pairs"
    rows: list[tuple[str, int, int | None]] = [(pairs, found.cost.num_pairs, found.dense_pairs)]
    rows += [
        (f"  branch w = {branch.segment_length:,}, r = {branch.dilation_rate}", branch.pairs, None)
        for branch in found.branches
    ]
    rows += [
        ("operations of a forward", found.cost.forward_flops, dense_flops),
        ("operations of forward and backward", both, dense_both),
    ]
    cells = [
        (
            name,
            large(number),
            "" if dense is None else large(dense),
            share_text(number / (found.dense_pairs if dense is None else dense)),
        )
        for name, number, dense in rows
    ]
    header = ("One layer, all heads", found.pattern, "dense", "share")
    text = text_table(header, cells, right=(1, 2, 3))
    if found.causal:
        every = found.num_heads * found.length**2
        text += (
            f"\ndense is causal too; of all pairs, those looking ahead among them, "
            f"{share_text(found.cost.num_pairs / every)} are attended"
        )
    return text


def _coverage(found: Description) -> Iterator[str]:
    covered = found.coverage
    if covered is None:
        return
    of = "" if covered.num_queries == found.length else f" (of {covered.num_queries} queries)"
    lines = [
        f"at least one head attends to {share_text(covered.united_share)} of the pairs"
        + (" that do not look ahead" if found.causal else "")
        + of
    ]
    if covered.queries_left_out or covered.keys_left_out:
        lines += [
            f"{covered.queries_left_out:,} of {found.length:,} tokens are kept by no head as "
            "query: attention gives them nothing "
            f"({_positions(covered.first_left_out, covered.queries_left_out)})",
            f"{covered.keys_left_out:,} are kept by no head as key: nobody sees them",
        ]
    else:
        lines.append("every token is kept by some head, as query and as key")
    lines += [
        f"in the branch w = {branch.segment_length:,}, r = {branch.dilation_rate} "
        f"{branch.unseen_offsets} of {branch.dilation_rate} offsets are kept by no head"
        for branch in found.branches
        if branch.unseen_offsets
    ]
    yield "\n".join(lines)


def _positions(first: Sequence[int], number: int) -> str:
    named = name_some(first, most=6)
    return named.partition(" and ")[0] + (", ..." if number > min(len(first), 6) else "")


def _reach(found: Description) -> Iterator[str]:
    reached = found.reach
    if reached is None:
        return
    cells = [
        (
            str(layer),
            f"{least:,}",
            f"{median:,}",
            f"{greatest:,}",
            f"{unconnected:,}",
            share_text(unconnected / reached.possible),
        )
        for layer, (least, median, greatest, unconnected) in enumerate(
            zip(
                reached.least,
                reached.median,
                reached.greatest,
                reached.unconnected,
                strict=True,
            ),
            1,
        )
    ]
    if len(cells) > MOST_LAYERS_SHOWN:
        gap = ("...", "", "", "", "", "")
        cells = [*cells[: MOST_LAYERS_SHOWN - 1], gap, cells[-1]]
    header = ("layer", "least", "median", "greatest", "pairs not connected", "share")
    whose = "every token" if reached.num_tokens == found.length else (
        f"{reached.num_tokens} tokens spread over the sequence"
    )  # fmt: skip
    keys = "earlier tokens" if found.causal else "tokens"
    text = (
        f"Reach: how many {keys} (itself among them) {whose} "
        f"{'has' if whose == 'every token' else 'have'} learned of after each layer\n"
    )
    text += text_table(header, cells, right=range(6))
    each = "every token" if reached.num_tokens == found.length else "each of them"
    asked = f"{each} knows of every {'earlier one' if found.causal else 'other'}"
    if reached.every_token_layer is not None:
        text += f"\nfrom layer {reached.every_token_layer:,} on {asked}"
    elif reached.never_connected is not None:
        text += (
            f"\nnever: {reached.never_connected:,} pairs "
            f"({share_text(reached.never_connected / reached.possible)}) are connected by no "
            "number of layers"
        )
    else:
        text += (
            f"\nnot within {reached.searched_layers:,} layers, where the search ended "
            "(--layers looks further)"
        )
    yield text


def _growth(found: Description) -> str:
    cells = [
        (f"{length:,}", large(pairs), large(dense), share_text(pairs / dense))
        for length, pairs, dense in zip(
            found.growth.lengths, found.growth.pairs, found.growth.dense_pairs, strict=True
        )
    ]
    header = ("tokens", found.pattern, "dense", "share")
    text = "Growth of attended pairs, all heads\n" + text_table(header, cells, right=range(4))
    if len(cells) < len(GROWTH_LENGTHS):
        text += "\nlonger sequences are left out: counting may take too long"
    return text


def _ranks(found: Description, ranks: RankShares) -> str:
    cells = [
        (str(rank), f"{low:,} to {high - 1:,}", f"{received:,}", f"{ring:,}")
        for rank, ((low, high), received, ring) in enumerate(
            zip(pairwise(ranks.bounds), ranks.received_bytes, ranks.ring_bytes, strict=True)
        )
    ]
    if len(cells) > MOST_RANKS_SHOWN:
        cells = [*cells[: MOST_RANKS_SHOWN - 1], ("...", "", "", ""), cells[-1]]
    header = ("rank", "tokens", found.pattern, "dense (ring or all-gather)")
    of = "" if ranks.num_queries == found.length else f" (of {ranks.num_queries} queries)"
    text = "Bytes of keys and values a rank receives per layer, forward, bfloat16\n"
    text += text_table(header, cells, right=(0, 2, 3))
    text += (
        f"\n{share_text(ranks.local_share)} of the different pairs of each head have their key on "
        f"the rank of the query{of}"
    )
    if not ranks.runs:
        text += (
            "\nslidenet runs only dilated attention across ranks today: this is what "
            f"{found.pattern} would take"
        )
    return text
