"""A sample of scripts/check_faults.py: kinds of faults far apart, on three small slides."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_nothing_is_lost_wrong_hung_or_crashed():
    command = [sys.executable, "scripts/check_faults.py", "--faults", "4", "--seed", "7"]
    # None of a kind that waits until a claim is given up.
    command += ["--kinds", "killed at a change", "disk error when writing"]
    command += ["many processes one terminated", "output damaged"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| all | 4 | 0 | 0 | 0 | 0 | 0 |" in run.stdout
