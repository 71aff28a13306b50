import pytest
from matplotlib.figure import Figure

from slidenet.evaluation import SummarySettings, summarise
from slidenet.evaluation.report import figures
from slidenet.evaluation.report.figures import CHARTS, Chart, Compared, draw_pictures

CLASSES = ["roc", "precision_recall", "calibration"]
EXPECTED = {
    "binary": [*CLASSES, "confusion"],
    "multiclass": [*CLASSES, "confusion"],
    "ordinal": [*CLASSES, "confusion"],
    "multilabel": CLASSES,
    "regression": ["agreement"],
    "cox": ["survival"],
    "discrete_time": ["survival"],
}


def compared(simulate, kind):
    return Compared(summarise(simulate(kind), SummarySettings(num_bootstrap=20)), "model")


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_task_has_its_charts(simulate, kind):
    pictures = draw_pictures(compared(simulate, kind))
    assert [picture.file for picture in pictures] == [f"{name}.png" for name in EXPECTED[kind]]
    assert all(picture.caption and isinstance(picture.figure, Figure) for picture in pictures)


def test_every_chart_has_a_task_and_a_file_of_its_own():
    files = [chart.file for chart in CHARTS]
    assert len(set(files)) == len(files)
    assert set(files) == {f"{name}.png" for names in EXPECTED.values() for name in names}


def test_a_chart_is_one_entry_of_the_list(simulate, monkeypatch):
    def bags(found):
        return Figure(), f"{len(found.summary.predictions)} bags of {found.name}"

    chart = Chart("bags.png", lambda summary: summary.predictions.task.is_survival, bags)
    monkeypatch.setattr(figures, "CHARTS", (*CHARTS, chart))
    assert draw_pictures(compared(simulate, "cox"))[-1].caption == "60 bags of model"
    assert draw_pictures(compared(simulate, "binary"))[-1].file == "confusion.png"
