"""The files of `slidenet attention --out`: the numbers, and figures of what they say."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from slidenet.attention import AttentionPattern, DilatedAttention
from slidenet.attention.coverage import fetched_keys
from slidenet.attention.describe import Description
from slidenet.attention.dilated.steps import MOST_HEADS, example_length, example_steps
from slidenet.attention.links import Links, links_of
from slidenet.attention.squares import Matrices, matrices
from slidenet.core.errors import OutputError
from slidenet.pipelines.inspection.attention_ranks import RankShares
from slidenet.pipelines.inspection.attention_table import settings_text, share_text
from slidenet.stores.atomic import check_output_folder, write_json
from slidenet.visualisation.attention_matrix import Panel, matrices_figure
from slidenet.visualisation.attention_ranks import exchange_figure, ranks_figure
from slidenet.visualisation.attention_reach import growth_figure, reach_figure
from slidenet.visualisation.dilated_attend import attend_figure
from slidenet.visualisation.dilated_steps import (
    mix_figure,
    scatter_figure,
    sparsify_figure,
    split_figure,
)
from slidenet.visualisation.style import save_figure

NUMBERS = "attention.json"
STEPS = {
    "step-1-split": split_figure,
    "step-2-sparsify": sparsify_figure,
    "step-3-attend": attend_figure,
    "step-4-scatter": scatter_figure,
    "step-5-mix": mix_figure,
}
FIGURES = ("matrix", "heads", "branches", "ranks", "exchange", "reach", "growth", *STEPS)
SUFFIXES = (".svg", ".png")
PIXELS_PER_INCH = 150

CELLS = 256
"""Most squares along each side of a matrix."""

MOST_HEADS_DRAWN = 16


def write_report(
    folder: Path,
    content: Mapping[str, Any],
    found: Description,
    pattern: AttentionPattern,
    links: Links,
    ranks: RankShares | None,
) -> tuple[Path, ...]:
    """Writes the numbers and every figure that the pattern has.

    Figures of an earlier report in the folder that this one does not have are removed.

    Args:
        folder: Where to.
        content: Of the file of numbers.
        found: The numbers.
        pattern: The pattern.
        links: Who sees whom in it.
        ranks: What ranks exchange, if any share the sequence.

    Returns:
        The files: the numbers first.

    Raises:
        OutputError: The folder cannot be written, or holds a file of another kind under the name.
    """
    folder = check_output_folder(folder)
    numbers = folder / NUMBERS
    earlier = _is_report(numbers, content["format"])
    if numbers.exists() and not earlier:
        raise OutputError(
            f"{numbers} is no report of slidenet attention, and would be overwritten",
            expected="a folder without a file of that name, or with an earlier report",
            remedy="choose another --out",
        )
    files = [numbers]
    for name, figure in _figures(found, pattern, links, ranks):
        for suffix in SUFFIXES:
            files.append(folder / f"{name}{suffix}")
            metadata = {"Software": None} if suffix == ".png" else None
            save_figure(figure, files[-1], dpi=PIXELS_PER_INCH, metadata=metadata)
    if earlier:
        for name in FIGURES:
            for suffix in SUFFIXES:
                if (path := folder / f"{name}{suffix}") not in files:
                    path.unlink(missing_ok=True)
    write_json(numbers, content)
    return tuple(files)


def _is_report(path: Path, kind: str) -> bool:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == kind


def _figures(
    found: Description, pattern: AttentionPattern, links: Links, ranks: RankShares | None
) -> Iterator[tuple[str, Figure]]:
    """Names and figures."""
    title = f"{found.pattern}: {settings_text(found.settings, found.chosen)}".removesuffix(": ")
    if found.causal:
        title += "; causal"
    bounds = () if ranks is None else ranks.bounds
    drawn = matrices(links, bounds=bounds, cells=CELLS)
    note = _sample_note(drawn)
    if found.by_content:
        note = f"The mask of one random content; another chooses others. {note}".rstrip()
    borders = bounds[1:-1]
    panels, left_out = _head_panels(found, drawn)
    pictures = {"matrix": panels[:1]}
    if len(panels) > 1:
        pictures["heads"] = panels
    if isinstance(pattern, DilatedAttention):
        pictures["branches"] = list(_branch_panels(found, pattern))
    for name, some in pictures.items():
        more = f"{left_out} more heads are not drawn. " if left_out and name == "heads" else ""
        text = f"{more}{note}".rstrip()
        figure = matrices_figure(some, length=found.length, title=title, note=text, borders=borders)
        yield name, figure
    if ranks is not None:
        yield from _rank_figures(found, pattern, links, ranks, drawn, title, note)
    if found.reach is not None:
        yield "reach", _reach_figure(found, title)
    growth = found.growth
    curves = {found.pattern: growth.pairs}
    if found.pattern != "dense":
        curves["dense"] = growth.dense_pairs
    each = f"Attended pairs of one layer, {found.num_heads} heads together."
    yield "growth", growth_figure(growth.lengths, curves, title=title, note=each)
    if isinstance(pattern, DilatedAttention):
        steps = example_steps(
            pattern.config,
            length=example_length(pattern.config, found.length),
            num_heads=min(found.num_heads, MOST_HEADS),
            causal=found.causal,
        )
        for name, draw in STEPS.items():
            yield name, draw(steps)


def _head_panels(found: Description, drawn: Matrices) -> tuple[list[Panel], int]:
    """All heads together, then each, those that see the same in one; and how many are left out."""
    panels = [Panel("all heads", _share_note(found, drawn.mean), drawn.mean.numpy())]
    alike: list[list[int]] = []
    for head, picture in enumerate(drawn.heads):
        for some in alike:
            if torch.equal(drawn.heads[some[0]], picture):
                some.append(head)
                break
        else:
            alike.append([head])
    if len(alike) == 1:
        return [Panel("every head", panels[0].note, panels[0].share)], 0
    for some in alike[:MOST_HEADS_DRAWN]:
        picture = drawn.heads[some[0]]
        panels.append(Panel(_heads_text(some), _share_note(found, picture), picture.numpy()))
    return panels, sum(map(len, alike[MOST_HEADS_DRAWN:]))


def _branch_panels(found: Description, pattern: DilatedAttention) -> Iterator[Panel]:
    for branch in found.branches:
        alone = DilatedAttention(
            (branch.segment_length,), (branch.dilation_rate,), pattern.head_order
        )
        links = links_of(alone, found.length, found.num_heads, causal=found.causal)
        mean = matrices(links, cells=CELLS).mean
        share = branch.pairs / (found.num_heads * found.length**2)
        title = f"w = {branch.segment_length:,}, r = {branch.dilation_rate}"
        yield Panel(title, f"{share_text(share)} of all pairs", mean.numpy())


def _rank_figures(
    found: Description,
    pattern: AttentionPattern,
    links: Links,
    ranks: RankShares,
    drawn: Matrices,
    title: str,
    note: str,
) -> Iterator[tuple[str, Figure]]:
    share = f"{share_text(ranks.local_share)} of the different pairs stay on their rank."
    yield (
        "ranks",
        ranks_figure(
            drawn.local.numpy(),
            drawn.fetched.numpy(),
            ranks.bounds,
            length=found.length,
            title=title,
            note=f"{share} {note}".rstrip(),
        ),
    )
    if not isinstance(pattern, DilatedAttention):
        return
    labels = [
        f"{received:,} bytes of keys and values, dense {ring:,}"
        for received, ring in zip(ranks.received_bytes, ranks.ring_bytes, strict=True)
    ]
    yield (
        "exchange",
        exchange_figure(
            fetched_keys(links, ranks.bounds, cells=CELLS).numpy(),
            ranks.bounds,
            length=found.length,
            title=title,
            note="Received per layer, forward, bfloat16.",
            labels=labels,
        ),
    )


def _reach_figure(found: Description, title: str) -> Figure:
    reached = found.reach
    assert reached is not None
    note = "Keys that a query knows of after each layer, itself among them."
    if reached.num_tokens < found.length:
        note += f" Of {reached.num_tokens} tokens spread over the sequence."
    return reach_figure(
        reached.least,
        reached.median,
        reached.greatest,
        possible=found.length,
        title=title,
        note=note,
    )


def _share_note(found: Description, picture: Tensor) -> str:
    """Share of all pairs of a picture whose squares may differ in size by one position."""
    number = len(picture)
    edges = torch.arange(number + 1) * found.length // number
    sizes = edges.diff().double()
    share = float(sizes @ picture.double() @ sizes) / found.length**2
    return f"{share_text(share)} of all pairs"


def _heads_text(heads: list[int]) -> str:
    """`head 3`, `heads 0 to 3`, `heads 0, 4, 8`."""
    if len(heads) == 1:
        return f"head {heads[0]}"
    if len(heads) > 2 and heads == list(range(heads[0], heads[-1] + 1)):
        return f"heads {heads[0]} to {heads[-1]}"
    return f"heads {', '.join(map(str, heads))}"


def _sample_note(drawn: Matrices) -> str:
    if drawn.queries_per_row == drawn.side:
        return ""
    return f"Each row is drawn from {drawn.queries_per_row} of its {drawn.side} queries."
