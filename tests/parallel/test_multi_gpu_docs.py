"""The walk-through of docs/multi-gpu.md does what it says, with gloo."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs" / "multi-gpu.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_shared_slide(tmp_path):
    (script,) = blocks("python")
    (tmp_path / "encode_shared.py").write_text(script)
    (command,) = (line for line in blocks("bash") if line.startswith("torchrun"))
    arguments = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *arguments],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(DOCS.parents[1])},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (difference,) = re.findall(r"largest difference (\S+)", done.stdout)
    assert float(difference) < 1e-5


def test_the_figures_are_those_of_the_formula():
    """Their values are tested in test_parallel_traffic.py; here, that the page states them."""
    for figure in ("240.9", "272.5", "528.5", "704.6", "2,818.6"):
        assert figure in DOCS.read_text()
