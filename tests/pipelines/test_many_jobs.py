"""Jobs that share one output folder; `scripts/check_many_jobs.py` starts more of them."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_many_jobs.py"


@pytest.mark.slow
def test_three_jobs_one_of_them_killed_make_what_one_makes():
    command = [sys.executable, str(SCRIPT), "--jobs", "3", "--kills", "1", "--slides", "9"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "57 files, 27 h5 files named, 0 left over" in run.stdout
