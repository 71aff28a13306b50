"""The drawings hold the numbers of the steps, where they belong, and nothing runs into another."""

import re
from collections import Counter
from unittest.mock import ANY

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from slidenet.attention import DilatedConfig
from slidenet.attention.dilated.steps import ZERO_SLOT, dilated_steps, example_steps
from slidenet.core.errors import ConfigError
from slidenet.visualisation.dilated_attend import attend_figure
from slidenet.visualisation.dilated_steps import (
    followed,
    mix_figure,
    scatter_figure,
    segment_colour,
    sparsify_figure,
    split_figure,
)

FIGURES = [split_figure, sparsify_figure, attend_figure, scatter_figure, mix_figure]
RAGGED = DilatedConfig((3, 7), (2, 3))


def drawn(figure):
    """Text by place of its middle, inches, with the squares there."""
    return [(t.get_text(), t.get_position()) for t in figure.axes[0].texts]


def numbers(figure):
    """How often each number stands in the drawing; captions are longer."""
    found = [text for text, _ in drawn(figure) if re.fullmatch(r"-?\d+(\.\d+)?", text)]
    return Counter(found)


def squares(figure, **style):
    patches = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    return [p for p in patches if all(getattr(p, f"get_{k}")() == v for k, v in style.items())]


@pytest.mark.parametrize("draw", FIGURES)
def test_every_text_has_room(draw, no_overlap):
    no_overlap(draw(example_steps(RAGGED, length=8, num_heads=2)))


def test_followed_token_is_framed_in_every_step():
    steps = example_steps(DilatedConfig((2, 4), (1, 2)), length=4, num_heads=2)
    head, token = followed(steps)
    assert all(branch.lse[token, head] > -np.inf for branch in steps.branches)
    framed = [len(squares(draw(steps), linewidth=2.0)) for draw in FIGURES]
    # query, key, value and two branches; two branches; a row of each; three groups and the output
    assert framed == [5, 2, 2, 2, 7]


def test_split_has_the_segments_and_says_how_many_zeros_fill_the_last():
    texts = [text for text, _ in drawn(split_figure(example_steps(RAGGED, length=8)))]
    assert [t for t in texts if t.startswith("Branch")] == [
        "Branch w = 3, r = 2: 3 segments",
        "Branch w = 7, r = 3: 2 segments",
    ]
    assert [t for t in texts if t.endswith("zeros") or t.endswith("zero")] == ["1 zero", "6 zeros"]


def test_sparsify_hatches_zero_slots_and_names_tokens_no_head_keeps():
    steps = example_steps(RAGGED, length=8, num_heads=2)
    zeros = sum((branch.kept == ZERO_SLOT).sum() for branch in steps.branches)
    figure = sparsify_figure(steps)
    assert (
        len(squares(figure, hatch="////"))
        == [text for text, _ in drawn(figure)].count("-")
        == zeros
        > 0
    )
    texts = [text for text, _ in drawn(figure)]
    assert "kept by no head: 2 tokens (2, 5)" in texts
    masked = example_steps(DilatedConfig((3,), (2,), padding="masked"), length=8, num_heads=2)
    assert not squares(sparsify_figure(masked), hatch="////")


@pytest.mark.parametrize("causal", [False, True])
def test_attend_has_every_weight_and_result(causal):
    steps = example_steps(DilatedConfig((4,), (2,)), length=8, num_heads=2, causal=causal)
    (branch,) = steps.branches
    seen = branch.scores > -np.inf
    expected = Counter(f"{100 * w:.0f}" for w in branch.weights[seen])
    expected += Counter(f"{round(x, 2) + 0.0:.2f}" for x in branch.results.ravel())
    found = numbers(attend_figure(steps))
    assert all(found[text] >= number for text, number in expected.items())
    assert sum(found.values()) == seen.sum() + 5 * 8  # query, key and value; result and lse


def test_attend_leaves_out_heads_that_do_not_fit_and_says_so(words, monkeypatch):
    steps = example_steps(DilatedConfig((2,), (2,)), length=2, num_heads=2)
    assert "Drawn" not in words(attend_figure(steps))
    monkeypatch.setattr("slidenet.visualisation.dilated_attend.MAX_HEIGHT", 1)
    head = followed(steps).head
    assert f"Drawn: head {head}." in words(attend_figure(steps)).replace("\n", " ")


def test_results_stand_at_their_tokens_and_the_rest_is_empty():
    steps = example_steps(DilatedConfig((4,), (2,)), length=8, num_heads=2)
    out = steps.branches[0].out[..., 0]
    texts = drawn(scatter_figure(steps))
    tokens = {x: int(text) for text, (x, y) in texts if text in "01234567" and y < 1}
    results = [(text, tokens[x]) for text, (x, y) in texts if y > 1 and "." in text and x in tokens]
    assert results == [(f"{out[t, h]:.2f}", t) for h in range(2) for t in range(h, 8, 2)]


def test_the_legacy_read_back_shows_results_at_other_tokens(words):
    config = DilatedConfig((3,), (2,), legacy_readback=True)
    figure = scatter_figure(example_steps(config, length=6, num_heads=1))
    assert "from token 3 on" in words(figure).replace("\n", " ")
    # Segments of 3 are read as if they were 4: token 4 has the result of the second segment.
    second = squares(figure, facecolor=(*segment_colour(1), 1.0))
    assert [(p.get_x(), p.get_y()) for p in second] == [(pytest.approx(1.2 + 4 * 0.4), ANY)]


def test_mix_has_weights_and_outputs_and_0_where_no_branch_keeps_the_token(words):
    steps = example_steps(DilatedConfig((8, 8), (2, 4)), length=8, num_heads=1)
    figure = mix_figure(steps)
    found = numbers(figure)
    for token in (0, 2, 4, 6):
        assert found[f"{round(steps.out[token, 0, 0], 2) + 0.0:.2f}"] >= 1
        assert found[f"{100 * steps.branches[0].mixing[token, 0]:.0f}"] >= 1
    assert found["0"] >= 4
    assert "no branch keeps the token" in words(figure).replace("\n", " ")


def test_more_features_than_one_cannot_be_written_as_a_number():
    values = np.ones((4, 1, 2))
    steps = dilated_steps(values, values, values, DilatedConfig((4,), (1,)))
    with pytest.raises(ConfigError, match="2 features per head; expected 1"):
        split_figure(steps)
