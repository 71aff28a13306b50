"""Small slides, and a command `slidenet` that starts at once."""

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "programs"


@pytest.fixture(scope="session")
def examples():
    """Where the examples lie."""
    return ROOT / "scripts/cluster"


@pytest.fixture(scope="session")
def many_jobs():
    """scripts/check_many_jobs.py: its slides, its flags, its comparison of folders."""
    return load(ROOT / "scripts/check_many_jobs.py")


@pytest.fixture(scope="session")
def emulators():
    """What Kubernetes and Nextflow do."""
    return load(Path(__file__).with_name("emulators.py"))


def load(path):
    """A module that is no part of a package."""
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shell(tmp_path, many_jobs):
    """Runs a line of bash in a folder with `slides.csv`; `slidenet` and `sbatch` are at hand."""
    many_jobs.write_slides(tmp_path / "slides", 3)
    table = (tmp_path / "slides/slides.csv").read_text().replace(",s0", f",{tmp_path}/slides/s0")
    (tmp_path / "slides.csv").write_text(table)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts/faults")]),
        "PATH": os.pathsep.join(
            [str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "SLIDENET_FORKS": str(tmp_path / "forks"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, PROGRAMS / "forks.py", environment["SLIDENET_FORKS"]]
    with subprocess.Popen(
        [*command, *many_jobs.FLAGS, "--no-isolate"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as forks:
        assert forks.stdout.readline() == "ready\n"

        def run(line, **more):
            return subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path,
                env=environment | more,
                capture_output=True,
                text=True,
                check=False,
            )

        yield run
        forks.kill()


@pytest.fixture(scope="session")
def scaling():
    """The page that shows the examples."""
    return (ROOT / "docs/scaling.md").read_text()


@pytest.fixture(scope="session")
def commands(scaling):
    """Blocks of command lines of the page, by the heading they stand under."""
    parts = re.split(r"^### ", scaling, flags=re.MULTILINE)
    return {
        text.partition("\n")[0]: re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for text in parts
    }
