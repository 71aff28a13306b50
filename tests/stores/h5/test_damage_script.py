"""A sample of scripts/damage_outputs.py: tiles, features and embeddings damaged in every way."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_damaged_outputs_are_found_by_all():
    command = [sys.executable, "scripts/damage_outputs.py", "--damages", "6", "--seed", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 damages, 0 not as they should be" in run.stdout
    assert "found by all" in run.stdout
