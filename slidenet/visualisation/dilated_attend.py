"""Step 3 of dilated attention as a drawing: the small dense matrices within the segments."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from slidenet.attention.dilated.steps import ZERO_SLOT, BranchSteps, DilatedSteps
from slidenet.core.text import name_some, plural
from slidenet.visualisation.dilated_steps import (
    FRAMED,
    ZERO,
    branch_title,
    followed,
    one_decimal,
    percent,
    segment_colour,
    two_decimals,
    zero_note,
)
from slidenet.visualisation.page import MARGIN, PAGE_WIDTH, Page, shaded
from slidenet.visualisation.style import DARK, GREY

MAX_HEIGHT = 14.0
"""Inches; where all heads need more, some are left out, and the caption says which are drawn."""

MOST_TERMS = 4
"""Of a sum that is written out."""

_SIDE, _RESULT, _GAP, _NAME = 0.22, 0.345, 0.09, 0.2
_NARROWEST = 1.35  # the name of a block must fit above it


class _Block(NamedTuple):
    """One head in one segment."""

    head: int
    segment: int


def attend_figure(steps: DilatedSteps) -> Figure:
    """Step 3: softmax weights within each segment, in percent, and the results they give.

    Rows are the queries a head keeps, columns its keys, with the values below; right of each row
    stand its result (the values averaged by the weights) and its log-sum-exp.
    """
    head, token = followed(steps)
    heads = _heads_that_fit(steps, head)
    page = Page("3  Attend: dense attention among the tokens kept in a segment")
    for branch in steps.branches:
        branch_title(page, steps, branch)
        page.top += 0.02
        side, width, height = _sizes(branch)
        blocks = [_Block(h, s) for h in heads for s in range(len(branch.segments))]
        blocks = [b for b in blocks if (branch.kept[b.segment, b.head] != ZERO_SLOT).any()]
        in_row = _in_row(width)
        for first in range(0, len(blocks), in_row):
            for number, block in enumerate(blocks[first : first + in_row]):
                left = MARGIN + number * (width + _GAP)
                framed = token if block.head == head else None
                _draw_block(page, steps, branch, block, left=left, side=side, framed=framed)
            page.top += height
    shown = f" Drawn: {plural('head', len(heads))} {name_some(heads)}."
    note = (
        "Weights in %, darker for more; tokens at the left are queries, those above keys; v: the "
        "values of the keys; lse: the log-sum-exp of the scores. "
        f"{_worked_row(steps, head, token)}{zero_note(steps)}"
    )
    return page.finish(note + (shown if len(heads) < steps.q.shape[1] else ""))


def _draw_block(
    page: Page,
    steps: DilatedSteps,
    branch: BranchSteps,
    block: _Block,
    *,
    left: float,
    side: float,
    framed: int | None,
) -> None:
    head, segment = block.head, block.segment
    kept = branch.kept[segment, head]
    slots = [j for j in range(len(kept)) if kept[j] != ZERO_SLOT or steps.zero_slots]
    name = f"head {head}, segment {segment}"
    page.box(left, page.top + 0.02, 0.12, 0.12, facecolor=segment_colour(segment))
    page.write(left + 0.17, page.top + 0.08, name, size=8, ha="left", colour=DARK)
    top, x = page.top + 0.2, left + side
    for column, j in enumerate(slots):
        label = ZERO if kept[j] == ZERO_SLOT else str(kept[j])
        page.write(x + (column + 0.5) * side, top + 0.07, label, size=7, colour=GREY)
    results = x + len(slots) * side + 0.06
    for number, label in enumerate(("result", "lse")):
        middle = results + (number + 0.5) * _RESULT
        page.write(middle, top + 0.07, label, size=7, colour=GREY)
    top += 0.15
    for row, query in enumerate(j for j in slots if kept[j] != ZERO_SLOT):
        y = top + row * side
        page.write(x - 0.06, y + side / 2, str(kept[query]), size=7, colour=GREY, ha="right")
        for column, key in enumerate(slots):
            place = (x + column * side, y, side)
            weight = branch.weights[segment, head, query, key]
            seen = branch.scores[segment, head, query, key] > -np.inf
            if kept[key] == ZERO_SLOT:
                page.square(*place, percent(weight) if seen else "", zero=True, size=8)
            elif not seen:
                page.square(*place)
            else:
                colour = "white" if weight > 0.55 else DARK
                fill = shaded(np.array([[weight]]))[0, 0]
                page.square(*place, percent(weight), facecolor=fill, colour=colour, size=8)
        values = (branch.results[segment, head, query, 0], branch.result_lse[segment, head, query])
        for number, value in enumerate(values):
            box = (results + number * _RESULT, y, _RESULT, side)
            page.box(*box, facecolor=segment_colour(segment) if number == 0 else "white")
            page.write(box[0] + _RESULT / 2, y + side / 2, two_decimals(value), size=7.5)
        if kept[query] == framed:
            page.box(x, y, results + 2 * _RESULT - x, side, **FRAMED)
    bottom = top + sum(kept[j] != ZERO_SLOT for j in slots) * side + 0.05
    page.write(x - 0.06, bottom + side / 2, "v", size=7.5, colour=GREY, ha="right")
    for column, j in enumerate(slots):
        zero = kept[j] == ZERO_SLOT
        value = "0" if zero else one_decimal(steps.v[kept[j], head, 0])
        page.square(x + column * side, bottom, side, value, zero=zero, size=7)


def _worked_row(steps: DilatedSteps, head: int, token: int) -> str:
    """How the framed result of the last branch comes about, as a sum."""
    for branch in reversed(steps.branches):
        found = np.argwhere(branch.kept[:, head] == token)
        if len(found):
            break
    segment, slot = found[0]
    kept, weights = branch.kept[segment, head], branch.weights[segment, head, slot]
    largest = np.sort(np.argsort(-weights, kind="stable")[:MOST_TERMS])
    terms = []
    for key in largest[weights[largest] > 0]:
        zero = kept[key] == ZERO_SLOT
        value = "0" if zero else one_decimal(steps.v[kept[key], head, 0])
        terms.append(f"{percent(weights[key])} % x {value}")
    if (weights > 0).sum() > MOST_TERMS:
        terms.append("...")
    q, k = one_decimal(steps.q[token, head, 0]), one_decimal(steps.k[kept[0], head, 0])
    score = two_decimals(branch.scores[segment, head, slot, 0])
    result = two_decimals(branch.results[segment, head, slot, 0])
    return (
        f"Framed: token {token} of head {head}. For w = {branch.segment_length}, "
        f"r = {branch.dilation_rate} its score with token {kept[0]} is query x key = {q} x {k} = "
        f"{score}, the softmax of the scores gives its weights, and its result is "
        f"{' + '.join(terms)} = {result}."
    )


def _sizes(branch: BranchSteps) -> tuple[float, float, float]:
    """Side of a square, width and height of a block of this branch, inches."""
    slots = branch.kept.shape[2]
    side = min(_SIDE, (PAGE_WIDTH - 2 * MARGIN - 2 * _RESULT - 0.1) / (slots + 1))
    width = max((slots + 1) * side + 0.06 + 2 * _RESULT, _NARROWEST)
    return side, width, 0.4 + (slots + 1) * side + _NAME


def _in_row(width: float) -> int:
    return int((PAGE_WIDTH - 2 * MARGIN + _GAP) / (width + _GAP))


def _heads_that_fit(steps: DilatedSteps, head: int) -> list[int]:
    """All heads; or the one that is followed and as many others as the height allows."""
    others = [h for h in range(steps.q.shape[1]) if h != head]
    for count in range(len(others), 0, -1):
        height = 0.0
        for branch in steps.branches:
            _, width, high = _sizes(branch)
            blocks = (count + 1) * len(branch.segments)
            height += 0.35 + -(-blocks // _in_row(width)) * high
        if height <= MAX_HEIGHT:
            return sorted([head, *others[:count]])
    return [head]
