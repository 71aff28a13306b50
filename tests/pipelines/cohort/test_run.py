import errno
import json
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import pytest

from slidenet.core.errors import ManifestError, MissingMppError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.progress import SilentProgress
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import Runner, SlideResult, SlideWork, work_on
from slidenet.pipelines.cohort.slides import rows_of

ROWS = [SlideRow(slide_id=name, slide_path=f"{name}.svs") for name in ("a", "b", "c", "d")]


@dataclass(frozen=True)
class Work(SlideWork):
    layout: OutputLayout

    def __call__(self, row, progress):
        if row.slide_id == "b":
            raise MissingMppError("no microns per pixel", remedy="fill the column mpp")
        if row.slide_id == "c":
            raise ZeroDivisionError("a bug")
        output = self.layout.root / f"{row.slide_id}.h5"
        return SlideResult(output, "made", num_tiles=7, value=row.slide_id.upper())


@pytest.fixture
def work(tmp_path):
    return Work(OutputLayout(tmp_path))


def test_one_bad_slide_never_stops_the_cohort(work):
    report = run_cohort("verb", ROWS, work)
    assert [o.status for o in report.outcomes] == ["done", "failed", "failed", "done"]
    assert report.exit_code == 1
    assert report.outcomes[1].detail == (
        "slide 'b': no microns per pixel. To fix: fill the column mpp"
    )
    assert "internal error, ZeroDivisionError: a bug" in report.outcomes[2].detail
    assert "Traceback" in report.outcomes[2].traceback
    assert "2 done, 2 failed" in report.table()


def test_a_disk_that_fails_is_one_line_of_one_slide(work):
    class OnABadDisk(Work):
        def count(self, row):
            raise OSError(errno.EIO, "Input/output error")

        def __call__(self, row, progress):
            if row.slide_id == "a":
                raise OSError(errno.EIO, "Input/output error", "a.svs")
            return super().__call__(row, progress)

    report = run_cohort("verb", [ROWS[0], ROWS[3]], OnABadDisk(work.layout))
    assert [o.status for o in report.outcomes] == ["failed", "done"]
    assert report.outcomes[0].detail.startswith("slide 'a': a.svs: Input/output error; expected")
    assert report.outcomes[0].traceback is None


def test_unreadable_tiles_are_counted_where_there_are_any(work):
    class Hurt(Work):
        def __call__(self, row, progress):
            result = super().__call__(row, progress)
            return replace(result, num_unreadable=2 if row.slide_id == "d" else None)

    report = run_cohort("verb", ROWS, Hurt(work.layout))
    head, _, first, *_, last, _, warning = report.table().splitlines()
    assert head.split() == ["slide", "status", "tiles", "unreadable", "seconds", "detail"]
    assert first.split()[:4] == ["a", "done", "7", "0.0"]
    assert last.split()[:5] == ["d", "done", "7", "2", "0.0"]
    assert warning == "warning: 2 tiles of 1 slide could not be read"
    slides = json.loads(work.layout.run_report.read_text())["stages"]["verb"]["slides"]
    assert [slide["num_unreadable"] for slide in slides] == [None, None, None, 2]
    assert "unreadable" not in run_cohort("verb", ROWS[:1], Hurt(work.layout)).table()


def test_run_json_keeps_the_reports_of_other_verbs(work):
    run_cohort("first", ROWS[:1], work)
    run_cohort("second", ROWS, work)
    stages = json.loads(work.layout.run_report.read_text())["stages"]
    assert stages["first"]["num_failed"] == 0
    assert [s["status"] for s in stages["second"]["slides"]] == ["done", "failed", "failed", "done"]
    assert stages["second"]["slides"][0]["output"] == "a.h5"


def test_an_interrupted_run_still_reports(work):
    class Interrupted(Work):
        def __call__(self, row, progress):
            if row.slide_id == "b":
                raise KeyboardInterrupt
            return super().__call__(row, progress)

    with pytest.raises(KeyboardInterrupt):
        run_cohort("verb", ROWS, Interrupted(work.layout))
    slides = json.loads(work.layout.run_report.read_text())["stages"]["verb"]["slides"]
    assert [s["slide_id"] for s in slides] == ["a"]


