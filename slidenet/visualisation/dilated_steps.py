"""The steps of dilated attention drawn for one short sequence, with the numbers in the squares.

One token of one head is framed in every drawing, so that its number can be followed from step to
step; a segment has the same colour in all of them. Zero slots (segments filled up) are hatched.
Every figure takes the same `DilatedSteps` with one feature per head, as `example_steps` makes them.
"""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from slidenet.attention.dilated.steps import ZERO_SLOT, BranchSteps, DilatedSteps
from slidenet.core.errors import ConfigError
from slidenet.core.text import count_of, name_some
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page, number_size, shaded
from slidenet.visualisation.style import COLOURS, DARK, FRAME, GREY

_LABEL = 1.05
"""Width of what stands left of the squares, inches."""

ZERO = "-"
"""What stands in the square of a zero slot, which is no token."""

_LARGEST = 0.4
_TINT = 0.32  # how much of its full colour a segment has
FRAMED: dict[str, Any] = {"edgecolor": DARK, "linewidth": 2.0, "zorder": 4}


class Followed(NamedTuple):
    """The token and head that are framed in every drawing."""

    head: int
    token: int


def followed(steps: DilatedSteps) -> Followed:
    """The head and token to follow: kept by most branches, seeing most keys, largest query.

    A large query has weights that differ.

    Raises:
        ConfigError: More than one feature per head.
    """
    if steps.q.shape[2] != 1:
        raise ConfigError(
            f"{steps.q.shape[2]} features per head",
            expected="1, so that a query, a key and a value are one number each",
        )
    branches_and_keys = np.zeros((*steps.lse.T.shape, 2))
    for branch in steps.branches:
        for segment, head, slot in np.argwhere(branch.kept != ZERO_SLOT):
            token = branch.kept[segment, head, slot]
            if branch.readers[segment, head, slot] == token:
                seen = np.isfinite(branch.scores[segment, head, slot]).sum()
                branches_and_keys[head, token] += (1, seen)
    order = np.lexsort(
        (np.abs(steps.q[..., 0].T).ravel(), *branches_and_keys.reshape(-1, 2).T[::-1])
    )
    head, token = divmod(int(order[-1]), len(steps.q))
    return Followed(head, token)


def split_figure(steps: DilatedSteps) -> Figure:
    """Step 1: the sequence, and the segments of each branch."""
    head, token = followed(steps)
    length = len(steps.q)
    page = Page("1  Split: every branch cuts the sequence into segments")
    fills = [_missing(branch, length) if steps.zero_slots else 0 for branch in steps.branches]
    side = _side(length + (2.2 if any(fills) else 0))
    _row(page, "token", [str(n) for n in range(length)], side, edgecolor="white", colour=GREY)
    for name, values in (("query", steps.q), ("key", steps.k), ("value", steps.v)):
        numbers = [one_decimal(x) for x in values[:, head, 0]]
        _row(page, f"{name}, head {head}", numbers, side, framed=token)
    for branch, fill in zip(steps.branches, fills, strict=True):
        branch_title(page, steps, branch)
        for number, (start, stop) in enumerate(branch.segments):
            x = _LABEL + MARGIN + start * side
            page.write(x, page.top, f"segment {number}" if stop - start > 2 else "", size=8,
                       colour=GREY, ha="left", va="top")  # fmt: skip
        page.top += 0.17
        top = page.top
        colours = _token_colours(branch, length)
        _row(page, "", [str(n) for n in range(length)], side, fills=colours, framed=token)
        for start, _ in branch.segments[1:]:
            x = MARGIN + _LABEL + start * side
            page.ground.plot([x, x], [top - 0.04, top + side + 0.04], color=DARK, linewidth=1.6)
        if fill:
            x = MARGIN + _LABEL + length * side
            page.box(x, top, 2.2 * side, side, hatch="////", hatch_linewidth=0.5)
            page.box(x + 0.2 * side, top + 0.2 * side, 1.8 * side, 0.6 * side,
                     facecolor="white", edgecolor="none")  # fmt: skip
            page.write(x + 1.1 * side, top + side / 2, count_of("zero", fill), size=7.5)
    zeros = (
        " The last segment is filled up with zeros (hatched), as in the released code."
        if any(fills)
        else ""
    )
    return page.finish(
        f"Numbers in the coloured rows are tokens.{zeros} "
        f"Token {token} is framed: follow it through all steps in head {head}."
    )


