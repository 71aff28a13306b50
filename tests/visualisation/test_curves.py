import numpy as np
import pytest

from slidenet.visualisation.curves import (
    Line,
    SurvivalLine,
    agreement_figure,
    calibration_figure,
    learning_curve_figure,
    precision_recall_figure,
    roc_figure,
    survival_figure,
)
from slidenet.visualisation.matrices import confusion_figure

X = np.linspace(0, 1, 11)


def lines(count):
    return [
        Line(X, X ** (1 / (n + 2)), f"class {n}: AUROC 0.853 [0.791, 0.909]", X, X, np.sqrt(X))
        for n in range(count)
    ]


def survival(count):
    times = np.array([0.0, 2, 5, 9])
    alive = np.array([1.0, 0.8, 0.5, 0.3])
    return [
        SurvivalLine(times, alive, alive - 0.1, alive, f"group {n}", f"group {n}", [10, 5, n])
        for n in range(count)
    ]


FIGURES = {
    "roc": lambda n: roc_figure(lines(n), "status: yes"),
    "precision_recall": lambda n: precision_recall_figure(lines(n), [0.3] * n, "status: yes"),
    "calibration": lambda n: calibration_figure(
        [Line(X, X**2, "as predicted", None, X**2, X**2)] * n, np.repeat(X, 5), "probability", "t"
    ),
    "confusion": lambda n: confusion_figure(
        np.full((n + 1, n + 1), 1234), [f"a class with a long name {i}" for i in range(n + 1)], "t"
    ),
    "agreement": lambda n: agreement_figure(X, X**n, "score", note="R² 0.9\nerror 0.1"),
    "survival": lambda n: survival_figure(
        survival(n), np.array([0, 4, 8]), time_label="months", title="t", note="log-rank p = 0.01"
    ),
}


@pytest.mark.parametrize("number", [1, 6])
@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_and_the_legend_covers_nothing(name, number):
    figure = FIGURES[name](number)
    figure.canvas.draw()
    whole = figure.bbox
    legends = [legend.get_window_extent() for legend in figure.legends]
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= whole.x1
        assert box.y1 <= whole.y1
        for legend in legends:
            assert not box.overlaps(legend)
        assert axes.get_xlabel() or axes.get_ylabel() or name == "survival"
    for legend in legends:
        assert legend.x0 >= 0
        assert legend.x1 <= whole.x1
        assert legend.y0 >= 0


def test_curves_show_what_they_were_given():
    figure = roc_figure(lines(2))
    drawn = figure.axes[0].get_lines()[1:]  # the first is the diagonal
    for line, given in zip(drawn, lines(2), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), given.x)
        np.testing.assert_array_equal(line.get_ydata(), given.y)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [line.label for line in lines(2)]
    assert len(figure.axes[0].collections) == 2  # the bands


def test_confusion_writes_counts_and_shares_of_the_true_class():
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ["no", "yes"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["3\n75%", "1\n25%", "0\n", "0\n"]


def test_numbers_at_risk_stand_below_their_times():
    figure = survival_figure(survival(2), np.array([0, 4, 8]))
    table = figure.axes[1]
    found = {text.get_position(): text.get_text() for text in table.texts}
    assert found == {(0, 0): "10", (4, 0): "5", (8, 0): "0", (0, -1): "10", (4, -1): "5",
                     (8, -1): "1"}  # fmt: skip


def test_the_epoch_kept_is_marked_and_named():
    epochs = [
        {"epoch": i, "train_loss": 1 - i / 9, "val_loss": 0.5, "val_auroc": 0.6} for i in range(5)
    ]
    for monitor, panels in (("val_loss", 1), ("val_auroc", 2)):
        figure = learning_curve_figure(epochs, monitor, 3)
        assert len(figure.axes) == panels
        for axes in figure.axes:
            assert list(axes.lines[-1].get_xdata()) == [4, 4]
            assert "kept: epoch 4" in [t.get_text() for t in axes.get_legend().get_texts()]
    figure = learning_curve_figure(epochs, "val_loss")
    assert len(figure.axes[0].lines) == 2
