import json

import pytest

from slidenet.core.errors import MissingMppError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run import Made, run_cohort

ROWS = [SlideRow(slide_id=name, slide_path=f"{name}.svs") for name in ("a", "b", "c", "d")]


def work(row, progress):
    if row.slide_id == "b":
        raise MissingMppError("no microns per pixel", remedy="fill the column mpp")
    if row.slide_id == "c":
        raise ZeroDivisionError("a bug")
    return Made(output=OUT.root / f"{row.slide_id}.h5", detail="made", num_tiles=7)


@pytest.fixture(autouse=True)
def _layout(tmp_path):
    global OUT
    OUT = OutputLayout(tmp_path)


def test_one_bad_slide_never_stops_the_cohort():
    report = run_cohort("verb", ROWS, work, layout=OUT, settings=())
    assert [o.status for o in report.outcomes] == ["done", "failed", "failed", "done"]
    assert report.exit_code == 1
    assert report.outcomes[1].detail == (
        "slide 'b': no microns per pixel. To fix: fill the column mpp"
    )
    assert "internal error, ZeroDivisionError: a bug" in report.outcomes[2].detail
    assert "Traceback" in report.outcomes[2].traceback
    assert "2 done, 2 failed" in report.table()


def test_run_json_keeps_the_reports_of_other_verbs():
    run_cohort("first", ROWS[:1], work, layout=OUT, settings=())
    run_cohort("second", ROWS, work, layout=OUT, settings=())
    stages = json.loads(OUT.run_report.read_text())["stages"]
    assert stages["first"]["num_failed"] == 0
    assert [s["status"] for s in stages["second"]["slides"]] == ["done", "failed", "failed", "done"]
    assert stages["second"]["slides"][0]["output"] == "a.h5"


def test_an_interrupted_run_still_reports():
    def interrupted(row, progress):
        if row.slide_id == "b":
            raise KeyboardInterrupt
        return work(row, progress)

    with pytest.raises(KeyboardInterrupt):
        run_cohort("verb", ROWS, interrupted, layout=OUT, settings=())
    slides = json.loads(OUT.run_report.read_text())["stages"]["verb"]["slides"]
    assert [s["slide_id"] for s in slides] == ["a"]
