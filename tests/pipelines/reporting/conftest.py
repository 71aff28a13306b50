"""An output folder and the folder of a run, filled by the benchmark's generator."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from slidenet.pipelines.report import report

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/benchmarks/bench_report.py"
SLIDES = ["a", "b & <i>b", "c $x$", "d", "e", "f"]


@pytest.fixture(scope="package")
def bench():
    """The script that generates folders."""
    spec = importlib.util.spec_from_file_location("bench_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="package")
def made(bench, tmp_path_factory):
    """`out` and `run`, complete; not to be changed."""
    folder = tmp_path_factory.mktemp("report")
    bench.write_cohort(
        folder / "out", SLIDES, picture_px=200, num_failed=1, num_explained=2, scenes=("plain",)
    )
    bench.write_run(folder / "run", SLIDES, "regression")
    return folder


@pytest.fixture
def copied(made, tmp_path):
    """The same, to be damaged."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="package")
def text(made):
    """The page of all of it."""
    written = report(made / "out", made / "run", to=made / "page.html", num_bootstrap=20)
    return written.path.read_text(encoding="utf-8")