class ReadAhead(Work):
    """Ends with a slide only when the one after the next has begun, or nothing follows."""

    reads_ahead = True

    def __init__(self, layout, num_slides):
        super().__init__(layout)
        object.__setattr__(self, "begun", [threading.Event() for _ in range(num_slides + 2)])
        for event in self.begun[num_slides:]:
            event.set()

    def __call__(self, row, progress):
        number = int(row.slide_id)
        self.begun[number].set()
        assert threading.current_thread() is not threading.main_thread()
        progress.next_slide_may_start()
        assert self.begun[number + 2].wait(timeout=30)
        if number == 1:
            raise MissingMppError("no microns per pixel")
        return SlideResult(self.layout.root / f"{row.slide_id}.h5", "made")


def test_work_that_reads_ahead_begins_with_the_next_slide_and_keeps_errors_apart(tmp_path):
    rows = [SlideRow(slide_id=str(n), slide_path=f"{n}.svs") for n in range(6)]
    report = run_cohort("verb", rows, ReadAhead(OutputLayout(tmp_path), len(rows)))
    assert [o.slide_id for o in report.outcomes] == [row.slide_id for row in rows]
    assert [o.status for o in report.outcomes] == ["done", "failed"] + ["done"] * 4


def test_without_a_word_the_next_slide_waits_for_this_one(tmp_path):
    @dataclass(frozen=True)
    class Alone(SlideWork):
        layout: OutputLayout
        alone = threading.Lock()
        reads_ahead = True

        def __call__(self, row, progress):
            assert self.alone.acquire(blocking=False)
            progress.advance(1)
            self.alone.release()
            return SlideResult(self.layout.root / "a.h5", "made")

    report = run_cohort("verb", ROWS, Alone(OutputLayout(tmp_path)))
    assert [o.detail for o in report.outcomes] == ["made"] * 4


def test_an_interrupted_run_stops_the_slides_under_way(tmp_path):
    stopped = threading.Event()

    @dataclass(frozen=True)
    class Endless(SlideWork):
        layout: OutputLayout
        reads_ahead = True

        def __call__(self, row, progress):
            progress.next_slide_may_start()
            if row.slide_id == "b":
                raise KeyboardInterrupt  # as Ctrl-C does in the thread that waits
            try:
                while True:
                    progress.advance(1)
            finally:
                stopped.set()

    with pytest.raises(KeyboardInterrupt):
        run_cohort("verb", ROWS[:2], Endless(OutputLayout(tmp_path)))
    assert stopped.is_set()
    assert json.loads((tmp_path / "run.json").read_text())["stages"]["verb"]["slides"] == []


class ProcessRunner(Runner):
    """Sends the work to another process, last slide first."""

    def run(self, work, rows, progress):
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            for task in [
                pool.submit(work_on, row, work, SilentProgress()) for row in reversed(rows)
            ]:
                yield task.result()


def test_another_runner_ends_with_the_same_outcomes(work):
    here, there = (
        run_cohort("verb", ROWS, work, **more) for more in ({}, {"runner": ProcessRunner()})
    )
    assert [o.status for o in there.outcomes] == ["done", "failed", "failed", "done"]
    for one, other in zip(here.outcomes, there.outcomes, strict=True):
        assert (one.slide_id, one.detail, one.value) == (other.slide_id, other.detail, other.value)
    slides = json.loads(work.layout.run_report.read_text())["stages"]["verb"]["slides"]
    assert "value" not in slides[0]


def test_a_report_as_a_table_of_pandas(work):
    table = run_cohort("verb", ROWS, work).to_pandas()
    assert list(table["slide_id"]) == ["a", "b", "c", "d"]
    assert list(table.columns[:2]) == ["slide_id", "status"]


def test_slides_are_a_manifest_a_folder_paths_or_rows(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    paths = [folder / "a.svs", folder / "b.tiff"]
    for path in paths:
        path.touch()
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_path\nslides/a.svs\nslides/b.tiff\n")
    expected = [SlideRow(path.stem, str(path)) for path in paths]
    for slides in (manifest, str(manifest), folder, paths, [str(p) for p in paths], expected):
        assert rows_of(slides) == expected
    assert rows_of(str(paths[0])) == expected[:1]
    assert rows_of([]) == []
    with pytest.raises(ManifestError, match=r"slide 2, .*a.tiff: slide_id 'a' is already taken"):
        rows_of([paths[0], folder / "a.tiff"])


def test_slides_of_subfolders_are_taken_where_asked_for(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.svs").touch()
    assert [row.slide_id for row in rows_of(tmp_path, recursive=True)] == ["a"]
    with pytest.raises(ManifestError, match="given one by one; expected a folder of slides"):
        rows_of([tmp_path / "x" / "a.svs"], recursive=True)
