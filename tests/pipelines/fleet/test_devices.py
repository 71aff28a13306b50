"""Processes at their places drain one list; what one of them does to itself costs its slide."""

import os
import pickle
import shutil
import sys
import time
from dataclasses import dataclass

import pytest

from slidenet.core.errors import ConfigError, WorkerError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import LocalRunner, SlideResult, SlideWork
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet import workers
from slidenet.pipelines.fleet.places import find_places
from slidenet.pipelines.fleet.runner import DevicesRunner
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.preprocess import preprocess
from slidenet.testing import write_synthetic_slide
from slidenet.tile_encoders import TileEncoder

WORK = """
import logging, os, sys, time
from dataclasses import dataclass
from slidenet.core.errors import MissingMppError
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork

@dataclass(frozen=True)
class Work(SlideWork):
    layout: OutputLayout
    time_limit_s: float | None = None
    unit = "tile"

    def __call__(self, row, progress):
        name = row.slide_id
        progress.advance(10)
        if name == "bad":
            raise MissingMppError("no microns per pixel")
        marker = self.layout.root / f"{name}.begun"
        if name == "dies" or (name == "dies once" and not marker.exists()):
            marker.touch()
            print("library: no room", flush=True)
            os._exit(3)
        if name == "hangs":
            time.sleep(600)
        if name.startswith("meets "):
            marker.touch()
            other = self.layout.root / f"meets {'y' if name[-1] == 'x' else 'x'}.begun"
            until = time.monotonic() + 120
            while not other.exists() and time.monotonic() < until:
                time.sleep(0.01)
        logging.getLogger("slidenet.test").warning("%s is odd", name)
        cores = sorted(os.sched_getaffinity(0))
        return SlideResult(self.layout.root / f"{name}.h5", "made", 10, value=(os.getpid(), cores))
"""


def rows_of(*names):
    return [SlideRow(name, f"{name}.svs") for name in names]


@pytest.fixture
def work(tmp_path, monkeypatch):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "fleet_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(folder)
    sys.modules.pop("fleet_work", None)
    import fleet_work

    (tmp_path / "out").mkdir()
    return fleet_work.Work(OutputLayout(tmp_path / "out"))


two_cores = pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: {0})(0)) < 2,
    reason="two processes need two cores",
)


@two_cores
@pytest.mark.slow
def test_processes_share_a_list_and_survive_their_slides(work, caplog, capsys):
    # x and y end only when both have begun: without them one process may do all, where the
    # other starts slowly.
    names = ["a", "dies", "b", "bad", "dies once", "meets x", "meets y", "s3"]
    report = run_cohort(
        "verb", rows_of(*names), work, fleet=FleetSettings(devices=2, progress="json")
    )
    assert [o.slide_id for o in report.outcomes] == names
    found = {o.slide_id: o for o in report.outcomes}
    failed = {o.slide_id: o.detail for o in report.failed}
    assert set(failed) == {"dies", "bad"}
    assert "ended twice (code 3: library: no room)" in failed["dies"]
    assert failed["bad"] == "slide 'bad': no microns per pixel"
    assert found["dies once"].status == "done"
    cores = {tuple(o.value[1]) for o in report.outcomes if o.status == "done"}
    assert cores == {place.cores for place in find_places(2, "cpu")}
    assert os.getpid() not in {o.value[0] for o in report.outcomes if o.status == "done"}
    assert "s3 is odd" in caplog.text
    assert '"worker": "cpu:' in capsys.readouterr().err


@pytest.mark.slow
def test_a_process_that_hangs_is_killed_when_its_slide_is_overdue(work, monkeypatch):
    monkeypatch.setattr(workers, "OVERDUE_S", 1.0)
    monkeypatch.setattr(workers, "LOOK_S", 0.2)
    limited = type(work)(work.layout, time_limit_s=2.0)
    report = run_cohort("verb", rows_of("hangs", "a"), limited, fleet=FleetSettings(devices=1))
    assert [o.status for o in report.outcomes] == ["failed", "done"]
    assert "more than 2 s, and its process had to be killed" in report.failed[0].detail


@pytest.mark.slow
def test_processes_end_with_the_block_also_those_at_work(work, monkeypatch):
    began = []

    class Watching:
        def show_slide(self, slide_id, *, worker=""):
            began.append(slide_id)

        def advance(self, count, *, done_before=False, worker=""):
            raise KeyboardInterrupt

    runner = DevicesRunner(find_places(1, "cpu"), work)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), runner:
        list(runner.run(work, rows_of("hangs", "a"), Watching()))
    assert began == ["hangs"]
    assert all(process.wait(0) for process in runner.workers)
    assert time.monotonic() - started < workers.STOPPING_S
    assert not runner._path.exists()


@pytest.mark.slow
def test_a_process_that_cannot_begin(work, monkeypatch, tmp_path):
    with DevicesRunner(find_places(1, "cpu"), work) as runner:
        (tmp_path / "modules" / "fleet_work.py").unlink()
        with pytest.raises(ConfigError, match=r"cannot do the work .ModuleNotFoundError"):
            list(runner.run(work, rows_of("a"), None))
    monkeypatch.setattr(sys, "path", [])
    with (
        DevicesRunner(find_places(1, "cpu"), work) as runner,
        pytest.raises(WorkerError, match=r"ended before it began \(code 1: ModuleNotFound"),
    ):
        list(runner.run(work, rows_of("a"), None))


@dataclass(frozen=True)
class Local(SlideWork):
    layout: OutputLayout

    def __call__(self, row, progress):
        return SlideResult(self.layout.root, "made")


def test_devices_and_another_runner_are_one_too_many(tmp_path):
    class Another(LocalRunner):
        pass

    class Foreign:
        def run(self, work, rows, progress):
            return iter(())

    fleet, local = FleetSettings(devices=1), Local(OutputLayout(tmp_path))
    with (
        pytest.raises(ConfigError, match="devices=1 and a runner of the class Foreign"),
        fleet.workers(local, Foreign()),
    ):
        pass
    given = Another()
    with FleetSettings().workers(local, given) as runner:
        assert runner is given


def test_work_that_cannot_be_sent_is_refused(tmp_path):
    work = type("Here", (Local,), {})(OutputLayout(tmp_path))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(work)
    with pytest.raises(ConfigError, match=r"cannot be sent to other processes .*Here"):
        DevicesRunner([], work)


ENCODER = """
import torch

class Moments(torch.nn.Module):
    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), images.std(dim=(2, 3))], dim=1)
"""


@two_cores
@pytest.mark.slow
def test_two_processes_make_the_bytes_of_one(tmp_path, monkeypatch):
    (tmp_path / "fleet_encoder.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    import fleet_encoder

    encoder = TileEncoder.from_module(fleet_encoder.Moments(), name="moments")
    paths = [tmp_path / f"{name}.tiff" for name in "abc"]
    for seed, path in enumerate(paths):
        write_synthetic_slide(path, 1024, 1024, 0.5, seed=seed)
    one, two = tmp_path / "one", tmp_path / "two"
    preprocess(paths, one, tile_size_px=64)
    shutil.copytree(one, two)
    files = []
    for out, fleet in ((one, FleetSettings()), (two, FleetSettings(devices=2))):
        report = embed_tiles(paths, out, tile_encoder=encoder, fleet=fleet)
        assert report.exit_code == 0, report.table()
        files.append([path.read_bytes() for path in sorted(out.rglob("tile_features/**/*.h5"))])
    assert len(files[0]) == 3
    assert files[0] == files[1]
