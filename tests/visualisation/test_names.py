"""Names of plug-ins are drawn as they are: dollar signs begin no formula."""

import numpy as np

from slidenet.visualisation import Panel, growth_figure, matrices_figure

NAME = "a $x_{$ b"


def test_a_name_is_no_formula():
    matrix = matrices_figure([Panel(NAME, NAME, np.eye(2))], length=2, title=NAME, note=NAME)
    growth = growth_figure([1, 10], {NAME: [1, 2], "dense": [1, 100]}, title=NAME)
    for figure in (matrix, growth):
        figure.draw_without_rendering()
    assert [text.get_text() for text in matrix.axes[0].texts].count(NAME) == 4
