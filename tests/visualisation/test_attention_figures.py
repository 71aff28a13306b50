"""Figures of attention: what is drawn where, in which colour, and that every text has room."""

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from slidenet.visualisation import (
    Panel,
    exchange_figure,
    growth_figure,
    matrices_figure,
    ranks_figure,
    reach_figure,
    save_figure,
)
from slidenet.visualisation.style import COLOURS, GREY

BLUE, VERMILION, GREEN = (np.array(to_rgb(colour)) for colour in COLOURS[:3])
LONG = "dilated with segment lengths 8, 16, 32, 64, 64 and dilation rates 1, 2, 4, 8, 16, causal, "


def panels(count, size=8):
    share = np.eye(size)
    share[-1, 0] = 0.5
    return [Panel(f"branch {n}: w = 16, r = 4", "12.5 % of all pairs", share) for n in range(count)]


def pictures(figure):
    """The squares of each panel, RGB; colour bars are no panels."""
    return [a.images[0].get_array() for a in figure.axes if a.images and a.get_xticks().size]


@pytest.mark.parametrize("count", [1, 6])
def test_a_panel_per_matrix_with_room_for_every_text(count, no_overlap):
    figure = matrices_figure(panels(count), length=8, title=LONG * 2, note=LONG * 3)
    assert len(pictures(figure)) == count
    no_overlap(figure)


def test_darker_for_more_heads():
    (squares,) = pictures(matrices_figure(panels(1), length=8, title="t"))
    np.testing.assert_allclose(squares[3, 3], BLUE, atol=0.01)
    np.testing.assert_array_equal(squares[0, 1], 1)
    assert (squares[3, 3] < squares[7, 0]).any()
    assert (squares[7, 0] < 1).any()


def test_the_smallest_share_can_be_seen():
    share = np.full((4, 4), 1e-4)
    (squares,) = pictures(matrices_figure([Panel("", "", share)], length=4, title="t"))
    assert squares[0, 0, 0] < 0.9


def test_ticks_and_borders_are_positions(words):
    figure = matrices_figure(panels(1), length=64, title="t", borders=(22, 43))
    axes = figure.axes[1]
    assert axes.get_xlim() == (-0.5, 63.5)
    assert axes.get_ylim() == (63.5, -0.5)
    drawn = {line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] not in (0, 1)}
    assert drawn == {21.5, 42.5}
    assert "a square stands for 8 x 8 pairs" in words(figure)
    assert "coarse" not in words(matrices_figure(panels(1), length=8, title="t"))


def test_local_and_fetched_keys_differ_in_colour(no_overlap):
    fetched = np.zeros((8, 8))
    fetched[0, 7] = 1
    figure = ranks_figure(np.eye(8), fetched, (0, 3, 8), length=8, title=LONG, note=LONG)
    (squares,) = pictures(figure)
    np.testing.assert_allclose(squares[2, 2], BLUE)
    np.testing.assert_allclose(squares[0, 7], VERMILION)
    no_overlap(figure)


@pytest.mark.parametrize("ranks", [2, 8])
def test_each_rank_receives_in_the_colour_of_the_sender(ranks, no_overlap, words):
    bounds = np.linspace(0, 16, ranks + 1).astype(int)
    fetched = np.zeros((ranks, 2, 16))
    fetched[0, 1, bounds[1]] = 1
    labels = [f"receives {n} keys" for n in range(ranks)]
    figure = exchange_figure(fetched, bounds, length=16, title=LONG, note=LONG, labels=labels)
    strips = [a.images[0].get_array() for a in figure.axes[1:]]
    assert [strip.shape for strip in strips] == [(2, 16, 3)] * ranks
    np.testing.assert_allclose(strips[0][1, bounds[1]], VERMILION)
    np.testing.assert_array_equal(strips[0][0], 1)
    assert all(label in words(figure) for label in labels)
    no_overlap(figure)


def test_few_squares_stand_for_many_tokens_with_lines_between_squares_only(no_overlap):
    length, bounds = 1_000_000, [200_000 * n for n in range(6)]
    strips = exchange_figure(np.ones((5, 2, 8)), bounds, length=length, title="t")
    lines = [len(c.get_segments()) for c in strips.axes[1].collections]
    assert lines == [7, 1]
    no_overlap(ranks_figure(np.eye(8), np.eye(8), bounds, length=length, title=LONG))


def test_reach_by_layer_with_what_can_be_reached(no_overlap, words):
    figure = reach_figure([33, 65], [64, 127], [64, 127], possible=256, title=LONG, note=LONG)
    axes = figure.axes[1]
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["least"] == [33, 65]
    assert list(axes.lines[1].get_xdata()) == [1, 2]
    assert axes.get_yscale() == "linear"
    assert "all 256" in words(figure)
    no_overlap(figure)


def test_reach_that_differs_much_is_logarithmic():
    figure = reach_figure([1], [50], [5000], possible=100_000, title="t")
    assert figure.axes[1].get_yscale() == "log"


def test_growth_beside_dense(no_overlap):
    lengths = [10**3, 10**4, 10**6]
    curves = {"dilated": [1e5, 1e6, 1e8], "dense": [1e6, 1e8, 1e12]}
    figure = growth_figure(lengths, curves, title=LONG, note=LONG)
    axes = figure.axes[1]
    assert {line.get_label(): line.get_color() for line in axes.lines} == {
        "dilated": COLOURS[0],
        "dense": GREY,
    }
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    no_overlap(figure)


def test_an_svg_is_the_same_bytes_every_time(tmp_path):
    for name in ("a.svg", "b.svg"):
        save_figure(matrices_figure(panels(2, 2), length=2, title="t"), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert b"<dc:date>" not in first
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    assert root.get("width") == "576pt"  # 8 inches