def sparsify_figure(steps: DilatedSteps) -> Figure:
    """Step 2: the tokens that each head of each branch keeps, one in r, at an offset of its own."""
    head, token = followed(steps)
    heads = steps.q.shape[1]
    page = Page("2  Sparsify: in every segment each head keeps one token in r")
    columns = [_columns_with_zeros(steps, branch) for branch in steps.branches]
    side = _side(max(map(len, columns)))
    for branch, places in zip(steps.branches, columns, strict=True):
        branch_title(page, steps, branch)
        kept = [set(_places_kept(branch, h)) for h in range(heads)]
        for h in range(heads):
            page.write(MARGIN, page.top + side / 2, f"head {h}", ha="left")
            for column, (segment, within) in enumerate(places):
                x = MARGIN + _LABEL + column * side
                start, stop = branch.segments[segment]
                chosen, number = (segment, within) in kept[h], start + within
                style: dict[str, Any] = FRAMED if (h, number) == (head, token) and chosen else {}
                if number >= stop:
                    page.square(x, page.top, side, ZERO if chosen else "", zero=chosen, **style)
                elif chosen:
                    colour = segment_colour(segment)
                    page.square(x, page.top, side, str(number), facecolor=colour, **style)
                else:
                    page.square(x, page.top, side)
            page.top += side
        lost = sorted(set(range(len(steps.q))) - set(branch.kept.ravel().tolist()))
        if lost:
            page.top += 0.05
            text = f"kept by no head: {count_of('token', len(lost))} ({name_some(lost)})"
            page.paragraph(text, left=MARGIN + _LABEL, size=8.5)
    return page.finish(
        "Numbers are tokens: what stands in a square is kept with its query, key and value, the "
        "rest is left out of this branch." + zero_note(steps)
    )


def scatter_figure(steps: DilatedSteps) -> Figure:
    """Step 4: results back at the tokens they belong to; a token a head leaves out stays empty."""
    head, token = followed(steps)
    length, heads = steps.lse.shape
    page = Page("4  Scatter: every result goes back to its token")
    side = _side(length)
    _row(page, "token", [str(n) for n in range(length)], side, edgecolor="white", colour=GREY)
    for branch in steps.branches:
        branch_title(page, steps, branch)
        for h in range(heads):
            colours = _result_colours(branch, h, length)
            full = branch.lse[:, h] > -np.inf
            texts = [
                two_decimals(x) if f else "" for x, f in zip(branch.out[:, h, 0], full, strict=True)
            ]
            fills = [c if f else "white" for c, f in zip(colours, full, strict=True)]
            framed = token if h == head else None
            _row(page, f"head {h}", texts, side, fills=fills, framed=framed)
    shares = [
        two_decimals(b.out[token, head, 0]) for b in steps.branches if b.lse[token, head] > -np.inf
    ]
    note = (
        f"Empty squares are tokens that the head left out in this branch. "
        f"Token {token} of head {head} has {_and(shares)} from the branches that keep it."
    )
    shifted = [b for b in steps.branches if (b.readers != b.kept).any()]
    if shifted:
        first = min(branch.segment_length for branch in shifted)
        note += (
            f" Legacy read-back of the released code: from token {first} on, results stand at "
            "tokens they do not belong to, in the colour of the segment they come from; grey ones "
            "are those of zero slots."
        )
    return page.finish(note)


def mix_figure(steps: DilatedSteps) -> Figure:
    """Step 5: the branches mixed by the softmax of their log-sum-exps."""
    head, token = followed(steps)
    length, heads = steps.lse.shape
    page = Page("5  Mix: branches averaged by the softmax of their log-sum-exps")
    side = _side(length)
    _row(page, "token", [str(n) for n in range(length)], side, edgecolor="white", colour=GREY)
    groups = [
        ("log-sum-exp of each branch", [b.lse[:, head] for b in steps.branches], two_decimals),
        ("weight of each branch, %", [b.mixing[:, head] for b in steps.branches], percent),
        ("result of each branch", [b.out[:, head, 0] for b in steps.branches], two_decimals),
    ]
    for title, rows, as_text in groups:
        _title(page, f"head {head}: {title}")
        for branch, values in zip(steps.branches, rows, strict=True):
            full = branch.lse[:, head] > -np.inf
            colours = _result_colours(branch, head, length)
            if as_text is percent:
                colours = list(shaded(0.6 * values[None])[0])
            texts = [as_text(x) if f else "" for x, f in zip(values, full, strict=True)]
            fills = [c if f else "white" for c, f in zip(colours, full, strict=True)]
            name = f"w={branch.segment_length}, r={branch.dilation_rate}"
            _row(page, name, texts, side, fills=fills, framed=token)
    _title(page, "Output: the results mixed by the weights")
    for h in range(heads):
        full = steps.lse[:, h] > -np.inf
        texts = [
            two_decimals(x) if f else "0" for x, f in zip(steps.out[:, h, 0], full, strict=True)
        ]
        fills = ["#f3e3b3" if f else "white" for f in full]
        framed = token if h == head else None
        _row(page, f"head {h}", texts, side, fills=fills, framed=framed)
    terms = [
        f"{percent(b.mixing[token, head])} % x {two_decimals(b.out[token, head, 0])}"
        for b in steps.branches
        if b.lse[token, head] > -np.inf
    ]
    output = two_decimals(steps.out[token, head, 0])
    note = (
        f"Token {token} of head {head}: {' + '.join(terms)} = {output}. "
        "The weight of a branch is exp(its log-sum-exp) over the sum of exp of all."
    )
    if (steps.lse == -np.inf).any():
        note += (
            " White squares of the output: no branch keeps the token in this head, so it gets 0."
        )
    return page.finish(note)


