from itertools import combinations

import pytest
from matplotlib.text import Text


def texts(figure):
    unseen = set()  # ticks beyond the ends of an axis, and of axes without a frame
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            drawn = axis._update_ticks() if axes.axison else []
            for tick in {*axis.majorTicks, *axis.minorTicks}.difference(drawn):
                unseen |= {tick.label1, tick.label2}
    found = figure.findobj(Text)
    return [t for t in found if t.get_text().strip() and t.get_visible() and t not in unseen]


def check_texts(figure):
    """No text runs out of the figure or into another one."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts(figure)]
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0 < box.x1 <= page.x1, text
        assert page.y0 <= box.y0 < box.y1 <= page.y1, text
    for (a, box_a), (b, box_b) in combinations(boxes, 2):
        width = min(box_a.x1, box_b.x1) - max(box_a.x0, box_b.x0)
        height = min(box_a.y1, box_b.y1) - max(box_a.y0, box_b.y0)
        # Boxes of letters hold the height of the tallest one: they may touch.
        assert min(width, height) < 3, (a, b)


@pytest.fixture
def no_overlap():
    return check_texts


@pytest.fixture
def words():
    """All text of a figure, as one."""
    return lambda figure: "\n".join(t.get_text() for t in texts(figure))