def segment_colour(number: int) -> tuple[float, float, float]:
    """The pale colour of a segment; neighbours differ."""
    red, green, blue = (1 - _TINT * (1 - x) for x in to_rgb(COLOURS[number % 6]))
    return red, green, blue


def branch_name(steps: DilatedSteps, branch: BranchSteps) -> str:
    """`Branch w = 8, r = 2: 2 segments`, and how long a segment was asked for if it was cut."""
    asked = steps.config.segment_lengths[steps.branches.index(branch)]
    cut = f" ({asked:,} cut to the tokens drawn)" if asked > branch.segment_length else ""
    count = count_of("segment", len(branch.segments))
    return f"Branch w = {branch.segment_length}{cut}, r = {branch.dilation_rate}: {count}"


def branch_title(page: Page, steps: DilatedSteps, branch: BranchSteps) -> None:
    """The name of a branch above its drawing; moves the top below it."""
    _title(page, branch_name(steps, branch))


def _title(page: Page, text: str) -> None:
    page.top += 0.12
    page.paragraph(text, size=9.5, bold=True, colour=DARK)
    page.top += 0.03


def _row(
    page: Page,
    label: str,
    texts: list[str],
    side: float,
    *,
    fills: list[Any] | None = None,
    framed: int | None = None,
    edgecolor: str = FRAME,
    colour: str = DARK,
) -> None:
    """One row of squares with its name at the left; moves the top below it."""
    page.write(MARGIN, page.top + side / 2, label, ha="left", colour=colour)
    size = min([9.0, *(number_size(text, side) for text in texts)])
    for column, text in enumerate(texts):
        style: dict[str, Any] = {"edgecolor": edgecolor, "colour": colour, "size": size}
        if fills is not None:
            style["facecolor"] = fills[column]
        if column == framed:
            style |= FRAMED
        page.square(MARGIN + _LABEL + column * side, page.top, side, text, **style)
    page.top += side


def _side(columns: float) -> float:
    """The side of squares of which so many stand beside each other, inches."""
    return min(_LARGEST, (PAGE_WIDTH - 2 * MARGIN - _LABEL) / columns)


def _token_colours(branch: BranchSteps, length: int) -> list[Any]:
    return [segment_colour(token // branch.segment_length) for token in range(length)]


def _result_colours(branch: BranchSteps, head: int, length: int) -> list[Any]:
    """The colour of the segment that each token's result comes from; grey for a zero slot's."""
    colours: list[Any] = ["white"] * length
    for segment, slot in np.argwhere(branch.readers[:, head] != ZERO_SLOT):
        of_zero = branch.kept[segment, head, slot] == ZERO_SLOT
        colour = FRAME if of_zero else segment_colour(segment)
        colours[branch.readers[segment, head, slot]] = colour
    return colours


def _missing(branch: BranchSteps, length: int) -> int:
    """Tokens that the last segment lacks."""
    return -length % branch.segment_length


def _columns_with_zeros(steps: DilatedSteps, branch: BranchSteps) -> list[tuple[int, int]]:
    """(segment, place in it) of every token, and behind those of a segment, kept zero slots."""
    heads = steps.q.shape[1]
    kept = {place for h in range(heads) for place in _places_kept(branch, h)}
    columns = []
    for segment, (start, stop) in enumerate(branch.segments):
        columns += [(segment, within) for within in range(stop - start)]
        if steps.zero_slots:
            columns += sorted(p for p in kept if p[0] == segment and p[1] >= stop - start)
    return columns


def _places_kept(branch: BranchSteps, head: int) -> list[tuple[int, int]]:
    """(segment, place in it) of each slot of a head, behind the last token for zero slots."""
    segments, _, slots = branch.kept.shape
    first, rate = branch.offsets[head], branch.dilation_rate
    return [(segment, first + rate * slot) for segment in range(segments) for slot in range(slots)]


def zero_note(steps: DilatedSteps) -> str:
    """What hatched squares are, where there are any."""
    if not steps.zero_slots or not any((b.kept == ZERO_SLOT).any() for b in steps.branches):
        return ""
    unseen = "; no query sees them, as they come last" if steps.causal else ""
    return f" Hatched: zero slots, which fill a segment up and are kept like tokens{unseen}."


def one_decimal(value: float) -> str:
    """A query, key or value as it is written in a square."""
    return f"{value:.1f}"


def two_decimals(value: float) -> str:
    """A result or log-sum-exp as it is written in a square."""
    return f"{round(value, 2) + 0.0:.2f}"  # never -0.00


def percent(value: float) -> str:
    """A weight as it is written in a square."""
    return f"{100 * value:.0f}"


def _and(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
